"""A table with the roles of its columns, which streams its content for a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import Table, is_id
from miner.datasets.content import Content, Kind, Namer, Values, refuse_faults
from miner.datasets.where import Filter
from miner.errors import DataError
from miner.job_sections import DatasetJob
from miner.triplets.types import Rows

__all__ = ["Constraints", "TableRoles", "nothing_left", "plain_batch"]


@dataclass(frozen=True, slots=True)
class Constraints:
    """The columns that limit which rows are positives and negatives of an anchor.

    Attributes
    ----------
    group : tuple of str
        A negative differs from its anchor in each of them.
    across : tuple of str
        A positive differs from its anchor in each of them.
    within : tuple of str
        A negative has its anchor's value in each of them.
    before : str or None
        Neither a positive nor a negative has a value above its anchor's.
    """

    group: tuple[str, ...] = ()
    across: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    before: str | None = None

    @classmethod
    def from_job(cls, job: DatasetJob) -> Constraints:
        """Return the constraints of a job."""
        return cls(
            job.columns("group"),
            job.columns("positives_across"),
            job.columns("negatives_within"),
            job.before,
        )

    @property
    def columns(self) -> dict[str, str]:
        """The job key of each column."""
        return {name: key for key, names in self.roles().items() for name in names}

    def roles(self) -> dict[str, list[str]]:
        """Return the columns by job key."""
        named = {"group": self.group, "positives_across": self.across}
        named |= {"negatives_within": self.within, "before": (self.before,) if self.before else ()}
        return {key: list(names) for key, names in named.items()}

    def facts(self) -> dict[str, Any]:
        """Return the constraints for the key of a store; those that are not set are left out."""
        group = self.group[0] if len(self.group) == 1 else list(self.group) or None
        named = {"across": list(self.across), "within": list(self.within), "before": self.before}
        return {"group": group, **{key: value for key, value in named.items() if value}}


@dataclass(frozen=True, slots=True)
class TableRoles:
    """A table and the roles of its columns: the items, the queries, or the corpus.

    Attributes
    ----------
    constraints : Constraints
    negative_only : tuple of str
        Labels whose rows are negatives only.
    fold : bool
        Whether texts that differ only by case, spaces and Unicode form are duplicates.
    where : Filter or None
        Selects the rows that are used; None for all.
    anchors : Filter or None
        Selects the anchors among them (labelled items only); None for all.
    skip : bool
        Whether rows whose content cannot be embedded are left out instead of raising an error.
    folder : str
        The folder of relative image paths.
    origin : str
        How the table was derived from a table of pairs, or ''. Part of the store's key.
    """

    table: Table
    content: str
    kind: Kind
    id: str | None = None
    label: str | None = None
    constraints: Constraints = Constraints()
    negative_only: tuple[str, ...] = ()
    fold: bool = False
    where: Filter | None = None
    anchors: Filter | None = None
    skip: bool = False
    folder: str = "."
    origin: str = ""

    @property
    def columns(self) -> list[str]:
        """The columns that are read, including the columns of the filters."""
        names = [self.content, self.id, self.label, *self.constraints.columns]
        filters = [part for part in (self.where, self.anchors) if part is not None]
        return [name for name in names if name is not None] + [
            name for part in filters for name in part.columns
        ]

    def values(self, rows: Rows | None = None) -> Iterator[Values]:
        """Stream the content in batches for a model, of all rows or of `rows` (ascending).

        Raises
        ------
        DataError
            If a row cannot be embedded.
        """
        content = Content(self.kind, self.folder)
        for numbers, batch in self.batches([self.content] + ([self.id] if self.id else []), rows):
            yield content.values(batch.column(self.content), self.namer(batch, numbers))

    def sample(self, count: int) -> tuple[Rows, Values]:
        """Return the first rows that can be embedded, at most `count`, and their content.

        Raises
        ------
        DataError
            If no row can be embedded, or, unless `skip` is set, if one of these rows cannot.
        """
        content = Content(self.kind, self.folder)
        start = passing = labelled = 0
        for rows, batch in self.batches(self.columns):
            start += len(batch)
            keep = np.ones(len(batch), dtype=np.bool_)
            if self.where is not None:
                keep = self.where.mask(batch)
            passing += int(keep.sum())
            if self.label is not None:
                keep &= _present(batch.column(self.label))
            labelled += int(keep.sum())
            rows, batch = rows[keep], batch.filter(pa.array(keep))
            rows, batch = rows[: 4 * count], batch.slice(0, 4 * count)
            values, faults = content.examine(batch.column(self.content), thorough=True)
            if not self.skip:
                refuse_faults(faults, self.namer(batch, rows))
            if len(values):
                return np.delete(rows, list(faults))[:count], values[:count]
        raise DataError(nothing_left(self, start, passing, labelled))

    def batches(
        self, columns: list[str], rows: Rows | None = None
    ) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Stream columns as plain batches with their row numbers, of all rows or of `rows`."""
        start = 0
        for batch in self.table.batches(list(dict.fromkeys(columns))):
            end, batch = start + len(batch), plain_batch(batch)
            if rows is None:
                numbers = np.arange(start, end)
            else:
                numbers = rows[slice(*np.searchsorted(rows, (start, end)))]
                if len(numbers) < len(batch):
                    batch = batch.take(pa.array(numbers - start))
            start = end
            if len(numbers):
                yield numbers, batch

    def namer(self, batch: pa.RecordBatch, rows: Rows) -> Namer:
        """Return a function that describes a row of a batch; `rows` are the batch's row numbers."""

        def name(position: int) -> str:
            words = f"{self.table.where}, row {rows[position]}"
            if self.id and is_id(ids := batch.column(self.id)):
                words += f" (id {ids[position].as_py()!r})"
            return f"{words}, column {self.content!r}"

        return name


def nothing_left(side: TableRoles, rows: int, passing: int = 1, labelled: int = 1) -> str:
    """Return the message why no row of a table can be used."""
    where = side.table.where
    if not rows:
        return f"{where} is empty: it has no rows; check how it was written"
    if not passing and side.where:
        return f"{where}: no row passes {side.where.key} = {side.where.text!r}; loosen it"
    filtered = f" and passes the filter {side.where.text!r}" if side.where else ""
    if not labelled:
        where = f"{where}, column {side.label!r}"
        return f"{where}: no row has a label{filtered}; fill it in, or name another column"
    return f"{where}: no row has content in {side.content!r}{filtered}; check the file and the job"


def plain(column: Any) -> Any:
    """Decode a dictionary column; convert large strings to strings."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind):
        kind = pa.string()
    return column if column.type == kind else column.cast(kind)


def plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Apply `plain` to all columns of a batch, so that Arrow can filter them."""
    columns = [plain(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _present(column: Any) -> NDArray[np.bool_]:
    """Return which rows of a column have a value; an empty text is no value."""
    there = column.is_valid()
    if pa.types.is_string(column.type):
        there = pc.and_(there, pc.not_equal(pc.fill_null(column, ""), ""))
    return np.asarray(there.to_numpy(zero_copy_only=False))

"""One pass over a table before the long haul: ids, labels, groups, content digests, texts on disk.

Content itself is never held: texts that triplets will show are spooled to disk, and the embedding
pass streams the table again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import Table
from miner.datasets.content import Kind, content_digests, content_values
from miner.datasets.spool import write_column, write_spool
from miner.errors import DataError

__all__ = ["Items", "Side", "scan"]


@dataclass(frozen=True, slots=True)
class Side:
    """A table and the roles of its columns: the items, the queries, or the corpus."""

    table: Table
    content: str
    kind: Kind
    id: str | None = None
    label: str | None = None
    group: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        names = [self.content, self.id, self.label, self.group]
        return [name for name in names if name is not None]

    def values(
        self, keep: NDArray[np.bool_] | None = None
    ) -> Iterator[list[str] | NDArray[np.floating]]:
        """Stream the content, in batches for a model; only the rows of `keep` when given."""
        columns = [self.content] + ([self.id] if self.id else [])
        start = 0
        for batch in self.table.batches(columns):
            column = plain(batch.column(self.content))
            rows = np.arange(start, start + len(batch))
            if keep is not None:
                chosen = np.flatnonzero(keep[start : start + len(batch)])
                column, rows = column.take(pa.array(chosen)), rows[chosen]
            start += len(batch)
            if len(column):
                yield content_values(column, self.kind, None, _namer(self, batch, rows, start))


def _namer(side: Side, batch: Any, rows: NDArray[np.int64], end: int) -> Any:
    def name(position: int) -> str:
        row = int(rows[position])
        words = f"{side.table.where}, row {row}"
        if side.id:
            identity = batch.column(side.id)[row - (end - len(batch))].as_py()
            words += f" (id {identity!r})"
        return f"{words}, column {side.content!r}"

    return name


@dataclass(frozen=True, slots=True)
class Items:
    """What a scan found. All arrays have one entry a row of the table.

    Attributes
    ----------
    ids : pyarrow.Array
        Of strings or integers, each once.
    labels, groups : pyarrow.Array or None
        As they stand in the table; null where a row has none.
    digests : ndarray of shape (rows,), dtype V16, or None
        Content digests; None for vectors, which are not content.
    width : int or None
        Numbers in a row of content; None for text.
    """

    where: str
    ids: Any
    labels: Any
    groups: Any
    digests: NDArray[np.void] | None
    width: int | None

    def __len__(self) -> int:
        return len(self.ids)


def scan(side: Side, texts: Path | None) -> Items:
    """Read a table once, check it, and spool its texts.

    Parameters
    ----------
    side : Side
    texts : Path or None
        Where the texts go; None not to keep them.

    Raises
    ------
    DataError
        On an empty table, a missing or double id, or a row without usable content.
    """
    scanner = _Scanner(side)
    if texts is not None and side.kind == "text":
        write_spool(texts, pa.large_string(), scanner.texts())
    else:
        for _ in scanner.texts():
            pass
    return scanner.items()


class _Scanner:
    def __init__(self, side: Side) -> None:
        self.side = side
        self.parts: dict[str, list[Any]] = {"id": [], "label": [], "group": []}
        self.digests: list[NDArray[np.void]] = []
        self.width: int | None = None
        self.count = 0

    def texts(self) -> Iterator[Any]:
        """Go through the table; yield the content columns."""
        side = self.side
        for batch in side.table.batches(side.columns):
            rows = np.arange(self.count, self.count + len(batch))
            self.count += len(batch)
            namer = _namer(side, batch, rows, self.count)
            column = plain(batch.column(side.content))
            values = content_values(column, side.kind, self.width, namer)
            if isinstance(values, np.ndarray):
                self.width = values.shape[1]
            if side.kind != "vectors":
                self.digests.append(content_digests(values))
            for role, name in (("id", side.id), ("label", side.label), ("group", side.group)):
                if name is not None:
                    self.parts[role].append(plain(batch.column(name)))
            yield column.cast(pa.large_string()) if side.kind == "text" else column

    def items(self) -> Items:
        where = self.side.table.where
        if not self.count:
            raise DataError(f"{where} is empty: it has no rows; check how it was written")
        untyped = self.side.table.untyped
        columns = {role: _joined(parts, untyped) for role, parts in self.parts.items()}
        ids = pa.array(np.arange(self.count)) if columns["id"] is None else columns["id"]
        _check_ids(ids, self.side)
        digests = np.concatenate(self.digests) if self.digests else None
        return Items(where, ids, columns["label"], columns["group"], digests, self.width)


def plain(column: Any) -> Any:
    """Decode dictionaries and large or view strings to plain ones."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column if column.type == kind else column.cast(kind)


def _joined(parts: list[Any], untyped: bool) -> Any:
    if not parts:
        return None
    column = pa.concat_arrays(parts)
    return _typed(column) if untyped else column


def _typed(column: Any) -> Any:
    """Give a text column its type: blanks are nulls, whole numbers without zeros before int64."""
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if pc.all(pc.match_substring_regex(column, r"^(0|-?[1-9]\d{0,17})$")).as_py():
        return column.cast(pa.int64())
    return column


def _check_ids(ids: Any, side: Side) -> None:
    where = f"{side.table.where}, column {side.id!r}"
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type)):
        raise DataError(f"{where}: ids must be text or whole numbers, not {ids.type}")
    if ids.null_count:
        row = int(pc.index(ids.is_null(), True).as_py())
        raise DataError(f"{where}, row {row} has no id; fill it in, or name another column")
    order = pc.array_sort_indices(ids)
    ordered = ids.take(order)
    same = pc.equal(ordered.slice(1), ordered.slice(0, len(ordered) - 1))
    if pc.any(same).as_py():
        first = int(pc.index(same, True).as_py())
        rows = sorted(order.slice(first, 2).to_pylist())
        raise DataError(
            f"{where}: id {ordered[first].as_py()!r} stands twice, in rows {rows[0]} and "
            f"{rows[1]}; ids must be unique"
        )


def save_ids(items: Items, path: Path, keep: NDArray[np.bool_] | None = None) -> None:
    """Write the ids (of the rows of `keep`) to disk for later random access."""
    ids = items.ids if keep is None else items.ids.filter(pa.array(keep))
    write_column(path, ids)

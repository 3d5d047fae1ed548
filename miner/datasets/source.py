"""Open the data set of a job's [dataset] section: its tables, items and relevance."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from miner.datasets.assign_roles import CONTENT, assign_roles
from miner.datasets.base import Table, require_column
from miner.datasets.column_store import keep_rows, write_column
from miner.datasets.content import Kind
from miner.datasets.formats.files import PLAIN, TextFormat
from miner.datasets.layouts.beir import is_beir, open_beir
from miner.datasets.layouts.pair_columns import PairColumns, find_pairs, named_pairs
from miner.datasets.layouts.pair_table import open_pair_table
from miner.datasets.opening import open_table
from miner.datasets.recognition.names import unused_columns
from miner.datasets.relevance.corrections import open_corrections, read_corrections
from miner.datasets.relevance.labels import scan_labelled
from miner.datasets.relevance.links import LinkRules, link_columns
from miner.datasets.relevance.pairs import scan_pairs
from miner.datasets.relevance.scanned import Scanned, given
from miner.datasets.roles import TableRoles
from miner.datasets.scan import scan
from miner.datasets.where import Condition, Filter, parse_condition
from miner.errors import DataError, UsageError
from miner.job_sections import DatasetJob

__all__ = ["Source", "open_source"]

_LABELLED = ("label", "negative_only")
_PAIRS = ("min_relevance", "judged_below", "same_id", "link_query", "link_corpus", "link_score")
"""Keys that have a meaning only for labelled items, or for pairs."""
_PAIR_TABLE = ("pair_anchor", "pair_positive", "pair_score", "pair_negatives")
"""Keys that have a meaning only for a table of pairs."""
_TABLES = ("id", "content", "same_id", "link_query", "link_corpus", "link_score")
"""Keys that have no meaning for a table of pairs."""
_SIDES = {1: ("",), 2: ("query_", "document_")}
"""By the number of sides, how the roles of their columns begin."""


@dataclass(frozen=True, slots=True)
class Source:
    """An opened data set: labelled items (one side), or queries, corpus (two sides) and links."""

    sides: tuple[TableRoles, ...]
    links: tuple[Table, ...]
    rules: LinkRules = LinkRules()  # noqa: RUF009  (frozen)
    text: TextFormat = PLAIN
    conditions: tuple[str, ...] = ()
    pairs: PairColumns | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    corrections: tuple[Table, ...] = ()

    @property
    def kind(self) -> Kind:
        """The kind of content."""
        return self.sides[0].kind

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        tables = [side.table for side in self.sides] + [*self.links, *self.corrections]
        return list(dict.fromkeys(file for table in tables for file in table.files))

    def roles(self) -> list[dict[str, Any]]:
        """Return, for each side, the roles of the columns and the conditions on rows."""
        written = {name: value for name, value in asdict(self.text).items() if value is not None}
        return [
            {
                **written,
                "content": side.content,
                "kind": side.kind,
                "id": side.id,
                "label": side.label,
                **side.constraints.facts(),
                **({"negative_only": list(side.negative_only)} if side.negative_only else {}),
                **({"same_text": "folded"} if side.fold else {}),
                "where": side.where.text if side.where else None,
                "anchors": side.anchors.text if side.anchors else None,
                "on_error": "skip" if side.skip else "stop",
                "origin": side.origin,
            }
            for side in self.sides
        ]

    def used(self) -> dict[str, str | list[str]]:
        """Return the columns that are used, by role."""
        found: dict[str, str | list[str] | None] = {}
        for side, of in zip(self.sides, _SIDES[len(self.sides)], strict=True):
            if self.pairs is None:
                found |= {f"{of}id": side.id, f"{of}content": side.content}
            found |= {"label": side.label, **side.constraints.roles()}
        if self.pairs is not None:
            found |= {"anchor": self.pairs.anchor, "positive": self.pairs.positive}
            found |= {"score": self.pairs.score, "negatives": list(self.pairs.negatives)}
        elif self.links:
            chosen = link_columns(self.links[0], self.rules)
            found |= zip(("link_query", "link_corpus", "link_score"), chosen, strict=True)
        return {role: name for role, name in found.items() if name}

    def unused(self) -> list[str]:
        """Return the columns that are not used although their names say that they matter."""
        given = self.used().values()
        names = {name for one in given for name in ([one] if isinstance(one, str) else one)}
        tables = [side.table for side in self.sides]
        tables += self.links if self.pairs is None else ()
        found = [name for one in tables for name in unused_columns(one.types, names)]
        return [name for name in dict.fromkeys(found) if name not in self.conditions]

    def scan(self, folder: Path, *, texts: bool) -> Scanned:
        """Read the tables once; write ids (and texts) to `folder`.

        The files are ``ids-K.arrow`` and ``texts-K.arrow`` for side K of the store, and
        ``labels.arrow`` with the value of each label if each row has one label. Side 0 holds the
        anchors, the last side all rows. If every row is an anchor, there is one side.
        """
        items, corrections = [], read_corrections(self.corrections)
        for number, side in enumerate(self.sides):
            items.append(scan(side, folder / f"texts-{number}.arrow" if texts else None))
        if len(items) == 2:
            scanned = scan_pairs(
                items[0], items[1], self.sides, self.links, self.rules, corrections
            )
            keeps: tuple[NDArray[np.bool_] | None, ...] = (None, None)
            skipped = scanned.facts["skipped"]
            skipped |= {why: n + skipped.get(why, 0) for why, n in given(**self.left_out).items()}
        else:
            scanned, keep = scan_labelled(items[0], self.sides[0], corrections)
            keeps = (keep,)
        if self.corrections:
            scanned.facts["corrections"] = dict(corrections.outcome)
        for number, (side_items, part) in enumerate(zip(items, keeps, strict=True)):
            ids = side_items.ids if part is None else side_items.ids.filter(pa.array(part))
            write_column(folder / f"ids-{number}.arrow", ids)
            if texts and part is not None and not part.all():
                keep_rows(folder / f"texts-{number}.arrow", part)
        if scanned.names is not None:
            write_column(folder / "labels.arrow", scanned.names)
        if scanned.chosen is not None:
            _split_anchors(folder, scanned.chosen, len(scanned.rows[0]))
        return scanned


def _split_anchors(folder: Path, chosen: NDArray[np.int64], count: int) -> None:
    """Rename the columns of all rows to side 1; write the chosen anchors as side 0."""
    keep = np.zeros(count, dtype=np.bool_)
    keep[chosen] = True
    for name in ("ids", "texts"):
        first, second = folder / f"{name}-0.arrow", folder / f"{name}-1.arrow"
        if first.exists():
            first.replace(second)
            keep_rows(second, keep, first)


def _check_name(key: str, path: str) -> None:
    """Raise a `DataError` if a path cannot be the name of a file."""
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise DataError(
                f"{key} = {path[:60]!r}... cannot be the name of a file: {error.args[-1]}; "
                "name an existing file"
            ) from error


def open_source(job: DatasetJob, model: str | None) -> Source:
    """Open the files that the job names, and assign roles to their columns.

    Parameters
    ----------
    job : DatasetJob
    model : str or None
        The model's name, on which the kind of content may depend; None for the default.

    Raises
    ------
    DataError
        If a file or a column is missing, or no column can be content.
    UsageError
        If a condition on rows is invalid.
    """
    for key, path in job.paths.items():
        _check_name(f"dataset.{key}", path)
    where = parse_condition(job.where, "dataset.where") if job.where else None
    anchors = parse_condition(job.anchors, "dataset.anchors") if job.anchors else None
    text = TextFormat(job.separator, job.encoding)
    columns = tuple(name for part in (where, anchors) if part for name in part.columns)
    facts: dict[str, Any] = {"text": text, "conditions": columns}
    facts["corrections"] = open_corrections(job.corrections) if job.corrections else ()
    if not job.path or is_beir(Path(job.path)):
        return _open_linked(job, model, (anchors, where), text, facts)
    table = open_table(job.path, text)
    pairs = _pair_columns(table, job)
    if pairs is None:
        _refuse_unused(job, _PAIRS, "labelled items")
        side = assign_roles(table, job, model, labelled=True)
        side = replace(side, where=_fitted(where, table), anchors=_fitted(anchors, table))
        return Source((side,), (), **facts)
    _refuse_unused(job, (*_TABLES, *_LABELLED), "a table of pairs")
    made = open_pair_table(table, pairs, _fitted(where, table), skip=job.on_error == "skip")
    sides = tuple(
        assign_roles(one, job, model, labelled=False) for one in (made.queries, made.corpus)
    )
    facts |= {"pairs": pairs, "left_out": made.left_out}
    return _linked(
        sides, [made.links], job, (anchors, None), facts, f"{pairs.origin} where {job.where}"
    )


def _open_linked(
    job: DatasetJob,
    model: str | None,
    filters: tuple[Condition | None, Condition | None],
    text: TextFormat,
    facts: dict[str, Any],
) -> Source:
    """Open queries, corpus and links in files of their own."""
    _refuse_unused(job, (*_PAIR_TABLE, *_LABELLED), "queries, a corpus and links")
    if job.path:
        *tables, links = open_beir(Path(job.path), job.links, text)
        ids: tuple[str | None, str | None] = (None, None)
    else:
        tables = [open_table(str(path), text) for path in (job.queries, job.corpus)]
        links = [open_table(str(job.links), text)]
        ids = link_columns(links[0], LinkRules.from_job(job))[:2]
    sides = tuple(
        assign_roles(table, job, model, labelled=False, linked=linked)
        for table, linked in zip(tables, ids, strict=True)
    )
    return _linked(sides, links, job, filters, facts)


def _linked(
    sides: tuple[TableRoles, ...],
    links: Sequence[Table],
    job: DatasetJob,
    filters: tuple[Condition | None, Condition | None],
    facts: dict[str, Any],
    origin: str = "",
) -> Source:
    """Return the source of queries and a corpus; `filters` select the rows of each."""
    tables = [side.table for side in sides]
    if sides[0].kind != sides[1].kind:
        raise DataError(
            f"{tables[0].where} holds {sides[0].kind}, {tables[1].where} {sides[1].kind}: "
            "queries and corpus must be of one kind"
        )
    sides = tuple(
        replace(side, where=_fitted(condition, side.table), origin=origin)
        for side, condition in zip(sides, filters, strict=True)
    )
    return Source(sides, tuple(links), LinkRules.from_job(job), **facts)


def _refuse_unused(job: DatasetJob, keys: tuple[str, ...], kind: str) -> None:
    """Raise a `UsageError` if one of the keys is set, which have no meaning for these data."""
    plain = DatasetJob()
    for key in keys:
        if getattr(job, key) != getattr(plain, key):
            raise UsageError(f"dataset.{key} has no meaning for {kind}; remove it")


def _fitted(condition: Condition | None, table: Table) -> Filter | None:
    if condition is None:
        return None
    return condition.fit(table.types, table.where, untyped=table.untyped)


def _pair_columns(table: Table, job: DatasetJob) -> PairColumns | None:
    """Return the columns of a table of pairs; None when the table holds labelled items."""
    for name in (job.pair_score, *(job.pair_negatives or ())):
        if name:
            key = "dataset.pair_score" if name == job.pair_score else "dataset.pair_negatives"
            require_column(table, name, key)
    chosen = job.pair_score, job.pair_negatives
    if job.pair_anchor and job.pair_positive:
        require_column(table, job.pair_anchor, "dataset.pair_anchor")
        require_column(table, job.pair_positive, "dataset.pair_positive")
        return named_pairs(table.types, job.pair_anchor, job.pair_positive, *chosen)
    labelled = "label" in table.types and any(name in table.types for name in CONTENT)
    found = None if job.label or job.content or labelled else find_pairs(table.types, *chosen)
    if found is None and any(chosen):
        raise DataError(
            f"{table.where} is not known as a table of pairs: name its columns by "
            "dataset.pair_anchor and dataset.pair_positive"
        )
    return found

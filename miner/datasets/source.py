"""Open the data set of a job's [dataset] section: its tables, items and relevance."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from miner.datasets.base import Table, require_column
from miner.datasets.column_store import keep_rows, write_column
from miner.datasets.content import Kind, column_kind, is_list, is_string
from miner.datasets.formats.files import PLAIN, TextFormat
from miner.datasets.layouts.beir import is_beir, open_beir
from miner.datasets.layouts.pair_table import open_pair_table
from miner.datasets.opening import open_table
from miner.datasets.relevance.labels import scan_labelled
from miner.datasets.relevance.links import LinkRules
from miner.datasets.relevance.pairs import scan_pairs
from miner.datasets.relevance.scanned import Scanned
from miner.datasets.roles import Constraints, TableRoles
from miner.datasets.scan import scan
from miner.datasets.where import Condition, Filter, parse_condition
from miner.errors import DataError, UsageError
from miner.job_sections import DatasetJob

__all__ = ["Source", "open_source"]

_LABELLED = ("negative_only",)
_PAIRS = ("min_relevance", "judged_below", "same_id")
"""Keys that have a meaning only for labelled items, or for pairs."""
_CONTENT = ("text", "image", "embedding")


@dataclass(frozen=True, slots=True)
class Source:
    """An opened data set: labelled items (one side), or queries, corpus (two sides) and links."""

    sides: tuple[TableRoles, ...]
    links: tuple[Table, ...]
    rules: LinkRules = LinkRules()  # noqa: RUF009  (frozen)
    text: TextFormat = PLAIN

    @property
    def kind(self) -> Kind:
        """The kind of content."""
        return self.sides[0].kind

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        tables = [side.table for side in self.sides] + list(self.links)
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

    def scan(self, folder: Path, *, texts: bool) -> Scanned:
        """Read the tables once; write ids (and texts) to `folder`.

        The files are ``ids-K.arrow`` and ``texts-K.arrow`` for side K of the store, and
        ``labels.arrow`` with the value of each label if each row has one label. Side 0 holds the
        anchors, the last side all rows. If every row is an anchor, there is one side.
        """
        items = []
        for number, side in enumerate(self.sides):
            items.append(scan(side, folder / f"texts-{number}.arrow" if texts else None))
        if len(items) == 2:
            scanned = scan_pairs(items[0], items[1], self.sides, self.links, self.rules)
            keeps: tuple[NDArray[np.bool_] | None, ...] = (None, None)
        else:
            scanned, keep = scan_labelled(items[0], self.sides[0])
            keeps = (keep,)
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
    origin, text = "", TextFormat(job.separator, job.encoding)
    if job.path and Path(job.path).is_dir() and is_beir(Path(job.path)):
        queries, corpus, links = open_beir(Path(job.path), job.links, text)
    elif job.path:
        table = open_table(job.path, text)
        columns = _pair_columns(table, job)
        if columns is None:
            _refuse_unused(job, pairs=False)
            side = _side(table, job, model, labelled=True)
            side = replace(side, where=_fitted(where, table), anchors=_fitted(anchors, table))
            return Source((side,), (), text=text)
        queries, corpus, made = open_pair_table(table, *columns, _fitted(where, table))
        origin = f"{columns} where {job.where}"
        links, where = [made], None  # the condition has selected the pairs already
        job = replace(job, id=None, content=None, link_query=None, link_corpus=None)
    else:
        queries, corpus = (open_table(str(path), text) for path in (job.queries, job.corpus))
        links = [open_table(str(job.links), text)]
    _refuse_unused(job, pairs=True)
    sides = tuple(_side(table, job, model, labelled=False) for table in (queries, corpus))
    if sides[0].kind != sides[1].kind:
        raise DataError(
            f"{queries.where} holds {sides[0].kind}, {corpus.where} {sides[1].kind}: "
            "queries and corpus must be of one kind"
        )
    sides = (
        replace(sides[0], where=_fitted(anchors, queries), origin=origin),
        replace(sides[1], where=_fitted(where, corpus), origin=origin),
    )
    return Source(sides, tuple(links), LinkRules.from_job(job), text)


def _refuse_unused(job: DatasetJob, *, pairs: bool) -> None:
    """Raise a `UsageError` if a key is set that has no meaning for this kind of data."""
    plain = DatasetJob()
    keys = _LABELLED if pairs else _PAIRS
    for key in keys:
        if getattr(job, key) != getattr(plain, key):
            kind = "labelled items" if pairs else "pairs"
            raise UsageError(f"dataset.{key} is for {kind}, which these data are not; remove it")


def _fitted(condition: Condition | None, table: Table) -> Filter | None:
    if condition is None:
        return None
    return condition.fit(table.types, table.where, untyped=table.untyped)


def _pair_columns(table: Table, job: DatasetJob) -> tuple[str, str] | None:
    """Return the columns of a table of pairs; None when the table holds labelled items."""
    if job.pair_anchor and job.pair_positive:
        require_column(table, job.pair_anchor, "dataset.pair_anchor")
        require_column(table, job.pair_positive, "dataset.pair_positive")
        return job.pair_anchor, job.pair_positive
    usual = {"anchor", "positive"} <= table.types.keys() and "label" not in table.types
    return ("anchor", "positive") if usual and not (job.label or job.content) else None


def _refuse_lists(table: Table, names: tuple[str, ...]) -> None:
    """Raise a `DataError` if a column whose name starts with one of `names` has lists of text."""
    for name, kind in table.types.items():
        if is_list(kind) and is_string(kind.value_type) and name.lower().startswith(names):
            raise DataError(
                f"{table.where}, column {name!r} holds lists of text; for positives write a table "
                "with a row for each pair, in columns anchor and positive (negatives are mined); "
                "for labels name it with --set dataset.label=NAME"
            )


def _refuse_vectors(table: Table) -> None:
    """Raise a `DataError` if ``.npy`` files lie next to a table: they are not read with it."""
    vectors = sorted(table.files[0].parent.glob("*.npy")) if table.files else []
    if vectors:
        stem = vectors[0].stem
        raise DataError(
            f"{table.where} has no content, and the vectors of {vectors[0]} are not read together "
            f"with it; call it {stem}.csv (or {stem}.parquet ...) and name the vectors as "
            "dataset.path, or write them into its column embedding"
        )


def _side(table: Table, job: DatasetJob, model: str | None, *, labelled: bool) -> TableRoles:
    usual = getattr(table, "usual", {})
    content = job.content or usual.get("content")
    content = content or next((name for name in _CONTENT if name in table.types), None)
    content = content or usual.get("embedding")
    if content is None:
        _refuse_lists(table, ("",))
        _refuse_vectors(table)
        raise DataError(
            f"{table.where} has none of the columns {', '.join(_CONTENT)}; name the one to embed "
            f"with --set dataset.content=NAME, or let `mine init {table.where}` write a job. "
            f"It has: {', '.join(map(repr, sorted(table.types)))}"
        )
    require_column(table, content, "dataset.content")
    identity = job.id or ("id" if "id" in table.types else usual.get("id"))
    if identity:
        require_column(table, identity, "dataset.id")
    named = job.label or usual.get("label", "label")
    if labelled and not job.label and named not in table.types:
        _refuse_lists(table, ("pos", "neg"))
    label = require_column(table, named, "dataset.label") if labelled else None
    constraints = Constraints.from_job(job)
    for name, key in constraints.columns.items():
        require_column(table, name, f"dataset.{key}")
    kind = column_kind(table.where, content, table.types[content], model)
    return TableRoles(
        table,
        content,
        kind,
        identity,
        label,
        constraints,
        job.negative_only,
        fold=job.same_text == "folded",
        skip=job.on_error == "skip",
        folder=str(table.files[0].parent) if table.files else ".",
    )

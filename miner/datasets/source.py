"""From the job's [dataset] section to tables, items and relevance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import Table, open_table, require_column
from miner.datasets.beir import is_beir, open_beir
from miner.datasets.content import Kind, column_kind
from miner.datasets.links import Links, read_links
from miner.datasets.scan import Items, Side, save_ids, scan
from miner.datasets.spool import keep_rows
from miner.errors import DataError
from miner.job import DatasetJob
from miner.relevance import NONE, LabelRelevance, LinkRelevance, Relevance

__all__ = ["Scanned", "Source", "open_source"]

_CONTENT = ("text", "image", "embedding")
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan leaves: relevance in memory, and per side which rows take part.

    Attributes
    ----------
    relevance : Relevance
    keep : tuple of (ndarray of bool or None)
        Per side, the rows that take part; None for all of them.
    facts : dict
        Counts for the manifest.
    """

    relevance: Relevance
    keep: tuple[NDArray[np.bool_] | None, ...]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """An opened data set: labelled items (one side), or queries and corpus (two) with links."""

    sides: tuple[Side, ...]
    links: tuple[Table, ...]
    link_columns: tuple[str | None, str | None, str | None]

    @property
    def kind(self) -> Kind:
        """What the content is."""
        return self.sides[0].kind

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        tables = [side.table for side in self.sides] + list(self.links)
        return [file for table in tables for file in table.files]

    def roles(self) -> list[dict[str, Any]]:
        """Return which column plays which role, per side."""
        return [
            {
                "content": side.content,
                "kind": side.kind,
                "id": side.id,
                "label": side.label,
                "group": side.group,
            }
            for side in self.sides
        ]

    def scan(self, folder: Path, *, texts: bool) -> Scanned:
        """Read the tables once; leave ids (and texts) in `folder`.

        The files are ``ids-K.arrow`` and ``texts-K.arrow`` for side K.
        """
        items = []
        for number, side in enumerate(self.sides):
            items.append(scan(side, folder / f"texts-{number}.arrow" if texts else None))
        if len(items) == 2:
            scanned = self._pairs(items[0], items[1])
        else:
            scanned = self._labelled(items[0])
        for number, (side_items, keep) in enumerate(zip(items, scanned.keep, strict=True)):
            save_ids(side_items, folder / f"ids-{number}.arrow", keep)
            if texts and keep is not None and not keep.all():
                keep_rows(folder / f"texts-{number}.arrow", keep)
        return scanned

    def _labelled(self, items: Items) -> Scanned:
        labels = _codes(_known(items, items.labels, self.sides[0].label))
        keep = labels >= 0
        if not keep.any():
            raise DataError(
                f"{items.where}, column {self.sides[0].label!r}: no row has a label; fill it in, "
                "or name another column"
            )
        known = _known_groups(items, self.sides[0])
        groups = np.full(len(items), NONE) if known is None else _codes(known)
        contents = _content_codes(items)
        relevance = LabelRelevance(labels[keep], contents[keep], groups[keep])
        sizes = relevance.members.sizes
        _refuse_degenerate(items, self.sides[0], sizes[sizes > 0])
        facts = {
            "kind": "labelled",
            "items": len(items),
            "anchors": int(keep.sum()),
            "classes": int((sizes > 0).sum()),
            "skipped": {"unlabelled": int((~keep).sum()), "singletons": int((sizes == 1).sum())},
        }
        return Scanned(relevance, (keep,), facts)

    def _pairs(self, queries: Items, corpus: Items) -> Scanned:
        if queries.width != corpus.width:
            raise DataError(
                f"{queries.where} has {queries.width} values a row, {corpus.where} {corpus.width}; "
                "both need the same number"
            )
        links = read_links(self.links, self.link_columns, queries, corpus)
        relevance = _link_relevance(links, queries, corpus, self.sides)
        linked = np.diff(links.starts) > 0
        if not linked.any():
            raise DataError(
                f"{self.links[0].where}: no link has a score above 0, so no positives; "
                "check the scores"
            )
        facts = {
            "kind": "pairs",
            "items": len(queries) + len(corpus),
            "queries": len(queries),
            "corpus": len(corpus),
            "anchors": len(queries),
            "classes": None,
            "links": len(links.linked),
            "judged_non_relevant": links.judged,
            "skipped": {"unlinked_queries": int((~linked).sum())},
        }
        return Scanned(relevance, (None, None), facts)


def _known(items: Items, column: Any, name: str | None) -> Any:
    """Return labels or groups, NaN as null; refuse types that do not name a class."""
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pa.types.is_nested(column.type):
        raise DataError(
            f"{items.where}, column {name!r}: its values must be text or numbers, not {column.type}"
        )
    return column


def _known_groups(items: Items, side: Side) -> Any:
    return None if items.groups is None else _known(items, items.groups, side.group)


def _codes(*columns: Any) -> Codes:
    """Number the values of columns jointly, in order of appearance; `NONE` for nulls."""
    texts = columns if len(columns) == 1 else [column.cast(pa.string()) for column in columns]
    encoded = pa.concat_arrays(list(texts)).dictionary_encode()
    indices = encoded.indices.fill_null(NONE)
    return np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64)


def _content_codes(*items: Items) -> Codes:
    """Number equal contents jointly; `NONE` everywhere for vectors."""
    digests = [item.digests for item in items if item.digests is not None]
    if len(digests) < len(items):
        return np.full(sum(map(len, items)), NONE, dtype=np.int64)
    _, codes = np.unique(np.concatenate(digests), return_inverse=True)
    return np.asarray(codes, dtype=np.int64)


def _refuse_degenerate(items: Items, side: Side, sizes: Codes) -> None:
    where = f"{items.where}, column {side.label!r}"
    if len(sizes) == 1:
        raise DataError(
            f"{where}: all labelled rows have one label; there are no negatives; add a second label"
        )
    if sizes.max() == 1:
        raise DataError(f"{where}: every label stands once only; there are no positives; add items")


def _link_relevance(
    links: Links, queries: Items, corpus: Items, sides: tuple[Side, ...]
) -> LinkRelevance:
    cut = len(queries)
    contents = _content_codes(queries, corpus)
    named = [_known_groups(*pair) for pair in zip((queries, corpus), sides, strict=True)]
    if all(part is not None for part in named):
        groups = _codes(*named)
    else:
        groups = np.full(len(queries) + len(corpus), NONE, dtype=np.int64)
    twins = np.full(len(queries), NONE, dtype=np.int64)
    # Row numbers are no identity: only ids that both tables state can name one thing. They are
    # compared as links are, as text.
    if sides[0].id and sides[1].id:
        texts = [items.ids.cast(pa.string()) for items in (queries, corpus)]
        found = pc.index_in(texts[0], value_set=texts[1]).fill_null(NONE)
        twins = np.asarray(found.to_numpy(zero_copy_only=False)).astype(np.int64)
    return LinkRelevance(
        links.starts,
        links.linked,
        contents[cut:],
        contents[:cut],
        groups[cut:],
        groups[:cut],
        twins,
    )


def open_source(job: DatasetJob, model: str | None) -> Source:
    """Open what the job names, and settle which column plays which role.

    Raises
    ------
    DataError
        When a file or a column is missing, or no column can be content.
    """
    if job.path and Path(job.path).is_dir() and is_beir(Path(job.path)):
        queries, corpus, links = open_beir(Path(job.path), job.links)
    elif job.path:
        table = open_table(job.path)
        return Source((_side(table, job, model, labelled=True),), (), (None, None, None))
    else:
        queries, corpus = open_table(str(job.queries)), open_table(str(job.corpus))
        links = [open_table(str(job.links))]
    sides = tuple(_side(table, job, model, labelled=False) for table in (queries, corpus))
    if sides[0].kind != sides[1].kind:
        raise DataError(
            f"{queries.where} holds {sides[0].kind}, {corpus.where} {sides[1].kind}: "
            "queries and corpus must be of one kind"
        )
    return Source(sides, tuple(links), (job.link_query, job.link_corpus, job.link_score))


def _side(table: Table, job: DatasetJob, model: str | None, *, labelled: bool) -> Side:
    content = job.content or next((name for name in _CONTENT if name in table.types), None)
    if content is None:
        raise DataError(
            f"{table.where} has none of the columns {', '.join(_CONTENT)}; name the one to embed "
            f"with --set dataset.content=NAME, or let `mine init {table.where}` write a job. "
            f"It has: {', '.join(map(repr, sorted(table.types)))}"
        )
    require_column(table, content, "dataset.content")
    identity = job.id or ("id" if "id" in table.types else None)
    if identity:
        require_column(table, identity, "dataset.id")
    label = require_column(table, job.label or "label", "dataset.label") if labelled else None
    if job.group:
        require_column(table, job.group, "dataset.group")
    kind = column_kind(table.where, content, table.types[content], model)
    return Side(table, content, kind, identity, label, job.group)

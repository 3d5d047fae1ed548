"""Build the relevance of scanned items from labels, lists of labels, or links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import Table
from miner.datasets.content import is_list, is_string
from miner.datasets.image_files import is_encoded
from miner.datasets.qrels import Links, read_links
from miner.datasets.roles import TableRoles
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import (
    NONE,
    AnchorSubset,
    LabelRelevance,
    LinkRelevance,
    MultiLabelRelevance,
    Relevance,
)

__all__ = ["Scanned", "scan_labelled", "scan_pairs"]

Codes = NDArray[np.int64]
Digests = NDArray[np.void]

_EXACT = 1 << 53
"""From this value on, one float64 represents several integers."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """The result of a scan: relevance in memory, and which rows of the tables are used.

    Attributes
    ----------
    relevance : Relevance
    rows : tuple of ndarray of int64
        For each table, the row numbers that are used, ascending.
    digests : tuple of (ndarray of V16 or None)
        For each table, the content digests of these rows; None for vectors.
    chosen : ndarray of int64 or None
        Positions in `rows[0]` of the anchors; None if all rows are anchors.
    facts : dict
        Counts for the manifest.
    names : pyarrow.Array or None
        The value of each label, in the order of the codes; None unless each row has one label.
    """

    relevance: Relevance
    rows: tuple[Codes, ...]
    digests: tuple[Digests | None, ...]
    chosen: Codes | None
    facts: dict[str, Any]
    names: Any = None


def scan_labelled(items: Items, side: TableRoles) -> tuple[Scanned, NDArray[np.bool_]]:
    """Build the relevance of labelled items.

    Returns
    -------
    Scanned
        Of the items that have a label.
    ndarray of shape (items,), bool
        Which items have a label.

    Raises
    ------
    DataError
        If there are no labels, no positives, no negatives or no anchors.
    """
    where = f"{items.where}, column {side.label!r}"
    nested, names = is_list(items.labels.type), None
    if nested:
        labels: Any = _label_lists(items.labels, side, items)
        keep = np.diff(labels[0]) > 0
    else:
        labels, names = _encoded(_known(items, items.labels, side.label))
        keep = labels >= 0
    if not keep.any():
        raise DataError(f"{where}: no row has a label; fill it in, or name another column")
    known = _known_groups(items, side)
    groups = (np.full(len(items), NONE) if known is None else _codes(known))[keep]
    contents = _content_codes(items)[keep]
    relevance: Relevance
    if nested:
        starts = np.concatenate([[0], np.cumsum(np.diff(labels[0])[keep])]).astype(np.int64)
        relevance = MultiLabelRelevance(starts, labels[1], contents, groups)
        sizes = np.bincount(labels[1])
    else:
        relevance = LabelRelevance(labels[keep], contents, groups)
        sizes = relevance.members.sizes
    sizes = sizes[sizes > 0]
    _refuse_degenerate(where, sizes)
    chosen = None
    if items.anchors is not None:
        chosen = np.flatnonzero(items.anchors[keep]).astype(np.int64)
        if not len(chosen):
            text = side.anchors.text if side.anchors else ""
            raise DataError(f"{items.where}: no row with a label is an anchor by {text!r}; mend it")
        relevance = AnchorSubset(relevance, chosen)
    facts = {
        "kind": "labelled",
        "items": len(items),
        "anchors": relevance.anchors,
        "classes": len(sizes),
        "skipped": {
            "unlabelled": int((~keep).sum()),
            "singletons": int((sizes == 1).sum()),
            **_left_out((items,), (side,)),
        },
    }
    digests = None if items.digests is None else items.digests[keep]
    return Scanned(relevance, (items.rows[keep],), (digests,), chosen, facts, names), keep


def scan_pairs(
    queries: Items,
    corpus: Items,
    sides: tuple[TableRoles, ...],
    tables: Sequence[Table],
    columns: tuple[str | None, str | None, str | None],
) -> Scanned:
    """Build the relevance of queries and a corpus from the links in `tables`.

    Raises
    ------
    DataError
        If the widths differ, a link has an unknown id, or no link has a score above 0.
    """
    if queries.width != corpus.width:
        raise DataError(
            f"{queries.where} has {queries.width} values a row, {corpus.where} {corpus.width}; "
            "both need the same number"
        )
    links = read_links(tables, columns, queries, corpus)
    relevance = _link_relevance(links, queries, corpus, sides)
    linked = np.diff(links.starts) > 0
    if not linked.any():
        raise DataError(
            f"{tables[0].where}: no link has a score above 0, so no positives; check the scores"
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
        "skipped": {
            "unlinked_queries": int((~linked).sum()),
            **_left_out((queries, corpus), sides),
            **({"links": links.dropped} if links.dropped else {}),
        },
    }
    rows, digests = (queries.rows, corpus.rows), (queries.digests, corpus.digests)
    return Scanned(relevance, rows, digests, None, facts)


def _left_out(items: Sequence[Items], sides: Sequence[TableRoles]) -> dict[str, int]:
    """Count the rows that were left out, by each reason that the job allows."""
    facts = {}
    if any(side.where for side in sides):
        facts["filtered"] = sum(part.filtered for part in items)
    if any(side.skip for side in sides):
        facts["unreadable"] = sum(part.unreadable for part in items)
    return facts


def _label_lists(column: Any, side: TableRoles, items: Items) -> tuple[Codes, Codes]:
    """Encode lists of labels: row r has ``codes[starts[r]:starts[r + 1]]``, ascending."""
    values = column.flatten()
    if is_list(values.type):
        raise DataError(
            f"{items.where}, column {side.label!r}: labels must be text, numbers or lists of them, "
            f"not {column.type}; name another column"
        )
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(column), dtype=np.int64), lengths)
    codes = _codes(_known(items, values, side.label))
    pairs = np.unique(np.stack([rows, codes], axis=1)[codes >= 0], axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(column) + 1))
    return starts.astype(np.int64), np.ascontiguousarray(pairs[:, 1])


def _known(items: Items, column: Any, name: str | None) -> Any:
    """Normalise labels or groups so that equal values compare equal; NaN becomes null.

    Raises
    ------
    DataError
        If the type cannot name a class.
    """
    kind, types = column.type, pa.types
    if types.is_floating(kind):
        return _known_floats(items, column, name)
    if types.is_decimal(kind) and kind.bit_width < 128:  # Arrow cannot dictionary-encode them
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    named = types.is_dictionary(kind) or types.is_null(kind) or is_string(kind) or is_encoded(kind)
    numbers = types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    interval = kind == pa.month_day_nano_interval()
    if types.is_struct(kind) or interval or not (named or numbers or types.is_temporal(kind)):
        raise DataError(
            f"{items.where}, column {name!r}: its values must be text, numbers or times, not "
            f"{kind}; write them as text"
        )
    return column


def _known_floats(items: Items, column: Any, name: str | None) -> Any:
    """Return floats with one zero, and null for NaN.

    Floats from `_EXACT` on are refused. Readers (JSON, for example) return large integers as such
    floats, several integers become the same float, and classes would be merged.
    """
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    far = pc.greater_equal(pc.abs(column), pa.scalar(float(_EXACT), column.type))
    if pc.any(far).as_py():
        value = column[int(pc.index(far, True).as_py())].as_py()
        raise DataError(
            f"{items.where}, column {name!r}: {value!r} represents several whole numbers, as do "
            "all floats from 2^53 on; write whole numbers of 64 bits, or text"
        )
    return pc.add(column, pa.scalar(0, column.type))


def _known_groups(items: Items, side: TableRoles) -> Any:
    return None if items.groups is None else _known(items, items.groups, side.group)


def _codes(*columns: Any) -> Codes:
    """Encode the values of columns jointly, in order of appearance; `NONE` for nulls.

    Columns of different types are compared as text, like ids, because a CSV has no types.
    """
    if len({column.type for column in columns}) > 1:
        columns = tuple(_as_text(column) for column in columns)
    return _encoded(pa.concat_arrays(list(columns)))[0]


def _as_text(column: Any) -> Any:
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        raise DataError(
            f"dataset.group: groups of the type {column.type} and of another cannot be compared; "
            "write both as text"
        )
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_string())


def _encoded(column: Any) -> tuple[Codes, Any]:
    """Encode the values of a column; return the codes, and the value of each code."""
    coded = pa.types.is_dictionary(column.type)
    encoded = column if coded else column.dictionary_encode()
    indices = encoded.indices.fill_null(NONE)
    codes = np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64)
    return codes, encoded.dictionary


def _content_codes(*items: Items) -> Codes:
    """Encode the contents of tables jointly, equal contents alike; `NONE` for vectors."""
    digests = [item.digests for item in items if item.digests is not None]
    if len(digests) < len(items):
        return np.full(sum(map(len, items)), NONE, dtype=np.int64)
    _, codes = np.unique(np.concatenate(digests), return_inverse=True)
    return np.asarray(codes, dtype=np.int64)


def _refuse_degenerate(where: str, sizes: Codes) -> None:
    if len(sizes) == 1:
        raise DataError(
            f"{where}: all labelled rows have one label; there are no negatives; add a second label"
        )
    if sizes.max() == 1:
        raise DataError(
            f"{where}: every label occurs only once, so there are no positives; name the column "
            "of the labels with --set dataset.label=NAME, or add items"
        )


def _link_relevance(
    links: Links, queries: Items, corpus: Items, sides: tuple[TableRoles, ...]
) -> LinkRelevance:
    cut = len(queries)
    contents = _content_codes(queries, corpus)
    named = [_known_groups(*pair) for pair in zip((queries, corpus), sides, strict=True)]
    if all(part is not None for part in named):
        groups = _codes(*named)
    else:
        groups = np.full(len(queries) + len(corpus), NONE, dtype=np.int64)
    twins = np.full(len(queries), NONE, dtype=np.int64)
    # A query and a document are the same item only if both tables have id columns with the same
    # id; row numbers identify nothing. Ids are compared as text, like links.
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

"""The relevance of labelled items, from a scanned table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.content import folded, is_list, is_string
from miner.datasets.relevance.codes import (
    Codes,
    content_codes,
    encoded,
    known_values,
    missing_names,
    spelled_names,
)
from miner.datasets.relevance.constraints import constrained, group_codes, missing_values
from miner.datasets.relevance.corrected_labels import corrected_items, ignored_pairs
from miner.datasets.relevance.corrections import Corrections
from miner.datasets.relevance.scanned import Scanned, given, left_out
from miner.datasets.roles import TableRoles
from miner.datasets.scan import Items
from miner.errors import DataError, did_you_mean
from miner.triplets.relevance import (
    NONE,
    AnchorSubset,
    LabelRelevance,
    MultiLabelRelevance,
    Relevance,
)

__all__ = ["scan_labelled"]

_MOST_NAMED = 20
"""Most labels that the manifest names."""


def scan_labelled(
    items: Items, side: TableRoles, corrections: Corrections
) -> tuple[Scanned, NDArray[np.bool_]]:
    """Build the relevance of labelled items, with the corrections of a person.

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
    if corrections:
        items = corrected_items(items, side, corrections)
    nested, names = is_list(items.labels.type), None
    starts, labels, known = _label_lists(items, side) if nested else _single_labels(items, side)
    of_items, sizes = (starts, labels), np.diff(starts)
    keep = sizes > 0
    if not keep.any():
        raise DataError(f"{where}: no row has a label; fill it in, or name another column")
    negative = _negative_only(known, side, where)[labels]
    owners = np.repeat(np.arange(len(items)), sizes)
    anchors = np.bincount(owners, ~negative, len(items)).astype(np.bool_)
    counts = np.bincount(labels[~negative])
    counts = counts[counts > 0]
    _refuse_degenerate(where, counts, others=bool(negative.any()))
    groups = group_codes([items], side.constraints)[0][keep]
    contents, near_equal = content_codes(items, fold=side.fold)
    contents = contents[keep]
    relevance: Relevance
    if nested:
        starts, labels = _without(starts, labels, negative, len(known))
        starts = np.append(0, np.cumsum(np.diff(starts)[keep])).astype(np.int64)
        relevance = MultiLabelRelevance(starts, labels, contents, groups)
    else:
        relevance, names = LabelRelevance(labels, contents, groups), spelled_names(known)
    chosen = _chosen(items, side, anchors[keep], keep)
    if chosen is not None:
        relevance = AnchorSubset(relevance, chosen)
    rows = np.flatnonzero(keep)
    own = (items, rows if chosen is None else rows[chosen])
    relevance = constrained(relevance, own, (items, rows), side.constraints)
    if corrections:
        relevance = ignored_pairs(relevance, items, rows, of_items, corrections, skip=side.skip)
    facts = {
        "kind": "labelled",
        "items": len(items),
        "anchors": relevance.anchors,
        "classes": len(counts),
        **given(
            negative_only=int((keep & ~anchors).sum()),
            without_value=missing_values([items], side.constraints),
            near_equal_texts=near_equal,
            near_equal_labels=_near_equal(known),
            missing_names=missing_names(items.labels),
        ),
        "skipped": {
            "unlabelled": int((~keep).sum()) - corrections.outcome["dropped"],
            "singletons": int((counts == 1).sum()),
            **left_out((items,), (side,)),
        },
    }
    digests = None if items.digests is None else items.digests[keep]
    return Scanned(relevance, (items.rows[keep],), (digests,), chosen, facts, names), keep


def _near_equal(names: Any) -> list[str]:
    """Return labels that are equal to another one but for case, spaces and Unicode form."""
    texts = names.to_pylist() if is_string(names.type) else []
    counts = Counter(map(folded, texts))
    near = sorted((name for name in texts if counts[folded(name)] > 1), key=folded)
    return near[:_MOST_NAMED]


def _single_labels(items: Items, side: TableRoles) -> tuple[Codes, Codes, Any]:
    """Encode one label a row; return what `_label_lists` returns."""
    codes, names = encoded(known_values(items, items.labels, side.label))
    there = codes != NONE
    return np.append(0, np.cumsum(there)), codes[there], names


def _negative_only(names: Any, side: TableRoles, where: str) -> NDArray[np.bool_]:
    """Return whether each label is one that is only ever negative."""
    if not side.negative_only:
        return np.zeros(len(names), dtype=np.bool_)
    try:
        texts = names.cast(pa.string()).to_pylist()
    except pa.ArrowException:  # bytes that are no text, and durations
        texts = [str(name) for name in names]
    for name in side.negative_only:
        if name not in texts:
            raise DataError(
                f"{where}: no row has the label {name!r} (dataset.negative_only): "
                f"{did_you_mean(name, texts)}"
            )
    return np.isin(np.array(texts, dtype=object), list(side.negative_only))


def _without(
    starts: Codes, labels: Codes, negative: NDArray[np.bool_], count: int
) -> tuple[Codes, Codes]:
    """Remove labels that are only ever negative; a row without others gets one of its own."""
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    bare = np.setdiff1d(rows[negative], rows[~negative])
    owners = np.append(rows[~negative], bare)
    order = np.argsort(owners, kind="stable")
    labels = np.append(labels[~negative], count + np.arange(len(bare)))[order]
    return np.searchsorted(owners[order], np.arange(len(starts))), labels


def _chosen(
    items: Items, side: TableRoles, anchors: NDArray[np.bool_], keep: NDArray[np.bool_]
) -> Codes | None:
    """Return which rows with a label are anchors; None if all are."""
    if items.anchors is not None:
        anchors = anchors & items.anchors[keep]
        if not anchors.any():
            text = side.anchors.text if side.anchors else ""
            raise DataError(f"{items.where}: no row with a label is an anchor by {text!r}; mend it")
    return None if items.anchors is None and anchors.all() else np.flatnonzero(anchors)


def _label_lists(items: Items, side: TableRoles) -> tuple[Codes, Codes, Any]:
    """Encode lists of labels.

    Returns
    -------
    ndarray, ndarray of int64
        Row r has the codes ``codes[starts[r]:starts[r + 1]]``, ascending, without repetitions.
    pyarrow.Array
        The value of each code.
    """
    column = items.labels
    values = column.flatten()
    if is_list(values.type):
        raise DataError(
            f"{items.where}, column {side.label!r}: labels must be text, numbers or lists of them, "
            f"not {column.type}; name another column"
        )
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(column), dtype=np.int64), lengths)
    if is_string(values.type):
        values = pc.if_else(pc.equal(values, ""), None, values)
    codes, names = encoded(known_values(items, values, side.label))
    pairs = np.unique(np.stack([rows, codes], axis=1)[codes >= 0], axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(column) + 1))
    return starts.astype(np.int64), np.ascontiguousarray(pairs[:, 1]), names


def _refuse_degenerate(where: str, sizes: Codes, *, others: bool) -> None:
    """Raise a `DataError` if no triplet is possible; `others` are rows that are only negative."""
    if not len(sizes):
        raise DataError(
            f"{where}: dataset.negative_only names every label, so there are no anchors; name fewer"
        )
    if len(sizes) == 1 and not others:
        raise DataError(
            f"{where}: all labelled rows have one label; there are no negatives; add a second label"
        )
    if sizes.max() == 1:
        raise DataError(
            f"{where}: every label occurs only once, so there are no positives; name the column "
            "of the labels with --set dataset.label=NAME, or add items"
        )

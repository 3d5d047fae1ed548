"""The relevance of labelled items, from a scanned table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.content import is_list
from miner.datasets.relevance.codes import (
    Codes,
    content_codes,
    encoded,
    joint_codes,
    known_groups,
    known_values,
)
from miner.datasets.relevance.scanned import Scanned, left_out
from miner.datasets.roles import TableRoles
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import (
    NONE,
    AnchorSubset,
    LabelRelevance,
    MultiLabelRelevance,
    Relevance,
)

__all__ = ["scan_labelled"]


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
        labels, names = encoded(known_values(items, items.labels, side.label))
        keep = labels >= 0
    if not keep.any():
        raise DataError(f"{where}: no row has a label; fill it in, or name another column")
    known = known_groups(items, side)
    groups = (np.full(len(items), NONE) if known is None else joint_codes(known))[keep]
    contents = content_codes(items)[keep]
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
            **left_out((items,), (side,)),
        },
    }
    digests = None if items.digests is None else items.digests[keep]
    return Scanned(relevance, (items.rows[keep],), (digests,), chosen, facts, names), keep


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
    codes = joint_codes(known_values(items, values, side.label))
    pairs = np.unique(np.stack([rows, codes], axis=1)[codes >= 0], axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(len(column) + 1))
    return starts.astype(np.int64), np.ascontiguousarray(pairs[:, 1])


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

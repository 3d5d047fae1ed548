"""Seeded relevance beyond one label a row: sets of labels, and some rows as anchors."""

from __future__ import annotations

import numpy as np

from miner.triplets.relevance import (
    LATEST,
    AnchorSubset,
    Constrained,
    LabelRelevance,
    LinkRelevance,
    MultiLabelRelevance,
    Relevance,
    anchor_rows,
)

CONSTRAINTS = (
    ("across",),
    ("within",),
    ("apart",),
    ("before",),
    ("across", "within", "apart", "before"),
    ("ignored",),
    ("across", "within", "before", "ignored"),
    ("apart", "ignored"),
)
SETS = ("few", "many", "skewed", "one_each", "all_alike", "apart")


def multilabel(kind: str, rows: int, seed: int, *, hide: bool = False) -> MultiLabelRelevance:
    """Rows with sets of labels, with duplicate contents and groups when `hide`."""
    rng = np.random.default_rng(seed + 5)
    sets = [np.unique(_drawn(kind, row, rng)) for row in range(rows)]
    starts = np.concatenate([[0], np.cumsum([len(labels) for labels in sets])]).astype(np.int64)
    none = np.full(rows, -1, dtype=np.int64)
    contents = rng.integers(-1, rows // 2, rows) if hide else none
    groups = rng.integers(-1, rows // 4, rows) if hide else none
    return MultiLabelRelevance(starts, np.concatenate(sets).astype(np.int64), contents, groups)


def _drawn(kind: str, row: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "few":
        return rng.integers(0, 9, int(rng.integers(1, 4)))
    if kind == "many":
        return rng.integers(0, 200, int(rng.integers(1, 12)))
    if kind == "skewed":
        return np.minimum(rng.geometric(0.3, int(rng.integers(1, 4))) - 1, 40)
    if kind == "one_each":
        return rng.integers(0, 5, 1)
    if kind == "all_alike":
        return np.array([0, 3])
    return np.array([2 * row, 2 * row + 1])


def subset(inner: Relevance, share: float, seed: int) -> AnchorSubset:
    """About a share of the rows as anchors, one at least."""
    rng = np.random.default_rng(seed + 6)
    count = max(1, int(share * inner.rows))
    return AnchorSubset(inner, np.sort(rng.choice(inner.rows, count, replace=False)))


def one_label_each(labelled: LabelRelevance) -> MultiLabelRelevance:
    """The same relevance, said in sets of one label."""
    starts = np.arange(labelled.rows + 1, dtype=np.int64)
    return MultiLabelRelevance(starts, labelled.labels, labelled.contents, labelled.groups)


def constrained(inner: Relevance, seed: int, *kinds: str) -> Constrained:
    """A relevance with random constraints of some kinds: across, within, apart, before, ignored."""
    rng = np.random.default_rng(seed + 8)
    own_rows = not isinstance(inner, LinkRelevance)

    def codes(kind: str, many: int) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.integers(-1, many, inner.rows) if kind in kinds else np.zeros(inner.rows, int)
        if own_rows:
            return rows, rows[anchor_rows(inner)]
        some = rng.integers(-1, many, inner.anchors)
        return rows, some if kind in kinds else np.zeros(inner.anchors, int)

    def columns(kind: str) -> list[np.ndarray]:
        if kind not in kinds:
            return [np.empty((0, 0), dtype=np.int64)] * 2
        found = [codes(kind, many) for many in (3, 6)]
        return [np.stack([pair[side] for pair in found]) for side in (0, 1)]

    order, anchor_order = codes("before", 12)
    order = np.where(order == -1, LATEST, order)
    pairs = [*codes("within", 3), order, anchor_order, *columns("across"), *columns("apart")]
    every = inner.anchors * inner.rows
    ignored = np.unique(rng.integers(0, every, every // 7 if "ignored" in kinds else 0))
    return Constrained(inner, *pairs, ignored)

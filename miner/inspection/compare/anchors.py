"""Compare the census of two runs, anchor by anchor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.inspection.report.contents import cut_text
from miner.runs.run import Run

__all__ = ["AnchorChange", "Anchors", "compare_anchors"]

_SHOWN = 8
_MOVED = 0.005
"""Least change of a share of hard triplets that is shown."""


@dataclass(frozen=True, slots=True)
class AnchorChange:
    """The share of an anchor's triplets that is hard, in A (`before`) and in B (`after`)."""

    anchor: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Anchors:
    """How the share of hard triplets changed from A to B.

    Attributes
    ----------
    common, only_a, only_b : int
        Numbers of anchors in both runs, in A only and in B only.
    fewer, more, same : int
        Numbers of common anchors whose share of hard triplets is smaller, larger or equal in B.
        Anchors without triplets in A or B do not count.
    better, worse : list of AnchorChange
        The anchors with the largest decreases and increases, of half a percentage point or more.
    """

    common: int
    only_a: int
    only_b: int
    fewer: int
    more: int
    same: int
    better: list[AnchorChange]
    worse: list[AnchorChange]


def compare_anchors(a: Run, b: Run) -> Anchors | None:
    """Compare the census of two runs by anchor id; return None if they have no id in common."""
    tables = a.census(), b.census()
    places = [
        {one: place for place, one in enumerate(table["anchor_id"].to_pylist())} for table in tables
    ]
    names = [one for one in places[0] if one in places[1]]
    if not names:
        return None
    before, after = (
        _hard_share(table, np.array([place[one] for one in names]))
        for table, place in zip(tables, places, strict=True)
    )
    known = ~(np.isnan(before) | np.isnan(after))
    change = np.where(known, after - before, 0.0)
    order = np.argsort(change, kind="stable")

    def shown(rows: NDArray[np.int64]) -> list[AnchorChange]:
        return [
            AnchorChange(cut_text(names[row]), float(before[row]), float(after[row]))
            for row in rows[:_SHOWN].tolist()
        ]

    return Anchors(
        len(names),
        len(places[0]) - len(names),
        len(places[1]) - len(names),
        int((change < 0).sum()),
        int((change > 0).sum()),
        int((known & (change == 0)).sum()),
        shown(order[change[order] <= -_MOVED]),
        shown(order[::-1][change[order[::-1]] >= _MOVED]),
    )


def _hard_share(table: Any, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each anchor's triplets that is hard; NaN if it has no triplet."""
    hard, positives, negatives = (
        table[name].to_numpy()[rows].astype(np.float64)
        for name in ("hard", "positives", "negatives")
    )
    valid = positives * negatives
    shares = np.full(len(rows), np.nan)
    np.divide(hard, valid, out=shares, where=valid > 0)
    return shares

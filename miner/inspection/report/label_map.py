"""The map of labels that are confused, as cells and texts, which `templates/figures.j2` renders."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np

from miner.inspection.report.figures import WIDTH, Axis, Drawing, Path, Step, Tick
from miner.triplets.types import Float64, Rows

__all__ = ["label_map", "similar_order"]

_TOP, _RIGHT, _TITLE = 6, 8, 26
"""Space above and to the right of the cells, and for the title to the left of the labels."""
_LETTER = 7.6
"""Width of a letter on a narrow screen, where it is largest."""
_LONGEST, _TURN = 14, 55
"""Most letters of a label at an axis, and the angle in degrees for labels that do not fit."""
_HALF = 16
"""Most labels of a map that is half as wide as the page."""
_STEPS = {0.5: 0.12, 0.75: 0.3, 0.9: 0.5, 0.97: 0.75, 1.0: 1.0}
"""Opacity of a cell, by the share of the cells that have at most as many hard triplets."""


def similar_order(counts: Float64) -> Rows:
    """Return the order of labels in which labels that are often confused are neighbours.

    Groups of labels are merged, the two with the largest mean count first (average linkage: Sokal
    and Michener 1958), and joined at the ends that are confused most.

    Parameters
    ----------
    counts : ndarray of shape (labels, labels)
        Hard triplets by the label of the anchor and of the negative.
    """
    both = counts + counts.T
    groups = [[place] for place in range(len(both))]
    while len(groups) > 1:
        pairs = [(n, m) for n in range(len(groups)) for m in range(n + 1, len(groups))]
        means = [both[np.ix_(groups[n], groups[m])].mean() for n, m in pairs]
        first, second = pairs[int(np.argmax(means))]
        joined = _joined(groups[first], groups.pop(second), both)
        groups[first] = joined
    return np.array(groups[0] if groups else [], np.int64)


def _joined(one: list[int], other: list[int], both: Float64) -> list[int]:
    ways = [(a, b) for a in (one, one[::-1]) for b in (other, other[::-1])]
    start, end = max(ways, key=lambda way: both[way[0][-1], way[1][0]])
    return start + end


def label_map(labels: Sequence[str], counts: Float64) -> Drawing:
    """Draw a matrix of labels: the more hard triplets, the darker the cell.

    The steps of the scale are shares of the cells, not of the largest count: so a few cells are
    dark, even where all labels are confused about equally often.

    Parameters
    ----------
    labels : sequence of str
    counts : ndarray of shape (labels, labels)
        Hard triplets by the label of the anchor (rows) and of the negative (columns).
    """
    size, width = len(labels), WIDTH if len(labels) <= _HALF else 2 * WIDTH
    longest = math.ceil(_LETTER * max(_columns(_short(one)) for one in labels))
    wide = (width - _TITLE - 8 - longest - _RIGHT) // size  # whole units: no gaps between cells
    turned = longest + 4 > wide
    below = math.ceil(longest * math.sin(math.radians(_TURN))) if turned else 14
    high = (WIDTH - 88 - below) // size if width == WIDTH else 14
    right, bottom = width - _RIGHT, _TOP + high * size
    drawn = Drawing(
        bottom + below + 32,
        Axis("label of the negative", -0.5, size - 0.5, right - wide * size, right),
        Axis("label of the anchor", -0.5, size - 0.5, _TOP, bottom),
        -_TURN if turned else 0,
        width=width,
    )
    for axis in (drawn.x, drawn.y):
        places = axis.at(np.arange(size)).tolist()
        names = zip(places, map(_short, labels), labels, strict=True)
        axis.ticks.extend(Tick(*name) for name in names)
    across = "".join(f"M{drawn.x.start} {_TOP + high * n}H{right}" for n in range(size + 1))
    down = "".join(f"M{drawn.x.start + wide * n} {_TOP}V{bottom}" for n in range(size + 1))
    drawn.paths.append(Path("grid", across + down))
    for step in _steps(counts):
        rows, columns = np.nonzero((counts >= step.low) & (counts <= step.high))
        corners = zip(drawn.x.at(columns - 0.5), drawn.y.at(rows - 0.5), strict=True)
        path = "".join(f"M{x:g} {y:g}h{wide}v{high}h-{wide}z" for x, y in corners)
        drawn.paths.append(Path("cell hard", path, step.opacity))
        drawn.scale.append(step)
    return drawn


def _steps(counts: Float64) -> list[Step]:
    """Return the steps of the scale; steps without a cell are left out."""
    found: list[Step] = []
    left = np.sort(counts[counts > 0])
    for share, opacity in _STEPS.items() if len(left) else ():
        top = np.quantile(counts[counts > 0], share, method="lower")
        within = left[left <= top]
        if len(within):
            found.append(Step(int(within[0]), int(top), opacity))
            left = left[len(within) :]
    return found


def _short(name: str) -> str:
    """Cut a label so that it fits at an axis."""
    if _columns(name) <= _LONGEST:
        return name
    kept = name[:_LONGEST]
    while _columns(kept) >= _LONGEST:
        kept = kept[:-1]
    return f"{kept}…"


def _columns(name: str) -> int:
    """Return the width of a text in letters; East Asian wide letters count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)

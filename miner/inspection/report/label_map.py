"""The map of labels that are confused, as cells and texts, which `templates/figures.j2` renders."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np

from miner.inspection.report.figures import WIDTH, Axis, Drawing, Path, Tick
from miner.triplets.types import Float64

__all__ = ["label_map"]

_TOP, _RIGHT, _TITLE = 6, 8, 26
"""Space above and to the right of the cells, and for the title to the left of the labels."""
_LETTER = 7.6
"""Width of a letter on a narrow screen, where it is largest."""
_LONGEST, _TURN = 14, 55
"""Most letters of a label at an axis, and the angle in degrees for labels that do not fit."""


def label_map(labels: Sequence[str], counts: Float64) -> Drawing:
    """Draw a matrix of labels: the more hard triplets, the darker the cell.

    Parameters
    ----------
    labels : sequence of str
    counts : ndarray of shape (labels, labels)
        Hard triplets by the label of the anchor (rows) and of the negative (columns).
    """
    size = len(labels)
    longest = math.ceil(_LETTER * max(_columns(_short(one)) for one in labels))
    wide = (WIDTH - _TITLE - 8 - longest - _RIGHT) // size  # whole units: no gaps between cells
    turned = longest + 4 > wide
    below = math.ceil(longest * math.sin(math.radians(_TURN))) if turned else 14
    high = (WIDTH - 88 - below) // size
    right, bottom = WIDTH - _RIGHT, _TOP + high * size
    drawn = Drawing(
        bottom + below + 32,
        Axis("label of the negative", -0.5, size - 0.5, right - wide * size, right),
        Axis("label of the anchor", -0.5, size - 0.5, _TOP, bottom),
        -_TURN if turned else 0,
    )
    for axis in (drawn.x, drawn.y):
        places = axis.at(np.arange(size)).tolist()
        names = zip(places, map(_short, labels), labels, strict=True)
        axis.ticks.extend(Tick(*name) for name in names)
    across = "".join(f"M{drawn.x.start} {_TOP + high * n}H{right}" for n in range(size + 1))
    down = "".join(f"M{drawn.x.start + wide * n} {_TOP}V{bottom}" for n in range(size + 1))
    drawn.paths.append(Path("grid", across + down))
    full = np.sqrt(counts / (counts.max() or 1.0)).round(2)
    for fill in np.unique(full[full > 0]).tolist():
        rows, columns = np.nonzero(full == fill)
        corners = zip(drawn.x.at(columns - 0.5), drawn.y.at(rows - 0.5), strict=True)
        path = "".join(f"M{x:g} {y:g}h{wide}v{high}h-{wide}z" for x, y in corners)
        drawn.paths.append(Path("cell hard", path, fill))
    return drawn


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

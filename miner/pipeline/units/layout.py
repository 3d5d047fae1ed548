"""Units of anchors: how they are cut, what is known of each anchor, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.triplets.types import Rows

__all__ = ["CENSUS", "COUNTED", "SELECTED", "Share", "cut_units"]

COUNTED = np.dtype(
    [
        ("positives", np.int64),
        ("negatives", np.int64),
        ("easy", np.int64),
        ("semi_hard", np.int64),
        ("hard", np.int64),
        ("slots_semi_hard", np.int64),
        ("slots_hard", np.int64),
        ("slots_suspects", np.int64),
        ("wanted_semi_hard", np.int64),
        ("wanted_hard", np.int64),
        ("available_semi_hard", np.int64),
        ("available_hard", np.int64),
        ("loss", np.float64),
        ("neighbour", np.int64),
        ("votes", np.int64),
        ("looked", np.int64),
    ]
)
"""One anchor's census: counts, what would be written of each class without a cap on it, what the
strategy wanted and what the filters left it, the sum of the loss, and which other label most of its
nearest rows have (-1: none), how many of them, of how many."""

CENSUS = ("positives", "negatives", "easy", "semi_hard", "hard")
"""The columns of `COUNTED` that the census shows."""

SELECTED = tuple(
    name for name in COUNTED.names or () if name.startswith(("slots_", "wanted_", "available_"))
)
"""Those that hang on the selection."""

_UNIT_FLOPS = 1e12


def cut_units(anchors: int, rows: int, dim: int) -> list[tuple[int, int]]:
    """Cut the anchors into units of at most some 10^12 operations, about 32 or more of them.

    The cut hangs on the data only, so that a resumed run meets the same units whatever its
    workers.
    """
    by_work = int(_UNIT_FLOPS / (2 * max(1, rows) * max(1, dim)))
    size = max(16, min(-(-anchors // 32), by_work))
    return [(start, min(start + size, anchors)) for start in range(0, anchors, size)]


@dataclass(frozen=True, slots=True)
class Share:
    """What anchors write to one folder.

    Attributes
    ----------
    counts : ndarray of shape (anchors,), int64
    factor : float
        What the cap on the whole folder puts on a weight.
    """

    counts: Rows
    factor: float

    @property
    def total(self) -> int:
        """Triplets over all anchors."""
        return int(self.counts.sum())

    def of(self, anchors: Rows) -> Share:
        """Return the share of some anchors."""
        return Share(self.counts[anchors], self.factor)

    def part(self, anchors: slice) -> Share:
        """Return the share of a range of anchors."""
        return Share(self.counts[anchors], self.factor)

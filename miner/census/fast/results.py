"""What the fast pass takes and gives: anchors prepared for it, and what it found for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from miner.census.candidate_lists import Reach, ReachRoom
from miner.triplets.types import Float64, Rows

__all__ = ["Prepared", "Screened"]


@dataclass(frozen=True, slots=True)
class Screened:
    """What the fast pass found for some anchors, in their order.

    Attributes
    ----------
    hard, within : ndarray of shape (b,), int64
        Triplets that are hard; that are hard or semi-hard.
    loss : ndarray of shape (b,), float64
        Sum of the hinge loss over the latter.
    sure : ndarray of shape (b,), bool
        Where it is False the anchor must be counted by the reference.
    nearest : ndarray of shape (b, k), int64
        The nearest rows, if they were asked for; see `miner.census.neighbors.NearestRows`.
    room : ReachRoom
        How much of the rows within reach is kept.
    """

    hard: Rows
    within: Rows
    loss: Float64
    sure: NDArray[np.bool_]
    nearest: Rows
    room: ReachRoom
    _reach: list[tuple[Rows, Reach]] = field(default_factory=list)

    def add(self, places: Rows, anchors: Rows, reach: Reach) -> None:
        """Take what was kept of the anchors of a block, as far as it serves."""
        if self.room.serving is not None:
            counts = self.hard[places], self.within[places], self.sure[places]
            reach = self.room.serving(anchors, reach, *counts)
        left = self.room.entries - sum(len(part.entries) for _, part in self._reach)
        self._reach.append((places, reach.within(left)))

    @property
    def reach(self) -> Reach:
        """The rows within reach of each anchor."""
        return Reach.gathered(len(self.hard), self._reach)


@dataclass(slots=True)
class Prepared:
    """Some anchors, prepared for the pass.

    Attributes
    ----------
    anchors, queries, offset, slack
        Their rows, vectors in key space, and what `KeySpace` says of those.
    whole : bool
        Whether all rows are multiplied before they are counted.
    part : int
        Dimensions that are summed in one go.
    error : ndarray of shape (b,), float64
        How far a float32 key can be from the float64 one.
    """

    anchors: Rows
    queries: Float64
    offset: Float64
    slack: Float64
    whole: bool
    part: int = 0
    error: Float64 = field(default_factory=lambda: np.empty(0))

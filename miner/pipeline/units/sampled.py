"""Classes of anchors that are written as a uniform sample: triplets are drawn, no block is made.

How many trials a class of an anchor should need follows from exact counts; where a row of products
and its ranks would cost less, the class is left to those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.pipeline.units.layout import Share
from miner.pipeline.units.records import TRIPLET, Triplets
from miner.selection.rejection import DrawnTriplets, DrawRequest, RejectionSampler
from miner.selection.selection import Selection
from miner.triplets.hardness import MINED, Kept, Mined
from miner.triplets.types import Float64, Rows

__all__ = ["SampledClasses", "choose_sampled"]

_ROWS_A_TRIAL = 16
"""Rows of a block of keys, put in order, that a trial may cost: it costs about 5 with compiled
loops, and 35 without. The choice must not hang on that, for it decides what is drawn."""


@dataclass(frozen=True)
class SampledClasses:
    """Which classes of some anchors are written by drawing triplets.

    Attributes
    ----------
    rejection : RejectionSampler
    asked : DrawRequest
        What is drawn of each anchor, which may be nothing.
    weights : mapping
        Per class, the weight of a triplet of each anchor.
    """

    rejection: RejectionSampler
    asked: DrawRequest
    weights: Mapping[Mined, Float64]

    def left(self, shares: Mapping[Kept, Share]) -> dict[Kept, Share]:
        """Return what is left of shares to be written in another way."""
        left = dict(shares)
        for name, take in self.asked.takes.items():
            left[name] = Share(shares[name].counts - take, shares[name].factor)
        return left

    def records(self, first: int, last: int) -> dict[Mined, Triplets]:
        """Draw what the anchors from `first` to below `last` write of each class."""
        parts: dict[Mined, list[Triplets]] = {name: [np.empty(0, TRIPLET)] for name in MINED}
        for start in range(first, last, self.rejection.max_anchors):
            at = slice(start, min(start + self.rejection.max_anchors, last))
            asked = self.asked.part(at)
            for name, drawn in self.rejection.draw(asked).items():
                parts[name].append(_records(asked.anchors, drawn, self.weights[name][at]))
        return {name: np.concatenate(parts[name]) for name in MINED}


def _records(anchors: Rows, drawn: DrawnTriplets, weights: Float64) -> Triplets:
    records = np.empty(len(drawn.line), dtype=TRIPLET)
    records["anchor"], records["weight"] = anchors[drawn.line], weights[drawn.line]
    records["positive"], records["negative"] = drawn.positive, drawn.negative
    with np.errstate(over="ignore"):  # a distance too large for float32 is infinite there
        records["d_ap"], records["d_an"] = drawn.d_ap, drawn.d_an
    return records


def choose_sampled(
    rejection: RejectionSampler,
    selection: Selection,
    anchors: Rows,
    shares: Mapping[Kept, Share],
    counted: NDArray[np.void],
) -> SampledClasses | None:
    """Choose the classes of anchors for which drawing triplets is cheap.

    Parameters
    ----------
    rejection : RejectionSampler
    selection : Selection
        Of which totals tell how much of each class is written: a uniform sample.
    anchors : ndarray of shape (anchors,), int64
    shares : mapping
        Per folder, that of the anchors.
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.COUNTED`

    Returns
    -------
    SampledClasses or None
        None where it is cheap for none.
    """
    rows = rejection.relevance.rows
    takes, rates = {}, {}
    for name in MINED:
        take, count = shares[name].counts, counted[name]
        each = np.maximum(count, 1).astype(np.float64)
        # Picks may fail for rows that are no negatives: of few negatives most do.
        trials = take * (counted["positives"] * (rows / each))
        cheap = (2 * take <= count) & (_ROWS_A_TRIAL * trials <= rows)
        takes[name] = np.where(cheap, take, 0)
        rates[name] = counted["positives"] * (counted["negatives"] / each)
    if not any(take.any() for take in takes.values()):
        return None
    weights = selection.weights_of_totals({name: counted[name] for name in MINED})
    nothing = np.zeros(len(anchors))
    weights = {name: shares[name].factor * weights.get(name, nothing) for name in MINED}
    return SampledClasses(rejection, DrawRequest(anchors, takes, rates), weights)

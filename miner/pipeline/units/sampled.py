"""Writes uniform samples by drawing triplets at random instead of ranking all rows.

The expected number of trials for a class of an anchor follows from its exact counts. If computing
and ranking the anchor's distances to all rows would cost less, the class is written that way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.pipeline.units.layout import Quota
from miner.pipeline.units.records import TRIPLET, Triplets
from miner.selection.rejection import DrawnTriplets, DrawRequest, RejectionSampler
from miner.selection.selection import Selection
from miner.triplets.hardness import MINED_CLASSES, MinedClass, OutputFolder
from miner.triplets.types import Float64, Rows

__all__ = ["SampledClasses", "choose_sampled"]

_ROWS_A_TRIAL = 16
"""Assumed cost of a trial, in rows that are ranked. The real cost is about 5 with compiled loops
and 35 without; a constant is used because the choice decides which triplets are drawn."""


@dataclass(frozen=True)
class SampledClasses:
    """The classes of anchors that are written by drawing triplets.

    Attributes
    ----------
    rejection : RejectionSampler
    asked : DrawRequest
        The number of triplets to draw for each anchor and class; it may be 0.
    weights : mapping
        The weight of the triplets of each anchor, per class.
    """

    rejection: RejectionSampler
    asked: DrawRequest
    weights: Mapping[MinedClass, Float64]

    def left(self, quotas: Mapping[OutputFolder, Quota]) -> dict[OutputFolder, Quota]:
        """Return the quotas without the triplets that are drawn."""
        left = dict(quotas)
        for name, take in self.asked.takes.items():
            left[name] = Quota(quotas[name].counts - take, quotas[name].factor)
        return left

    def records(self, first: int, last: int) -> dict[MinedClass, Triplets]:
        """Draw the triplets of the anchors from `first` to `last` (exclusive), per class."""
        parts: dict[MinedClass, list[Triplets]] = {
            name: [np.empty(0, TRIPLET)] for name in MINED_CLASSES
        }
        for start in range(first, last, self.rejection.max_anchors):
            at = slice(start, min(start + self.rejection.max_anchors, last))
            asked = self.asked.part(at)
            for name, drawn in self.rejection.draw(asked).items():
                parts[name].append(_records(asked.anchors, drawn, self.weights[name][at]))
        return {name: np.concatenate(parts[name]) for name in MINED_CLASSES}


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
    quotas: Mapping[OutputFolder, Quota],
    counted: NDArray[np.void],
) -> SampledClasses | None:
    """Choose the classes of anchors for which drawing triplets is cheap.

    Parameters
    ----------
    rejection : RejectionSampler
    selection : Selection
        A selection that depends only on the totals of each class: a uniform sample.
    anchors : ndarray of shape (anchors,), int64
    quotas : mapping
        The quota of the anchors per folder.
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`

    Returns
    -------
    SampledClasses or None
        None if drawing is cheap for no class of any anchor.
    """
    rows = rejection.relevance.rows
    takes, rates = {}, {}
    for name in MINED_CLASSES:
        take, count = quotas[name].counts, counted[name]
        each = np.maximum(count, 1).astype(np.float64)
        # A trial fails if the row it draws is not a negative, so rare negatives need many trials.
        trials = take * (counted["positives"] * (rows / each))
        cheap = (2 * take <= count) & (_ROWS_A_TRIAL * trials <= rows)
        takes[name] = np.where(cheap, take, 0)
        rates[name] = counted["positives"] * (counted["negatives"] / each)
    if not any(take.any() for take in takes.values()):
        return None
    weights = selection.weights_of_totals({name: counted[name] for name in MINED_CLASSES})
    nothing = np.zeros(len(anchors))
    weights = {name: quotas[name].factor * weights.get(name, nothing) for name in MINED_CLASSES}
    return SampledClasses(rejection, DrawRequest(anchors, takes, rates), weights)

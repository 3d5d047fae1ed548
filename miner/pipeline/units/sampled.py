"""Anchors that write a uniform sample of their classes: triplets are drawn, and no block is made.

How many trials an anchor should need follows from exact counts; where a row of products and its
ranks would cost less, the anchor is left to those. It is one or the other for the whole anchor: a
row that one class needs tells of the other class, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.pipeline.units.layout import Share, cut_sizes
from miner.pipeline.units.records import TRIPLET, Interleaved, Sink, Triplets
from miner.pipeline.units.unit_writer import ListedAnchors, UnitWriter
from miner.selection.rejection import Asked, Drawn, Rejection
from miner.selection.selection import Selection
from miner.triplets.hardness import MINED, Kept, Mined
from miner.triplets.types import Float64, Rows

__all__ = ["SampledAnchors", "choose_sampled"]

_STRETCH = 1 << 18
"""Triplets that are held, about."""
_ROWS_A_TRIAL = 16
"""Rows of a block of keys, put in order, that a trial may cost: it costs about 5 with compiled loops,
and 35 without. The choice must not hang on that, for it decides what is drawn."""


@dataclass(frozen=True)
class SampledAnchors:
    """Some anchors, of which some are written by drawing triplets.

    Attributes
    ----------
    rejection : Rejection
    chosen : ndarray of shape (anchors,), bool
        Which are.
    asked : Asked
        What those take.
    weights : mapping
        Per class, the weight of a triplet of each of them.
    """

    rejection: Rejection
    chosen: NDArray[np.bool_]
    asked: Asked
    weights: Mapping[Mined, Float64]

    @property
    def others(self) -> Rows:
        """Which are not."""
        return np.flatnonzero(~self.chosen)

    def write(
        self,
        writer: UnitWriter,
        anchors: Rows,
        shares: Mapping[Kept, Share],
        files: Mapping[Kept, Sink],
        known: ListedAnchors | None = None,
    ) -> None:
        """Write all of the anchors.

        Parameters
        ----------
        writer : UnitWriter
            Of the others.
        anchors, shares, files
            As of `UnitWriter.write`.
        known : ListedAnchors, optional
            Of the others.
        """
        held = np.zeros(len(anchors), dtype=np.int64)
        held[self.chosen] = np.sum([self.asked.takes[name] for name in MINED], axis=0)
        drawn, left = 0, 0
        for first, last in cut_sizes(held, _STRETCH):
            others = first + np.flatnonzero(~self.chosen[first:last])
            mine = slice(drawn, drawn + last - first - len(others))
            records = self._records(mine)
            places = np.arange(left, left + len(others))
            merged: dict[Kept, Interleaved] = {
                name: Interleaved(files[name], records[name]) for name in MINED
            }
            if len(others):
                own = {name: share.of(others) for name, share in shares.items()}
                listed = known.of(places) if known else None
                writer.write(anchors[others], own, merged, listed)
            for file in merged.values():
                file.close()
            drawn, left = mine.stop, left + len(others)

    def _records(self, some: slice) -> dict[Mined, Triplets]:
        """Draw what some of the chosen anchors write of each class."""
        parts: dict[Mined, list[Triplets]] = {name: [np.empty(0, TRIPLET)] for name in MINED}
        for start in range(some.start, some.stop, self.rejection.most):
            at = slice(start, min(start + self.rejection.most, some.stop))
            asked = self.asked.part(at)
            for name, drawn in self.rejection.draw(asked).items():
                parts[name].append(_records(asked.anchors, drawn, self.weights[name][at]))
        return {name: np.concatenate(parts[name]) for name in MINED}


def _records(anchors: Rows, drawn: Drawn, weights: Float64) -> Triplets:
    records = np.empty(len(drawn.line), dtype=TRIPLET)
    records["anchor"], records["weight"] = anchors[drawn.line], weights[drawn.line]
    records["positive"], records["negative"] = drawn.positive, drawn.negative
    with np.errstate(over="ignore"):  # a distance too large for float32 is infinite there
        records["d_ap"], records["d_an"] = drawn.d_ap, drawn.d_an
    return records


def choose_sampled(
    rejection: Rejection,
    selection: Selection,
    anchors: Rows,
    shares: Mapping[Kept, Share],
    counted: NDArray[np.void],
) -> SampledAnchors | None:
    """Choose the anchors for which drawing triplets is cheap.

    Parameters
    ----------
    rejection : Rejection
    selection : Selection
        Of which totals tell how much of each class is written: a uniform sample.
    anchors : ndarray of shape (anchors,), int64
    shares : mapping
        Per folder, that of the anchors.
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.COUNTED`

    Returns
    -------
    SampledAnchors or None
        None where it is cheap for none.
    """
    rows = rejection.relevance.rows
    chosen = np.ones(len(anchors), dtype=np.bool_)
    takes, rates = {}, {}
    for name in MINED:
        take, count = shares[name].counts, counted[name]
        each = np.maximum(count, 1).astype(np.float64)
        valid = counted["positives"] * (counted["negatives"] / each)
        # Picks may fail for rows that are no negatives: of few negatives most do.
        trials = take * (counted["positives"] * (rows / each))
        chosen &= (2 * take <= count) & (_ROWS_A_TRIAL * trials <= rows)
        takes[name], rates[name] = take, valid
    if not chosen.any():
        return None
    mine = np.flatnonzero(chosen)
    asked = Asked(anchors, takes, rates).part(mine)
    weights = selection.weights_of_totals({name: counted[name][mine] for name in MINED})
    nothing = np.zeros(len(mine))
    weights = {name: shares[name].factor * weights.get(name, nothing) for name in MINED}
    return SampledAnchors(rejection, chosen, asked, weights)

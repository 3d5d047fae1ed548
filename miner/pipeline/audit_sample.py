"""How much of the hard and of the semi-hard set an approximate run found.

A seeded sample of anchors is counted exactly too. Recall is the ratio of what was found of their
triplets to what there is; its interval comes from the bootstrap over anchors, whose triplets belong
together (Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3, percentiles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.triplets.hardness import MINED, Mined

__all__ = ["Recall", "audit_sample", "estimate", "measure_recall"]

Rows = NDArray[np.int64]

_DRAWS = 2000
_NONE_LOST = 3.0
"""Where no anchor of n lost a triplet, at most 3 / n of all do, with 95 % confidence (the rule of
three; Hanley & Lippman-Hand 1983, JAMA 249)."""


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of a class that was found.

    Attributes
    ----------
    value, low, high : float
        The estimate and its 95 % interval; 1.0 where the sample has no triplet of the class.
    found, there : int
        Triplets of the sample.
    anchors : int
        Anchors of the sample that have any.
    """

    value: float
    low: float
    high: float
    found: int
    there: int
    anchors: int

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says."""
        return {
            "recall": round(self.value, 6),
            "interval": [round(self.low, 6), round(self.high, 6)],
            "found": self.found,
            "there": self.there,
            "anchors": self.anchors,
        }


def audit_sample(able: Rows, size: int, seed: int) -> Rows:
    """Draw the anchors that are counted exactly, ascending.

    Parameters
    ----------
    able : ndarray of int64
        The anchors that have triplets.
    size : int
    seed : int
    """
    if len(able) <= size:
        return able
    rng = np.random.default_rng([seed, 0xA0D17])
    return np.sort(rng.choice(able, size, replace=False))


def measure_recall(
    found: NDArray[np.void], truth: NDArray[np.void], seed: int
) -> dict[Mined, Recall]:
    """Compare what was found of the sample with what there is.

    Parameters
    ----------
    found, truth : ndarray of shape (anchors,), `miner.pipeline.units.layout.COUNTED`
    seed : int
        Of the bootstrap.
    """
    return {name: _recall(found[name], truth[name], seed) for name in MINED}


def _recall(found: Rows, truth: Rows, seed: int) -> Recall:
    some = np.flatnonzero(truth)
    hits, all_ = found[some].astype(np.float64), truth[some].astype(np.float64)
    if not len(some):
        return Recall(1.0, 0.0, 1.0, 0, 0, 0)
    value = hits.sum() / all_.sum()
    if (hits == all_).all():
        low, high = max(0.0, 1.0 - _NONE_LOST / len(some)), 1.0
    else:
        rng = np.random.default_rng([seed, 0xB007])
        drawn = rng.integers(0, len(some), (_DRAWS, len(some)))
        ratios = hits[drawn].sum(axis=1) / all_[drawn].sum(axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
    return Recall(
        float(value), float(low), float(high), int(hits.sum()), int(all_.sum()), len(some)
    )


def estimate(found: int, recall: Recall, valid: int) -> tuple[int, list[int | None]]:
    """Estimate a class's triplets from those found: the total and its 95 % interval.

    Found triplets are true, so there are at least as many; with a recall that may be zero there is
    no upper bound but that of all valid triplets.
    """

    def total(share: float) -> int:
        return min(valid, max(found, round(found / share))) if share > 0 else valid

    return total(recall.value), [total(recall.high), total(recall.low)]

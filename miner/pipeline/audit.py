"""The stage of an approximate run that estimates its recall.

A seeded sample of anchors is counted exactly. Recall is the number of their triplets that the
approximate run found, divided by the exact number. The interval comes from the percentile bootstrap
over anchors, because the triplets of an anchor are not independent (Efron & Tibshirani 1993, An
Introduction to the Bootstrap, section 13.3).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.job_sections import IndexJob, SelectJob
from miner.pipeline.engines.base import Engine
from miner.pipeline.units.spec import UnitSpec, count_anchors
from miner.progress import Progress
from miner.runs.staging import Staging
from miner.triplets.hardness import MINED_CLASSES, MinedClass
from miner.triplets.types import Rows

__all__ = ["Auditing", "Recall", "audit_sample", "estimate", "estimated_census", "measure_recall"]

_DRAWS = 2000

_NONE_LOST = 3.0
"""If none of n sampled anchors misses a triplet, at most 3 / n of all anchors do, with 95 %
confidence (rule of three; Hanley & Lippman-Hand 1983, JAMA 249)."""

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Recall:
    """The recall of a class: the share of its triplets that was found.

    Attributes
    ----------
    value, low, high : float
        The estimate and its 95 % interval; 1.0 (from 0 to 1) if the sample has no triplet of the
        class.
    found, there : int
        Triplets of the sample that the approximate run found, and their exact number.
    anchors : int
        Anchors of the sample with a triplet of the class.
    """

    value: float
    low: float
    high: float
    found: int
    there: int
    anchors: int

    @property
    def facts(self) -> dict[str, Any]:
        """The recall as the manifest contains it."""
        return {
            "recall": round(self.value, 6),
            "interval": [round(self.low, 6), round(self.high, 6)],
            "found": self.found,
            "there": self.there,
            "anchors": self.anchors,
        }


def audit_sample(able: Rows, size: int, seed: int) -> Rows:
    """Return a random sample of anchors to count exactly, ascending.

    Parameters
    ----------
    able : ndarray of int64
        The anchors that have valid triplets.
    size : int
    seed : int
    """
    if len(able) <= size:
        return able
    rng = np.random.default_rng([seed, 0xA0D17])
    return np.sort(rng.choice(able, size, replace=False))


def measure_recall(
    found: NDArray[np.void], truth: NDArray[np.void], seed: int
) -> dict[MinedClass, Recall]:
    """Return the recall of each class, from the approximate and the exact records of the sample.

    Parameters
    ----------
    found, truth : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
    seed : int
        Seed of the bootstrap.
    """
    return {name: _recall(found[name], truth[name], seed) for name in MINED_CLASSES}


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
    """Return the estimated total of a class and its 95 % interval, from the triplets found.

    All triplets found are valid, so the estimate is at least `found`. If the recall may be zero,
    the only upper bound is the number of valid triplets.
    """

    def total(share: float) -> int:
        return min(valid, max(found, round(found / share))) if share > 0 else valid

    return total(recall.value), [total(recall.high), total(recall.low)]


@dataclass(frozen=True, slots=True)
class Auditing:
    """Estimates the recall of a staged run.

    Parameters
    ----------
    staging : Staging
    engine : Engine
    spec : UnitSpec
        The spec of the approximate run.
    index : IndexJob
    progress : callable
    """

    staging: Staging
    engine: Engine
    spec: UnitSpec
    index: IndexJob
    progress: Progress

    def recalls(self, counted: NDArray[np.void]) -> dict[MinedClass, Recall]:
        """Return the recall of the hard and semi-hard triplets of a seeded sample of anchors.

        Parameters
        ----------
        counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
            The records of all anchors in the approximate run.
        """
        seed = self.spec.select.seed
        able = np.flatnonzero((counted["positives"] > 0) & (counted["negatives"] > 0))
        sample = audit_sample(able, self.index.audit, seed)
        truth = np.zeros(len(sample), dtype=counted.dtype)
        plain = SelectJob(max_triplets=0)
        # For a small sample, keeping prepared rows in memory costs more than it saves.
        exact = replace(self.spec, approximate=None, select=plain, loss=False, keep=0)
        call = functools.partial(_count, exact)
        parts = [
            (start, tuple(sample[start : start + _AT_ONCE].tolist()))
            for start in range(0, len(sample), _AT_ONCE)
        ]
        recorded = self.staging.recorded("audit")
        if recorded is not None:
            for name in MINED_CLASSES:
                truth[name] = recorded[name]
            return measure_recall(counted[sample], truth, seed)
        done = 0
        self.progress("auditing", done, len(sample))
        for start, counts in self.engine.map(call, parts):
            for name in MINED_CLASSES:
                truth[name][start : start + _AT_ONCE] = counts[name]
            done += len(counts[MINED_CLASSES[0]])
            self.progress("auditing", done, len(sample))
        self.staging.record("audit", {name: truth[name].tolist() for name in MINED_CLASSES})
        return measure_recall(counted[sample], truth, seed)


def _count(
    spec: UnitSpec, numbered: tuple[int, tuple[int, ...]]
) -> tuple[int, dict[str, list[int]]]:
    """Count the given anchors exactly, in a worker."""
    start, anchors = numbered
    counted = count_anchors(spec, anchors)
    return start, {name: counted[name].tolist() for name in MINED_CLASSES}


def estimated_census(
    census: dict[str, Any], recalls: Mapping[MinedClass, Recall]
) -> dict[str, Any]:
    """Return the census facts of an approximate run, with estimated totals.

    The totals of the classes become estimates with 95 % intervals (``interval``); ``found`` holds
    the numbers of triplets that were found.
    """
    valid = census["valid"]
    found = {name: census[name] for name in MINED_CLASSES}
    result = {**census, "exact": False, "found": found, "interval": {}}
    for name in MINED_CLASSES:
        result[name], result["interval"][name] = estimate(found[name], recalls[name], valid)
    others = sum(result[name] for name in MINED_CLASSES)
    result["easy"] = max(0, valid - others)
    low, high = (sum(result["interval"][name][end] for name in MINED_CLASSES) for end in (0, 1))
    result["interval"]["easy"] = [max(0, valid - high), max(0, valid - low)]
    return result

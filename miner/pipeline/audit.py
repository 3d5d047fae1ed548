"""The stage of an approximate run that counts some anchors exactly, to know its recall.

A seeded sample of anchors is counted exactly too. Recall is the ratio of what was found of their
triplets to what there is; its interval comes from the bootstrap over anchors, whose triplets belong
together (Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 13.3, percentiles).
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
from miner.pipeline.units.task import Task, count_anchors
from miner.progress import Progress
from miner.runs.staging import Staging
from miner.triplets.hardness import MINED, Mined
from miner.triplets.types import Rows

__all__ = ["Auditing", "Recall", "audit_sample", "estimate", "estimated_census", "measure_recall"]

_DRAWS = 2000

_NONE_LOST = 3.0
"""Where no anchor of n lost a triplet, at most 3 / n of all do, with 95 % confidence (the rule of
three; Hanley & Lippman-Hand 1983, JAMA 249)."""

_AT_ONCE = 64


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


@dataclass(frozen=True, slots=True)
class Auditing:
    """Audits a staged run.

    Parameters
    ----------
    staging : Staging
    engine : Engine
    task : Task
        Of the approximate run.
    index : IndexJob
    progress : callable
    """

    staging: Staging
    engine: Engine
    task: Task
    index: IndexJob
    progress: Progress

    def recalls(self, counted: NDArray[np.void]) -> dict[Mined, Recall]:
        """Return the recall of both classes on a seeded sample of anchors.

        Parameters
        ----------
        counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.COUNTED`
            What was found of all anchors.
        """
        seed = self.task.select.seed
        able = np.flatnonzero((counted["positives"] > 0) & (counted["negatives"] > 0))
        sample = audit_sample(able, self.index.audit, seed)
        truth = np.zeros(len(sample), dtype=counted.dtype)
        plain = SelectJob(max_triplets=0)
        # So few anchors are not worth rows that are kept ready.
        exact = replace(self.task, approximate=None, select=plain, loss=False, keep=0)
        call = functools.partial(_count, exact)
        parts = [
            (start, tuple(sample[start : start + _AT_ONCE].tolist()))
            for start in range(0, len(sample), _AT_ONCE)
        ]
        recorded = self.staging.recorded("audit")
        if recorded is not None:
            for name in MINED:
                truth[name] = recorded[name]
            return measure_recall(counted[sample], truth, seed)
        done = 0
        self.progress("auditing", done, len(sample))
        for start, counts in self.engine.map(call, parts):
            for name in MINED:
                truth[name][start : start + _AT_ONCE] = counts[name]
            done += len(counts[MINED[0]])
            self.progress("auditing", done, len(sample))
        self.staging.record("audit", {name: truth[name].tolist() for name in MINED})
        return measure_recall(counted[sample], truth, seed)


def _count(task: Task, numbered: tuple[int, tuple[int, ...]]) -> tuple[int, dict[str, list[int]]]:
    """Count some anchors exactly, in a worker."""
    start, anchors = numbered
    counted = count_anchors(task, anchors)
    return start, {name: counted[name].tolist() for name in MINED}


def estimated_census(census: dict[str, Any], recalls: Mapping[Mined, Recall]) -> dict[str, Any]:
    """Turn what an approximate run found into what it tells of all triplets.

    ``found`` keeps the triplets that were found, all of them true; the classes' totals become
    estimates, with 95 % intervals.
    """
    valid = census["valid"]
    found = {name: census[name] for name in MINED}
    result = {**census, "exact": False, "found": found, "interval": {}}
    for name in MINED:
        result[name], result["interval"][name] = estimate(found[name], recalls[name], valid)
    others = sum(result[name] for name in MINED)
    result["easy"] = max(0, valid - others)
    low, high = (sum(result["interval"][name][end] for name in MINED) for end in (0, 1))
    result["interval"]["easy"] = [max(0, valid - high), max(0, valid - low)]
    return result

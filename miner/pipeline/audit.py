"""The stage of an approximate run that counts some anchors exactly, to know its recall."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import Progress
from miner.job import IndexJob, SelectJob
from miner.pipeline.audit_sample import Recall, audit_sample, estimate, measure_recall
from miner.pipeline.engines.base import Engine
from miner.pipeline.units.task import Task, count_anchors
from miner.runs.staging import Staging
from miner.triplets.hardness import MINED, Mined

__all__ = ["Auditing", "estimated_census"]

_AT_ONCE = 64


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

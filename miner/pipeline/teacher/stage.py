"""The stage of a run that lets the teacher decide: draw and score a pool, unless it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import Store
from miner.job_sections import TeacherJob
from miner.pipeline.kept_folder import KeptFolder
from miner.pipeline.seal import UnitFile
from miner.pipeline.teacher.judge import Judged, judge
from miner.pipeline.teacher.pool import distinct_pairs, find_pool, keep_pool
from miner.pipeline.teacher.teachers import Teacher
from miner.progress import Progress
from miner.runs.staging import Staging
from miner.selection.teacher_rules import TeacherRules
from miner.triplets.hardness import OutputFolder
from miner.triplets.relevance import unconstrained

__all__ = ["Draw", "Teaching"]

Draw = Callable[[], tuple[dict[OutputFolder, list[UnitFile]], NDArray[np.void]]]
"""Draws the triplets of a run; returns their unit files, and the counts that they follow."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """Lets a teacher decide which triplets of a run are written.

    Attributes
    ----------
    teacher : Teacher or None
    job : TeacherJob
    store : Store
        The embedding store, which has the texts and keeps the pools.
    staging : Staging
        `identity` has the identity of the run.
    progress : callable
    fresh : bool
        Whether a kept pool is made again.
    """

    teacher: Teacher | None
    job: TeacherJob
    store: Store
    staging: Staging
    progress: Progress
    fresh: bool

    def judged(self, draw: Draw) -> Judged:
        """Return what is left of the drawn triplets: all of them if there is no teacher."""
        if self.teacher is None:
            return Judged(*draw())
        began = time.perf_counter()
        kept = KeptFolder(self.store.folder, "pools", self._drawn_identity())
        pool, computed = None if self.fresh else find_pool(kept), 0
        if pool is None:
            drawn, counted = draw()
            pairs = distinct_pairs(drawn)
            scores, computed = self.teacher.score(pairs, self.store, self.staging, self.progress)
            pool = keep_pool(kept, drawn, counted, pairs, scores)
        else:
            self.progress("teacher: scores kept from an earlier run", 0, 0)
        rules, work = TeacherRules.from_job(self.job), self.staging.work
        fate, activation, contents = self.job.rejected, self.teacher.activation, None
        if fate == "promote":
            contents = unconstrained(self.store.relevance()).arrays()["contents"]
        judged = judge(pool, rules, fate, activation, work, contents)
        facts = {
            **self.teacher.facts,
            "pairs": len(pool.pairs),
            "computed": computed,
            "promoted": len(judged.promoted),
            "seconds": round(time.perf_counter() - began, 3),
        }
        return replace(judged, facts=facts)

    def _drawn_identity(self) -> dict[str, Any]:
        """Return the identity of the run without the keys that only decide what is rejected."""
        identity = dict(self.staging.identity)
        select = {k: v for k, v in identity["job"]["select"].items() if k != "per_negative"}
        identity["job"] = {**identity["job"], "select": select, "teacher": self.job.draws()}
        return identity

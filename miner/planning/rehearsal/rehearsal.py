"""A rehearsal: the stages of a run, each done for a second or so on a part of the job, and timed.

What is done is what a run does, by the same code, with the job's own margin, metric, selection and
memory, and in as many threads as the job has workers on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from miner.embedding.store import Store
from miner.job import Job
from miner.job_sections import EngineJob, MiningJob
from miner.pipeline.engines.base import open_engine
from miner.pipeline.seal import Part, Piece, Sealer
from miner.pipeline.units.task import Task, open_miner
from miner.planning.costs import Costs
from miner.planning.rehearsal.index import rehearse_index
from miner.planning.rehearsal.passes import Counting, Writing, rehearse_audit, timed
from miner.triplets.hardness import MINED, Kept

__all__ = ["Rehearsal", "Rehearsed"]

_MOST_SEALED = 1 << 18


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a rehearsal found.

    Attributes
    ----------
    costs : Costs
        But for reading and embedding.
    slots : dict
        Per class, the triplets that an anchor would write without a cap on the class, on average.
    """

    costs: Costs
    slots: dict[str, float]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Rehearses a job on a small store.

    Parameters
    ----------
    job : Job
    mining : MiningJob
        What is counted.
    factory : str
        Of an index for so many rows.
    store : Store
    folder : Path
        For what the stages leave.
    workers, threads : int
        The job's on one machine, which share its memory; those that are tried.
    unit : int
        Anchors of a unit of the job.
    anchors : int
        Of the job.
    texts : bool
        Whether shards show texts.
    """

    job: Job
    mining: MiningJob
    factory: str
    store: Store
    folder: Path
    workers: int
    threads: int
    unit: int
    anchors: int
    texts: bool

    def go(self) -> Rehearsed:
        """Go through the stages that come after embedding."""
        indexed = rehearse_index(self.job, self.factory, self.store, self.folder)
        open_miner.cache_clear()
        try:
            with threadpool_limits(limits=1, user_api="blas"):
                costs = Costs(self.store.facts["rows"][-1], index=indexed.costs)
                costs = replace(costs, search=indexed.search)
                engine = open_engine(EngineJob("threads", self.workers))
                found = indexed.approximate
                return self._passes(
                    Task.of(self.job, self.store, engine, self.mining, found), costs
                )
        finally:
            open_miner.cache_clear()

    def _passes(self, task: Task, costs: Costs) -> Rehearsed:
        counted = Counting(task, self.folder, self.unit, self.threads).go(costs)
        costs, anchors = counted.costs, counted.anchors
        costs = replace(costs, search=min(costs.search, costs.count))
        open_miner(task).counted()
        share = len(anchors) / max(1, self.anchors)
        costs, pieces = Writing(task, self.folder, counted, share, self.threads).go(costs)
        open_miner.cache_clear()
        costs = self._sealed(costs, pieces)
        if task.approximate is not None:
            begin, audit = rehearse_audit(task, anchors)
            costs = replace(costs, audit_begin=begin, audit=audit)
        slots = {
            str(name): float(counted.census[f"slots_{name}"][anchors].mean()) for name in MINED
        }
        return Rehearsed(costs, slots)

    def _sealed(self, costs: Costs, pieces: dict[Kept, list[Piece]]) -> Costs:
        """Seal what was written, of each class some; return what a row takes."""
        run = self.folder / "run"
        metadata: dict[str, Any] = {"format_version": "0", "metric": self.job.mining.metric}
        sealer = Sealer(str(self.store.folder), str(run), str(self.folder), self.texts, metadata)
        rows, size, spent = 0, 0, 0.0
        for name, mine in pieces.items():
            count = min(_MOST_SEALED, sum(piece.rows for piece in mine))
            if not count:
                continue
            (run / name).mkdir(parents=True, exist_ok=True)
            sealer.tell(name, mine)
            part = Part(name, 0, 0, count)
            facts: list[dict[str, Any]] = []
            timed(lambda part=part: sealer.seal(replace(part, rows=1)))  # type: ignore[misc]
            spent += timed(lambda part=part, facts=facts: facts.append(sealer.seal(part)))  # type: ignore[misc]
            rows, size = rows + count, size + int(facts[0]["bytes"])
        return costs if not rows else replace(costs, seal=spent / rows, shard=size / rows)

"""The only module that knows the order of a job.

Read and embed (or find the store again), look at the index, count every unit, hold the counts to
the gates, share out the caps, write every unit, seal the shards, write the manifest, publish.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.gap_histogram import gap_facts
from miner.census.kernels import has_numba
from miner.census.kernels.compiling import CompileMeanwhile
from miner.census.triplet_sample import draw_sample
from miner.embedding.build import prepare_store
from miner.embedding.eviction import keep_within
from miner.embedding.recipe import StoreKey
from miner.embedding.store import Store
from miner.errors import UsageError, install_hint
from miner.inspection.advice import advise_run, warning_facts
from miner.inspection.report.build import add_report, drop_report
from miner.job import Job, load_job, parse_bytes, parse_job
from miner.job_sections import MiningJob
from miner.pipeline.attempt import Attempt, peak_rss
from miner.pipeline.audit import Auditing, Recall, estimated_census
from miner.pipeline.cap_negatives import cap_negatives
from miner.pipeline.census_files import Findings
from miner.pipeline.gates import check_finished, check_gates, check_rows
from miner.pipeline.index import Indexing
from miner.pipeline.passes import Passes, share_out
from miner.pipeline.rescore import Rescoring
from miner.pipeline.resolve import Opened
from miner.pipeline.seal import Piece, Sealer, fewer, seal_shards
from miner.pipeline.units.layout import cut_units
from miner.pipeline.units.task import Approximate, Task, open_lists, open_miner
from miner.progress import Clock, Progress, silent
from miner.runs.publishing import open_output
from miner.runs.run import Run
from miner.runs.shards import FORMAT_VERSION, file_facts
from miner.runs.staging import Output, Staging, clear_published, finished_run, latest_run, why_new
from miner.runs.totals import census_facts, written_facts
from miner.storage.json_files import digest
from miner.storage.urls import errors_name_urls
from miner.triplets.hardness import Kept, Mined
from miner.triplets.relevance import Tally, anchor_rows
from miner.triplets.types import Rows
from miner.version import package_versions

__all__ = ["Outcome", "as_job", "mine", "run_job"]

_log = logging.getLogger(__name__)

_NOT_JUDGED = (
    "select.denoise leaves out rows whose labels are likely wrong, which needs labelled items with "
    "one label each, mining.neighbours above 0 and the exact index; set it to false"
)
_SLOWER = "two to three times as long"
"""CPU seconds by NumPy over those by numba: 2.0 and 2.9, whole runs on two sets of 30,000 rows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run, and whether it was mined now or found finished."""

    run: Run
    mined: bool


def as_job(job: Job | str | Path | Mapping[str, Any]) -> Job:
    """Turn what a caller has (a job, a job file's path, nested mappings) into a job."""
    if isinstance(job, Job):
        return job
    if isinstance(job, Mapping):
        return parse_job(job)
    return load_job(job)


def mine(
    job: Job | str | Path | Mapping[str, Any],
    *,
    force: bool = False,
    progress: Progress = silent,
) -> Run:
    """Mine a job.

    Parameters
    ----------
    job : Job, path of a job file, or mapping of sections
    force : bool
        Mine again even if the latest run is of the same job.
    progress : callable, optional
        Called with a stage's name, what is done, and the total.

    Returns
    -------
    Run
        The new run, or the latest one when it is of the same job and whole.

    Raises
    ------
    MineError
        One of the tree in `miner.errors`; what was finished is kept for the next call.

    Examples
    --------
    >>> import miner
    >>> run = miner.mine({                                             # doctest: +SKIP
    ...     "dataset": {"path": "sample_data/digits.parquet"},
    ...     "mining": {"margin": 0.2},
    ... })
    >>> run.manifest["census"]["valid"]                                # doctest: +SKIP
    519439560
    """
    return run_job(as_job(job), force=force, progress=progress).run


@errors_name_urls()
def run_job(
    job: Job,
    *,
    force: bool = False,
    progress: Progress = silent,
    attempt: Attempt | None = None,
) -> Outcome:
    """Mine a job; say whether there was anything to do. See `mine`.

    `attempt` takes what becomes known on the way: it is there however the run ends.

    Parameters
    ----------
    job : Job
        As `load_job` or `parse_job` gives it.
    force : bool
        Mine again even if the latest run is of the same job.
    progress : callable, optional
        Called with a stage's name, what is done, and the total.
    attempt : Attempt, optional
        Takes what becomes known on the way.

    Returns
    -------
    Outcome
        `run`, and whether it was `mined` now.
    """
    attempt = attempt or Attempt()
    opened = Opened.of(job, progress)
    output = open_output(job.output.path)
    with output.held():
        key = opened.key()
        identity = opened.identity(key)
        finished = None if force else finished_run(output.where, digest(identity))
        if finished is not None:
            attempt.run_id, attempt.mined = finished.run_id, False
            clear_published(output)
            check_finished(job, finished.manifest, attempt.gates)
            return Outcome(finished, mined=False)
        why = "" if force else why_new(output.root, identity, latest_run(output.where))
        if why:
            progress(f"a new run, {why}", 0, 0)
        staging = Staging.open(output.root, identity, fresh=force)
        attempt.run_id = staging.run_id
        if output.holds(staging.run_id):  # it died between publishing and pointing
            return Outcome(staging.finish(output), mined=True)
        conductor = _Conductor(opened, key, output, staging, progress, force, attempt)
        del opened  # the conductor lets go of the model
        try:
            with conductor.opened.engine:
                return Outcome(conductor.conduct(), mined=True)
        finally:
            open_lists.cache_clear()
            open_miner.cache_clear()  # the prepared rows of a finished job are of no more use


@dataclass(slots=True)
class _Conductor:
    """Leads one run through its stages."""

    opened: Opened
    key: StoreKey
    output: Output
    staging: Staging
    progress: Progress
    fresh: bool
    attempt: Attempt

    @property
    def job(self) -> Job:
        """The job."""
        return self.opened.job

    @property
    def clock(self) -> Clock:
        """Seconds per stage."""
        return self.attempt.clock

    def conduct(self) -> Run:
        """Go through the stages; return the published run."""
        with self.clock.stage("embed"):
            progress = CompileMeanwhile(self.progress)
            store, embedding = prepare_store(
                self.output.root / ".store", self.key, self.opened.recipe, progress
            )
            progress.wait()
        _log.info("embedded", extra={"facts": embedding})
        self.staging.bind(store.checksum)
        self.opened = self.opened.embedded()
        with self.clock.stage("index"):
            self.progress("indexing", 0, store.facts["rows"][-1])
            indexing = Indexing(self.job, self.staging, store, self.progress)
            index = indexing.facts()
        approximate = indexing.approximate(index)
        mining = self._mining(approximate)
        task = Task.of(self.job, store, self.opened.engine, mining, approximate)
        tally, besides = open_miner(task).tally, open_miner(task).besides
        if self.job.select.denoise and not besides.neighbours:
            raise UsageError(_NOT_JUDGED)
        units = cut_units(store.facts["rows"][0], store.facts["rows"][-1], store.dim)
        passes = Passes(self.staging, self.opened.engine, task, units, self.progress)
        if not has_numba():
            self.progress(f"no numba, so counting takes {_SLOWER} ({install_hint('fast')})", 0, 0)
        with self.clock.stage("count"):
            counted, arrays, reused = passes.counted(store, mining, fresh=self.fresh)
            findings = Findings(store, besides, arrays, self._gaps(task, mining.gaps))
        census = census_facts(counted, loss=self.job.mining.loss, reused=reused)
        if task.approximate is not None:
            with self.clock.stage("audit"):
                recalls = self._audited(task, counted)
            index |= {"recall": {name: recall.facts for name, recall in recalls.items()}}
            census = estimated_census(census, recalls)
        check_gates(self.job, census, index, self.attempt.gates)
        with self.clock.stage("write"):
            select, chosen = self.job.select, counted
            if select.denoise:
                noisy = counted["neighbour"] >= 0
                passes, chosen = passes.without(anchor_rows(store.relevance())[noisy])
            drawn = passes.write(share_out(chosen, select), chosen)
            left = self._rescored(store, drawn)
            pieces = cap_negatives(left, select.per_negative, select.seed, store.facts["rows"][-1])
            dropped = {"rescored": fewer(drawn, left)} if self.opened.rescorer else {}
            dropped |= {"capped": fewer(left, pieces)} if select.per_negative else {}
        open_miner.cache_clear()  # what the passes held is of no more use: sealing needs room too
        with self.clock.stage("seal"):
            shards, files = self._seal(store, findings, counted, pieces)
        run, suspects = self.staging.run, select.suspects
        written = written_facts(chosen, shards, run, suspects=suspects, dropped=dropped)
        check_rows(self.job, census, written, self.attempt.gates)
        self._make_room(store)
        manifest = {
            "status": "complete",
            "job": self.job.facts(),
            "versions": package_versions(),
            "dataset": self._dataset_facts(store, tally),
            "model": {**self.key.identity.facts, "dim": store.dim},
            "embedding": embedding,
            "store": store.folder.name,
            "store_checksum": store.checksum,
            "index": index,
            "kernels": task.kernel,
            "census": census | findings.facts,
            "written": written,
            "shards": shards,
            "files": files,
            "timings": self.clock.seconds,
            "engine": self.opened.engine.facts(),
            "peak_rss_bytes": peak_rss(),
        }
        if select.denoise:
            manifest["denoised"] = findings.facts["label_noise"]
        with self.clock.stage("report"):
            manifest |= self._report(manifest, store, counted["positives"])
        manifest |= {"timings": self.clock.seconds, "peak_rss_bytes": peak_rss()}
        return self.staging.publish(manifest, self.output, self.progress)

    def _report(self, manifest: dict[str, Any], store: Store, positives: Rows) -> dict[str, Any]:
        """Write the report beside the shards; return what the manifest says of it, and warnings."""
        run, work = self.staging.run, self.staging.work
        staged = Run(run, self.staging.described(manifest))
        advice = advise_run(staged, positives)
        if self.job.output.report:
            self.progress("reporting", 0, 0)
            files, why = add_report(staged, work, store, self.opened.source, advice)
        else:
            files, why = drop_report(run, work)
        self.attempt.unreported = why
        said = {"report_not_written": why} if why else {}
        warned = {"warnings": warning_facts(advice)}
        return {"files": [*manifest["files"], *files], **warned, **said}

    def _rescored(self, store: Store, pieces: dict[Kept, list[Piece]]) -> dict[Kept, list[Piece]]:
        """Drop what the job's rescorer finds too relevant, if there is one."""
        rescorer, most = self.opened.rescorer, self.job.select.rescore_max
        if rescorer is None or most is None:
            return pieces
        return Rescoring(rescorer, most, store, self.staging, self.progress).apply(pieces)

    def _make_room(self, store: Store) -> None:
        """Remove what was not used for longest, until cache and stores fit the job's bound."""
        most = parse_bytes(self.job.cache.max_size, "cache.max_size")
        keep_within(most, self.job.cache_folder, store.folder)

    def _mining(self, approximate: Approximate | None) -> MiningJob:
        """Return what is counted: tables beside it would be of what happened to be found."""
        return self.job.mining if approximate is None else self.job.mining.classes_alone

    def _gaps(self, task: Task, size: int) -> dict[str, Any]:
        """Return the histogram of gaps of so many triplets, drawn from all, if one is wanted."""
        if not size:
            return {}
        opened = open_miner(task)
        census, able = opened.census, (opened.tally.positives, opened.tally.negatives)
        size = min(size, opened.tally.valid)
        sample = draw_sample(census.relevance, census.vectors, census.metric, able, size=size)
        return {"gaps": gap_facts(sample, census.margin)}

    def _audited(self, task: Task, counted: NDArray[np.void]) -> dict[Mined, Recall]:
        """Return what share of each class an approximate index found."""
        open_miner.cache_clear()  # the index and what counts exactly need not be there at once
        auditing = Auditing(self.staging, self.opened.engine, task, self.job.index, self.progress)
        return auditing.recalls(counted)

    def _seal(
        self, store: Store, findings: Findings, counted: Any, pieces: Mapping[Kept, list[Piece]]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Turn pieces into shards, write the census and its tables; return all files' facts."""
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "metric": self.job.mining.metric,
            "margin": repr(self.job.mining.margin),
            "normalize": str(self.job.mining.normalized).lower(),
            "model": self.key.identity.facts["id"],
            "fingerprint": self.staging.fingerprint,
        }
        run, work = str(self.staging.run.resolve()), str(self.staging.work.resolve())
        sealer = Sealer(str(store.folder.resolve()), run, work, self.opened.texts, metadata)
        shards = seal_shards(sealer, self.staging, self.opened.engine, pieces, self.progress)
        files = findings.write(self.staging.run, counted)
        index = self.staging.run / "index.faiss"
        if index.exists():
            files.append(file_facts(index, self.staging.run, store.facts["rows"][-1]))
        return shards, files

    def _dataset_facts(self, store: Store, tally: Tally) -> dict[str, Any]:
        facts: dict[str, Any] = store.facts["dataset"]
        hidden = {"itself": tally.itself, "duplicates": tally.duplicates, "group": tally.group}
        return {"files": self.key.files, **facts, "columns": store.facts["roles"], "hidden": hidden}

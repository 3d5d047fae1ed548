"""Executes the stages of a run; only this module knows their order.

Read and embed the data (or reuse the store), build the index, count every unit, check the gates,
allocate the caps, write every unit, write the shards, write the manifest, publish the run.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.census.kernels import has_numba
from miner.census.kernels.compiling import CompileMeanwhile
from miner.embedding.build import prepare_store
from miner.embedding.eviction import keep_within
from miner.embedding.recipe import StoreKey
from miner.embedding.store import Store
from miner.errors import UsageError, install_hint
from miner.inspection.advice import advise_run, warning_facts
from miner.inspection.report.build import add_report, drop_report
from miner.job import Job, parse_bytes
from miner.pipeline.attempt import Attempt, peak_rss
from miner.pipeline.audit import Auditing, estimated_census
from miner.pipeline.candidates.gather import Gathering
from miner.pipeline.cap_negatives import cap_negatives
from miner.pipeline.census_files import CensusFiles
from miner.pipeline.gates import check_finished, check_gates, check_rows
from miner.pipeline.index import Indexing
from miner.pipeline.passes import Passes
from miner.pipeline.resolve import ResolvedJob, as_job
from miner.pipeline.seal import ShardWriter, UnitFile, rows_dropped, seal_shards
from miner.pipeline.teacher.judge import Judged
from miner.pipeline.teacher.stage import Teaching
from miner.pipeline.units.layout import cut_units
from miner.pipeline.units.spec import (
    UnitSpec,
    gap_histogram,
    open_lists,
    open_unit_miner,
)
from miner.progress import Clock, Progress, showing, silent
from miner.runs.publishing import open_output
from miner.runs.run import Run
from miner.runs.shards import FORMAT_VERSION, file_facts
from miner.runs.staging import (
    Output,
    Staging,
    clear_published,
    explain_new_run,
    finished_run,
    latest_run,
)
from miner.runs.totals import census_facts, written_facts
from miner.storage.json_files import digest
from miner.storage.urls import errors_name_urls
from miner.triplets.hardness import OutputFolder
from miner.triplets.types import Rows
from miner.version import package_versions

__all__ = ["Outcome", "mine", "run_job"]

_log = logging.getLogger(__name__)

_NOT_JUDGED = (
    "select.denoise leaves out rows whose labels are likely wrong, which needs labelled items with "
    "one label each, mining.neighbours above 0 and the exact index; set it to false"
)
_SLOWER = "two to three times as long"
"""Ratio of CPU seconds with NumPy to seconds with numba: 2.0 and 2.9, for whole runs on two data
sets of 30,000 rows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run, and whether this call mined it; if not, it was already finished."""

    run: Run
    mined: bool


def mine(
    job: Job | str | Path | Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    vectors: Any = None,
    labels: Any = None,
    force: bool = False,
    progress: Progress | bool | None = None,
) -> Run:
    """Mine a job.

    Parameters
    ----------
    job : Job, path of a job file, or mapping of sections; optional with `data` or `vectors`
    data : pyarrow.Table, data frame of pandas or Polars, or mapping of columns, optional
        The data, in place of the job's files. They are written to ``.data/`` in the output folder,
        so that a killed run can be continued.
    vectors, labels : array_like of shape (n, d), and sequence of length n, optional
        The data as embeddings and their labels.
    force : bool
        Mine again even if the latest run is of the same job.
    progress : callable or bool, optional
        Called with the name of a stage, the amount done, and the total. By default a bar is shown
        in a terminal and in a notebook; False shows nothing.

    Returns
    -------
    Run
        The new run, or the latest run if it is of the same job and complete.

    Raises
    ------
    MineError
        A subclass of it from `miner.errors`. Finished work is kept for the next call.

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
    given = as_job(job, data=data, vectors=vectors, labels=labels)
    with showing(progress) as shown:
        return run_job(given, force=force, progress=shown).run


@errors_name_urls()
def run_job(
    job: Job,
    *,
    force: bool = False,
    progress: Progress = silent,
    attempt: Attempt | None = None,
) -> Outcome:
    """Mine a job and return whether there was anything to do. See `mine`.

    Parameters
    ----------
    job : Job
        A job from `load_job` or `parse_job`.
    force : bool
        Mine again even if the latest run is of the same job.
    progress : callable, optional
        Called with the name of a stage, the amount done, and the total.
    attempt : Attempt, optional
        Filled with facts of this start while it runs, so that they are known even if it fails.

    Returns
    -------
    Outcome
        `run`, and whether it was `mined` by this call.
    """
    attempt = attempt or Attempt()
    resolved = ResolvedJob.from_job(job, progress)
    output = open_output(job.output.path)
    with output.held(say=lambda text: progress(text, 0, 0)):
        key = resolved.key()
        identity = resolved.identity(key)
        finished = None if force else finished_run(output.where, digest(identity))
        if finished is not None:
            attempt.run_id, attempt.mined = finished.run_id, False
            clear_published(output)
            check_finished(job, finished.manifest, attempt.gates)
            return Outcome(finished, mined=False)
        why = "" if force else explain_new_run(output.root, identity, latest_run(output.where))
        if why:
            progress(f"a new run, {why}", 0, 0)
        staging = Staging.open(output.root, identity, fresh=force)
        attempt.run_id = staging.run_id
        if output.holds(staging.run_id):  # the process died before it switched `latest`
            return Outcome(staging.finish(output), mined=True)
        pipeline = _RunPipeline(resolved, key, output, staging, progress, force, attempt)
        del resolved  # so that the model is freed when the pipeline drops it
        try:
            with pipeline.resolved.engine:
                return Outcome(pipeline.execute(), mined=True)
        finally:
            open_lists.cache_clear()
            open_unit_miner.cache_clear()  # frees the prepared rows


@dataclass(slots=True)
class _RunPipeline:
    """Executes the stages of one run."""

    resolved: ResolvedJob
    key: StoreKey
    output: Output
    staging: Staging
    progress: Progress
    fresh: bool
    attempt: Attempt

    @property
    def job(self) -> Job:
        """The job."""
        return self.resolved.job

    @property
    def clock(self) -> Clock:
        """Seconds per stage."""
        return self.attempt.clock

    def execute(self) -> Run:
        """Execute all stages; return the published run."""
        with self.clock.stage("embed"):
            progress = CompileMeanwhile(self.progress)
            store, embedding = prepare_store(
                self.output.root / ".store", self.key, self.resolved.recipe, progress
            )
            progress.wait()
        _log.info("embedded", extra={"facts": embedding})
        self.staging.bind(store.checksum)
        self.resolved = self.resolved.embedded()
        with self.clock.stage("index"):
            self.progress("indexing", 0, store.facts["rows"][-1])
            indexing = Indexing(self.job, self.staging, store, self.progress)
            index = indexing.facts()
        approximate = indexing.approximate(index)
        mining = self.job.mining
        if approximate is not None:  # statistics would describe only the candidates found
            mining = mining.classes_alone
        spec = UnitSpec.from_job(self.job, store, self.resolved.engine, mining, approximate)
        tally, statistics = open_unit_miner(spec).tally, open_unit_miner(spec).statistics
        if self.job.select.denoise and not statistics.neighbours:
            raise UsageError(_NOT_JUDGED)
        units = cut_units(store.facts["rows"][0], store.facts["rows"][-1], store.dim)
        passes = Passes(self.staging, self.resolved.engine, spec, units, self.progress)
        if not has_numba():
            self.progress(f"no numba, so counting takes {_SLOWER} ({install_hint('fast')})", 0, 0)
        gathering = Gathering(self.job, self.resolved.candidates, store, passes, self.fresh)
        with self.clock.stage("count"):
            gathering.propose()
            counted, arrays, reused = passes.counted(store, mining, fresh=self.fresh)
            census_files = CensusFiles(store, statistics, arrays, gap_histogram(spec, mining.gaps))
        census = census_facts(counted, loss=self.job.mining.loss, reused=reused)
        if spec.approximate is not None:
            with self.clock.stage("audit"):
                open_unit_miner.cache_clear()  # frees the index before anchors are counted exactly
                audited = (self.staging, self.resolved.engine, spec, self.job.index, self.progress)
                recalls = Auditing(*audited).recalls(counted)
            index |= {"recall": {name: recall.facts for name, recall in recalls.items()}}
            census = estimated_census(census, recalls)
        check_gates(self.job, census, index, self.attempt.gates)
        with self.clock.stage("write"):
            select = self.job.select
            passes, among = gathering.restricted(counted)
            taught = (self.resolved.teacher, self.job.teacher, store, self.staging)
            teaching = Teaching(*taught, self.progress, self.fresh)
            judged = teaching.judged(functools.partial(passes.draw, counted))
            left, dropped = judged.unit_files, judged.dropped
            unit_files = cap_negatives(
                left, select.per_negative, select.seed, store.facts["rows"][-1]
            )
            dropped |= {"capped": rows_dropped(left, unit_files)} if select.per_negative else {}
        open_unit_miner.cache_clear()  # frees memory: writing shards needs it
        with self.clock.stage("seal"):
            shards, files = self._seal(store, census_files, counted, unit_files, judged, passes)
        run, suspects = self.staging.run, "suspects" in unit_files
        of, chosen = counted if among else judged.counted, judged.counted
        written = written_facts(chosen, shards, run, of=of, suspects=suspects, dropped=dropped)
        found = {
            "job": self.job.facts(),
            "dataset": self.resolved.dataset_facts(self.key, store, tally),
            "census": census | census_files.facts,
            "written": written,
            **among,
        }
        check_rows(self.job, found, self.attempt.gates)
        most = parse_bytes(self.job.cache.max_size, "cache.max_size")
        keep_within(most, self.job.cache_folder, store.folder)
        manifest = {
            "status": "complete",
            **found,
            "versions": package_versions(),
            "model": {**self.key.identity.facts, "dim": store.dim},
            "embedding": embedding,
            "store": store.folder.name,
            "store_checksum": store.checksum,
            "index": index,
            **spec.counting_facts,
            "shards": shards,
            "files": files,
            "timings": self.clock.seconds,
            "engine": self.resolved.engine.facts(),
            "peak_rss_bytes": peak_rss(),
        }
        if judged.facts:
            manifest["teacher"] = judged.facts
        if select.denoise:
            manifest["denoised"] = census_files.facts["label_noise"]
        with self.clock.stage("report"):
            manifest |= self._report(manifest, store, counted["positives"])
        manifest |= {"timings": self.clock.seconds, "peak_rss_bytes": peak_rss()}
        return self.staging.publish(manifest, self.output, self.progress)

    def _report(self, manifest: dict[str, Any], store: Store, positives: Rows) -> dict[str, Any]:
        """Write the report into the run; return its facts for the manifest, and the warnings."""
        staged = Run(self.staging.run, self.staging.described(manifest))
        work, advice = self.staging.work, advise_run(staged, positives)
        if self.job.output.report:
            self.progress("reporting", 0, 0)
            files, why = add_report(staged, work, store, self.resolved.source, advice)
        else:
            files, why = drop_report(staged.path, work)
        self.attempt.unreported = why
        said = {"report_not_written": why} if why else {}
        warned = {"warnings": warning_facts(advice)}
        return {"files": [*manifest["files"], *files], **warned, **said}

    def _seal(
        self,
        store: Store,
        census_files: CensusFiles,
        counted: Any,
        unit_files: Mapping[OutputFolder, list[UnitFile]],
        judged: Judged,
        passes: Passes,
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Write the shards, the census and its tables; return the facts of shards and of files."""
        metadata = {
            "format_version": str(FORMAT_VERSION),
            "metric": self.job.mining.metric,
            "margin": repr(self.job.mining.margin),
            "normalize": str(self.job.mining.normalized).lower(),
            "model": self.key.identity.facts["id"],
            "fingerprint": self.staging.fingerprint,
        }
        run, work = str(self.staging.run.resolve()), str(self.staging.work.resolve())
        if judged.scored:
            metadata["teacher"] = str(self.job.teacher.model)
        among = passes.spec.listed, self.resolved.source_names
        kept = (str(store.folder.resolve()), run, work, self.resolved.texts)
        writer = ShardWriter(*kept, metadata, judged.scored, *among)
        shards = seal_shards(writer, self.staging, self.resolved.engine, unit_files, self.progress)
        files = census_files.write(self.staging.run, counted)
        if self.job.teacher.rejected == "promote":
            files.append(writer.write_promoted(judged.promoted))
        index = self.staging.run / "index.faiss"
        if index.exists():
            files.append(file_facts(index, self.staging.run, store.facts["rows"][-1]))
        return shards, files

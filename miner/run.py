"""The only module that knows the order of a job.

Read and embed (or find the store again), look at the index, count every unit, share out the caps,
write every unit, seal the shards, write the manifest, publish.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import miner
from miner.datasets.source import Source, open_source
from miner.embedding import Progress, Recipe, Store, StoreKey
from miner.engines.base import Engine, open_engine
from miner.errors import UsageError
from miner.findings import Findings
from miner.hardness import Kept
from miner.hubs import cap_negatives
from miner.indexes.base import build_index, resolve_factory
from miner.job import Job, load_job, parse_bytes, parse_job
from miner.manifest import Staging, clear_published, finished_run, peak_rss
from miner.models.base import LoadedModel, load_model
from miner.models.rescorers import Rescorer, load_rescorer
from miner.nearest import nearest_share
from miner.passes import Passes, share_out
from miner.preparing import prepare_store
from miner.pruning import keep_within
from miner.relevance import Tally
from miner.rescoring import Rescoring
from miner.sealing import Piece, Sealer, fewer, seal_shards
from miner.shards import FORMAT_VERSION, Run, file_facts, open_run
from miner.storage import digest, lock_output, sha256_file, write_pointers
from miner.strategies.selection import check_selection
from miner.tasks import Task, open_miner, open_reach
from miner.totals import census_facts, written_facts
from miner.units import cut_units
from miner.versions import package_versions

__all__ = ["Outcome", "as_job", "mine", "run_job"]


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run, and whether it was mined now or found finished."""

    run: Run
    mined: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A job whose names are all resolved: source, model and engine are there."""

    job: Job
    source: Source
    model: LoadedModel
    engine: Engine
    rescorer: Rescorer | None = None

    @classmethod
    def of(cls, job: Job) -> Opened:
        """Resolve every name of a job, before any work."""
        check_selection(job)
        resolve_factory(job.index.factory)
        engine = open_engine(job.engine)
        source = open_source(job.dataset, job.model.name)
        model = load_model(job.model.name, source.kind, job.model.options)
        if any(job.model.prompts(1) + job.model.prompts(2)) and source.kind != "text":
            raise UsageError(f"model.prompt is for texts; the content column holds {source.kind}")
        opened = cls(job, source, model, engine)
        if job.select.rescore is None:
            return opened
        if not opened.texts:
            raise UsageError("select.rescore reads texts; it needs text and output.content = true")
        return replace(opened, rescorer=load_rescorer(job.select.rescore))

    @property
    def recipe(self) -> Recipe:
        """How the source becomes vectors."""
        return Recipe(
            self.source,
            self.model,
            self.job.model.prompts(len(self.source.sides)),
            self.job.cache_folder,
            self.job.model.batch_size,
            self.job.mining.normalized,
            self.texts,
        )

    def key(self, *, keep: bool = True) -> StoreKey:
        """Identify the embedding store; `keep` as for `identify`."""
        return StoreKey.of(self.recipe, keep=keep)

    @property
    def texts(self) -> bool:
        """Whether shards show content: where it is text, unless the job says no."""
        return self.job.output.content and self.source.kind == "text"

    def fingerprint(self, key: StoreKey) -> str:
        """Identify the run: everything that changes bytes."""
        facts = {
            "mine": miner.__version__,
            "format": FORMAT_VERSION,
            "job": self.job.identity(),
            "index": resolve_factory(self.job.index.factory),
            "texts": self.texts,
            "store": key.facts,
        }
        if self.rescorer is not None:
            facts["rescorer"] = self.rescorer.weights
        return digest(facts)


@dataclass(slots=True)
class _Clock:
    """Seconds per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)


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
    progress: Progress = _silent,
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


def run_job(job: Job, *, force: bool = False, progress: Progress = _silent) -> Outcome:
    """Mine a job; say whether there was anything to do. See `mine`."""
    opened = Opened.of(job)
    root = Path(job.output.path)
    with lock_output(root):
        key = opened.key()
        fingerprint = opened.fingerprint(key)
        finished = None if force else finished_run(root, fingerprint)
        if finished is not None:
            clear_published(root)
            return Outcome(finished, mined=False)
        staging = Staging.open(root, fingerprint, fresh=force)
        published = root / "runs" / staging.run_id
        if (published / "manifest.json").exists():  # it died between publishing and pointing
            write_pointers(root, staging.run_id)
            staging.clear()
            return Outcome(open_run(published), mined=True)
        conductor = _Conductor(opened, key, staging, progress, fresh=force)
        try:
            with opened.engine:
                return Outcome(conductor.conduct(), mined=True)
        finally:
            open_reach.cache_clear()
            open_miner.cache_clear()  # the prepared rows of a finished job are of no more use


class _Conductor:
    """Leads one run through its stages."""

    def __init__(
        self, opened: Opened, key: StoreKey, staging: Staging, progress: Progress, *, fresh: bool
    ) -> None:
        self.opened = opened
        self.job = opened.job
        self.key = key
        self.staging = staging
        self.progress = progress
        self.fresh = fresh
        self.clock = _Clock()

    def conduct(self) -> Run:
        """Go through the stages; return the published run."""
        with self.clock.stage("embed"):
            store, embedding = prepare_store(
                Path(self.job.output.path) / ".store", self.key, self.opened.recipe, self.progress
            )
        with self.clock.stage("index"):
            index = self._index(store)
        task = Task.of(self.job, store, self.opened.engine)
        opened = open_miner(task)
        units = cut_units(store.facts["rows"][0], store.facts["rows"][-1], store.dim)
        passes = Passes(self.staging, self.opened.engine, task, units, self.progress)
        with self.clock.stage("count"):
            counted, arrays, reused = passes.counted(store, self.job.mining, fresh=self.fresh)
            findings = Findings(store, opened.besides, arrays)
        with self.clock.stage("write"):
            select = self.job.select
            drawn = passes.write(share_out(counted, select), counted)
            left = self._rescored(store, drawn)
            pieces = cap_negatives(left, select.per_negative, select.seed, store.facts["rows"][-1])
            dropped = fewer(drawn, left) if self.opened.rescorer else None
        with self.clock.stage("seal"):
            shards, files = self._seal(store, findings, counted, pieces)
        self._make_room(store)
        return self.staging.publish(
            {
                "status": "complete",
                "fingerprint": self.staging.fingerprint,
                "job": self.job.facts(),
                "versions": package_versions(),
                "dataset": self._dataset_facts(store, opened.tally),
                "model": {**self.key.identity.facts, "dim": store.dim},
                "embedding": embedding,
                "store": store.folder.name,
                "index": index,
                "census": census_facts(counted, loss=self.job.mining.loss, reused=reused)
                | findings.facts,
                "written": written_facts(
                    counted, shards, suspects=select.suspects, rescored=dropped
                ),
                "shards": shards,
                "files": files,
                "timings": self.clock.seconds,
                "engine": self.opened.engine.facts(),
                "peak_rss_bytes": peak_rss(),
            }
        )

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

    def _index(self, store: Store) -> dict[str, Any]:
        """Build the index, ask it for nearest neighbours, and save it on request."""
        recorded = self.staging.recorded("index")
        if recorded is not None:
            facts: dict[str, Any] = recorded["facts"]
            return facts
        self.progress("indexing", 0, 0)
        factory = resolve_factory(self.job.index.factory)
        index = build_index(
            factory, self.job.mining.metric, store.dim, store.chunks(store.row_side)
        )
        facts = {
            "factory": factory,
            "exact": index.exact,
            "nearest": nearest_share(
                index, store.vectors(0), store.relevance(), self.job.select.seed
            ),
        }
        files = {}
        if self.job.index.save:
            path = self.staging.run / "index.faiss"
            index.save(path)
            facts["file"] = path.name
            files["run/index.faiss"] = sha256_file(path)
        self.staging.record("index", {"facts": facts, "files": files})
        return facts

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

"""Resolves a job that a caller gave, and its names: data source, model, engine and teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miner.census.device.devices import check_engine, model_device
from miner.datasets.fetch import fetch_dataset, vectors_table, write_data
from miner.datasets.source import Source, open_source
from miner.embedding.models.base import LoadedModel
from miner.embedding.models.load import load_model
from miner.embedding.recipe import EmbeddingRecipe, StoreKey
from miner.embedding.store import Store
from miner.errors import UsageError
from miner.indexes.base import check_factory
from miner.job import Job, load_job, parse_bytes, parse_job
from miner.pipeline.candidates.sources import Sources, open_sources
from miner.pipeline.engines.base import Engine, open_engine
from miner.pipeline.teacher.teachers import Teacher, open_teacher
from miner.progress import Progress, silent
from miner.runs.shards import FORMAT_VERSION
from miner.selection.selection import check_selection
from miner.storage.json_files import digest
from miner.storage.urls import local_root
from miner.triplets.relevance import Tally
from miner.version import __version__

__all__ = ["ResolvedJob", "as_job"]

_DATA = ".data"
"""The folder of an output root with the tables that callers had in memory."""


def as_job(
    job: Job | str | Path | Mapping[str, Any] | None,
    *,
    data: Any = None,
    vectors: Any = None,
    labels: Any = None,
) -> Job:
    """Return a job from what `miner.mine` was given; data in memory are written to a file.

    Parameters
    ----------
    job : Job, path of a job file, mapping of sections, or None
    data, vectors, labels : optional
        As for `miner.mine`.

    Raises
    ------
    UsageError
        If data are given twice, or labels without vectors.
    DataError
        If they are no table, or there is not one label for each vector.
    """
    if data is None and vectors is None:
        if labels is not None:
            raise UsageError("labels without vectors; give both, or data with a column of labels")
        if job is None:
            raise UsageError("no data: give a job, data, or vectors and labels")
        return _read(job)
    if data is not None and (vectors is not None or labels is not None):
        raise UsageError("give data, or vectors and labels, not both")
    table = data if data is not None else vectors_table(vectors, labels)
    sections = dict(job) if isinstance(job, Mapping) else {}
    if job is None or isinstance(job, Mapping):
        sections["dataset"] = {**sections.get("dataset", {}), "path": _DATA}
    known = parse_job(sections) if sections else _read(job)
    path = write_data(table, local_root(known.output.path) / _DATA)
    dataset = replace(known.dataset, path=str(path), queries=None, corpus=None, links=None)
    return replace(known, dataset=dataset)


def _read(job: Any) -> Job:
    if isinstance(job, Job):
        return job
    if isinstance(job, (str, Path)):
        return load_job(job)
    if not isinstance(job, Mapping):
        raise UsageError(
            f"the job is a {type(job).__name__}; give a path, a mapping of sections or a "
            "miner.Job, and data as data=..."
        )
    return parse_job(job)


@dataclass(frozen=True, slots=True)
class ResolvedJob:
    """A job with its data source, model, engine, teacher and sources of candidates."""

    job: Job
    source: Source
    model: LoadedModel
    engine: Engine
    teacher: Teacher | None = None
    candidates: Sources | None = None

    @classmethod
    def from_job(cls, job: Job, progress: Progress = silent, *, keep: bool = True) -> ResolvedJob:
        """Resolve every name in a job before any work; download data from object storage.

        For `keep` see `miner.embedding.model_identity.identify`.
        """
        check_selection(job)
        check_factory(job.index.factory)
        engine = open_engine(job.engine)
        check_engine(job.engine.device, here=not engine.takes_address)
        most = parse_bytes(job.cache.max_size, "cache.max_size")
        dataset = fetch_dataset(job.dataset, most, progress)
        source = open_source(dataset, job.model.name)
        device = model_device(job.engine.device)
        model = load_model(job.model.name, source.kind, job.model.options, device)
        if any(job.model.prompts(1) + job.model.prompts(2)) and source.kind != "text":
            raise UsageError(f"model.prompt is for texts; the content column holds {source.kind}")
        resolved = cls(job, source, model, engine)
        sources = open_sources(job, source.text, progress, texts=resolved.texts)
        teacher = open_teacher(job, source, texts=resolved.texts, keep=keep)
        return replace(resolved, teacher=teacher, candidates=sources)

    @property
    def recipe(self) -> EmbeddingRecipe:
        """How the source is embedded."""
        return EmbeddingRecipe(
            self.source,
            self.model,
            self.job.model.prompts(len(self.source.sides)),
            self.job.cache_folder,
            self.job.model.batch_size,
            self.job.mining.normalized,
            self.texts,
        )

    def key(self, *, keep: bool = True) -> StoreKey:
        """Return the key of the embedding store; for `keep` see `identify`."""
        return StoreKey.of(self.recipe, keep=keep)

    def embedded(self) -> ResolvedJob:
        """Return the job without the weights of its model, which are no longer needed."""
        return replace(self, model=self.model.done())

    @property
    def texts(self) -> bool:
        """Whether shards contain the content: it is text, and `output.content` is true."""
        return self.job.output.content and self.source.kind == "text"

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of who proposes candidates."""
        return self.candidates.names if self.candidates is not None else ()

    def fingerprint(self, key: StoreKey) -> str:
        """Return the fingerprint of the run: the digest of its identity."""
        return digest(self.identity(key))

    def identity(self, key: StoreKey) -> dict[str, Any]:
        """Return everything that affects the bytes of the run."""
        facts = {
            "mine": __version__,
            "format": FORMAT_VERSION,
            "job": self.job.identity(),
            "index": self.job.index.factory,
            "texts": self.texts,
            "store": key.facts,
        }
        if self.teacher is not None:
            facts["scores"] = self.teacher.identity
        if self.candidates is not None:
            facts["candidates"] = self.candidates.identity()
        return facts

    def dataset_facts(self, key: StoreKey, store: Store, tally: Tally) -> dict[str, Any]:
        """Return the facts of the manifest about the data."""
        return {
            "files": key.files,
            **store.facts["dataset"],
            "columns": store.facts["roles"],
            "used": self.source.used(),
            "unused": self.source.unused(),
            "hidden": tally.hidden,
        }

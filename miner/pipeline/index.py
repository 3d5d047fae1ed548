"""The stage that builds a run's index, tunes it, and measures how often positives are nearest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miner.census.spread import evenly_spaced
from miner.embedding.store import Store
from miner.indexes.base import AUTO, FLAT, Index, build_index
from miner.indexes.flat import StreamedRows, nearest_rows
from miner.indexes.nearest_positive import Searched, nearest_share
from miner.indexes.tuning import choose_factory, tune
from miner.job import Job, parse_bytes
from miner.pipeline.units.spec import Approximate
from miner.progress import Progress, silent
from miner.runs.staging import Staging
from miner.storage.files import sha256_file, storage_errors
from miner.triplets.types import Float32

__all__ = ["Indexing", "factory_of"]

_QUERIES = 256
"""Number of anchors that are used to tune search parameters."""
_ROOM = 2
"""Memory limit of an index with `index.factory = "auto"`, as a multiple of `mining.memory`."""


@dataclass(frozen=True, slots=True)
class Indexing:
    """Builds the index of a job over its store.

    Parameters
    ----------
    job : Job
    staging : Staging
    store : Store
    progress : callable
    """

    job: Job
    staging: Staging
    store: Store
    progress: Progress = silent

    @property
    def _path(self) -> Path:
        return self.staging.work / "index.faiss"

    @property
    def factory(self) -> str:
        """The factory string."""
        rows = self.store.facts["rows"]
        return factory_of(self.job, rows[0], rows[-1], self.store.dim)

    def facts(self) -> dict[str, Any]:
        """Build the index unless it is already built; return its facts for the manifest."""
        recorded = self.staging.recorded("index")
        if recorded is not None:
            facts: dict[str, Any] = recorded["facts"]
            return facts
        if self.factory == FLAT and not self.job.index.save:  # needs no index in memory
            streamed = StreamedRows(self.job.mining.metric, self._told_chunks)
            facts = {"factory": FLAT, "exact": True, "nearest": self._nearest(streamed)}
            files: dict[str, str] = {}
        else:
            facts, files = self._built(self._build())
        self.staging.record("index", {"facts": facts, "files": files})
        return facts

    def _built(self, index: Index) -> tuple[dict[str, Any], dict[str, str]]:
        """Tune an index and save it; return its facts and the checksums of its files."""
        facts: dict[str, Any] = {"factory": self.factory, "exact": index.exact}
        files = {}
        if not index.exact:
            facts |= {"candidates": self.job.index.candidates, **self._tuned(index)}
        facts["nearest"] = self._nearest(index)
        saved = self.staging.run / self._path.name
        if not index.exact:
            index.save(self._path)
            files["work/index.faiss"] = sha256_file(self._path)
        if self.job.index.save:
            if index.exact:
                index.save(saved)
            else:
                with storage_errors(saved):
                    saved.unlink(missing_ok=True)
                    os.link(self._path, saved)
            facts["file"] = saved.name
            files["run/index.faiss"] = files.get("work/index.faiss") or sha256_file(saved)
        return facts, files

    def _nearest(self, index: Searched) -> dict[str, Any]:
        store = self.store
        return nearest_share(index, store.vectors(0), store.relevance(), self.job.select.seed)

    def _chunks(self) -> Iterator[Float32]:
        return self.store.chunks(self.store.row_side)

    def _told_chunks(self) -> Iterator[Float32]:
        """Yield all rows in chunks, and report progress."""
        done, rows = 0, self.store.facts["rows"][-1]
        for chunk in self._chunks():
            yield chunk
            done += len(chunk)
            self.progress("indexing", done, rows)

    def approximate(self, facts: dict[str, Any]) -> Approximate | None:
        """Return the description of an approximate index for workers; None if it is exact."""
        if facts["exact"]:
            return None
        settings = tuple(sorted(facts["settings"].items()))
        path = str(self._path.resolve())
        return Approximate(path, facts["factory"], settings, facts["candidates"])

    def _build(self) -> Index:
        store, side = self.store, self.store.row_side

        def sample(most: int) -> Float32:
            return np.ascontiguousarray(
                store.vectors(side)[evenly_spaced(store.facts["rows"][-1], most)]
            )

        return build_index(
            self.factory, self.job.mining.metric, store.dim, self._told_chunks, sample
        )

    def _tuned(self, index: Index) -> dict[str, Any]:
        """Choose search parameters that find enough of a sample's nearest rows; return facts."""
        store = self.store
        queries = np.asarray(store.vectors(0)[evenly_spaced(store.facts["rows"][0], _QUERIES)])
        k = min(self.job.index.candidates, store.facts["rows"][-1])
        truth = nearest_rows(self.job.mining.metric, queries, self._chunks(), k)
        return tune(index, queries, truth, self.job.index.aim).facts


def factory_of(job: Job, anchors: int, rows: int, dim: int) -> str:
    """Return a job's factory string; ``auto`` is replaced according to the size of the data."""
    if job.index.factory != AUTO:
        return job.index.factory
    memory = _ROOM * parse_bytes(job.mining.memory)
    minutes = job.index.budget_minutes
    return choose_factory(anchors, rows, dim, minutes=minutes, memory=memory)

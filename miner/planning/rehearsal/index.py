"""The index of a part of a job, built and tuned as a run does it, and timed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from miner.census.block import evenly_spaced
from miner.embedding.store import Store
from miner.indexes.base import Index, build_index, open_index
from miner.indexes.flat import nearest_rows
from miner.indexes.nearest_positive import nearest_share
from miner.indexes.tuning import tune
from miner.job import Job
from miner.pipeline.units.task import Approximate
from miner.planning.costs import IndexCosts
from miner.planning.estimate import trained
from miner.triplets.types import Float32

__all__ = ["Indexed", "lists_of", "rehearse_index", "scaled"]

_QUERIES, _SEARCHED = 256, 512
_OPERATIONS = 6e10
"""Of training and adding: a second or so."""
_ITERATIONS = 10
_GRAPH = 10_000
"""Rows of a graph that is tried."""
_LEAST = 4096


def lists_of(factory: str) -> int:
    """Return how many lists an inverted file has; 0 for another index."""
    found = re.search(r"IVF(\d+)", factory)
    return int(found[1]) if found else 0


def scaled(factory: str, rows: int, dim: int, most: int) -> tuple[str, int]:
    """Return an index like a job's for fewer rows, and for how many.

    Lists go with the square root of the rows, as `miner.indexes.tuning.choose_factory` has it.

    Parameters
    ----------
    factory : str
    rows, dim : int
    most : int
        Rows that there can be.
    """
    if factory == "Flat":
        return factory, min(rows, most)
    lists = lists_of(factory)
    if not lists:
        return factory, min(rows, most, _GRAPH)
    few, now = lists, rows
    while now > _LEAST and (now > most or _operations(few, now, dim) > _OPERATIONS):
        now //= 2
        few = max(1, round(lists * (now / rows) ** 0.5))
    return re.sub(r"IVF\d+", f"IVF{few}", factory, count=1), now


def _operations(lists: int, rows: int, dim: int) -> float:
    return 2.0 * lists * dim * (_ITERATIONS * trained(lists, rows) + rows)


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index that was tried.

    Attributes
    ----------
    costs : IndexCosts
    search : float
        Seconds of a worker that searches for one anchor.
    approximate : Approximate or None
        The saved index; None where it is exact.
    """

    costs: IndexCosts
    search: float = 0.0
    approximate: Approximate | None = None


def rehearse_index(job: Job, factory: str, store: Store, folder: Path) -> Indexed:
    """Build an index over a small store, tune it, and save it in the folder."""
    rows = store.facts["rows"][-1]
    index, costs = _built(job, factory, store)
    began = time.perf_counter()
    nearest_share(index, store.vectors(0), store.relevance(), job.select.seed)
    path = folder / "index.faiss"
    if not index.exact or job.index.save:
        index.save(path)
    costs = replace(costs, ask=time.perf_counter() - began)
    if index.exact:
        return Indexed(costs)
    began = time.perf_counter()
    queries = np.asarray(store.vectors(0)[evenly_spaced(store.facts["rows"][0], _QUERIES)])
    k = min(job.index.candidates, rows)
    truth = nearest_rows(job.mining.metric, queries, store.chunks(store.row_side), k)
    found = time.perf_counter()
    settings = tune(index, queries, truth, job.index.aim).settings
    costs = replace(costs, truth=found - began, tune=time.perf_counter() - found)
    costs = replace(costs, lists=lists_of(factory), probes=int(settings.get("nprobe", 1)))
    settled = tuple(sorted(settings.items()))
    saved = Approximate(str(path.resolve()), factory, settled, job.index.candidates)
    return Indexed(costs, _searching(job, saved, store), saved)


def _built(job: Job, factory: str, store: Store) -> tuple[Index, IndexCosts]:
    side, rows = store.row_side, store.facts["rows"][-1]
    began = time.perf_counter()
    trained_at = began

    def sample(most: int) -> Float32:
        return np.ascontiguousarray(store.vectors(side)[evenly_spaced(rows, most)])

    def chunks() -> Iterator[Float32]:
        nonlocal trained_at
        trained_at = time.perf_counter()
        return store.chunks(side)

    index = build_index(factory, job.mining.metric, store.dim, chunks, sample)
    add = time.perf_counter() - trained_at
    return index, IndexCosts(rows, train=trained_at - began, add=add)


def _searching(job: Job, saved: Approximate, store: Store) -> float:
    """Return the seconds of a search by one worker, in the index as workers open it."""
    index = open_index(saved.factory, job.mining.metric, Path(saved.path))
    index.turn(dict(saved.settings))
    anchors = np.asarray(store.vectors(0)[evenly_spaced(store.facts["rows"][0], _SEARCHED)])
    with threadpool_limits(limits=1):
        index.search(anchors[:16], saved.candidates)
        began = time.perf_counter()
        index.search(anchors, saved.candidates)
        return (time.perf_counter() - began) / len(anchors)

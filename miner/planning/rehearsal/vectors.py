"""Vectors for a plan: those of a store, or of some rows through the model, timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miner.datasets.relevance import Scanned
from miner.embedding.batches import Embedder, embed_missing
from miner.embedding.cache import open_generation
from miner.embedding.store import Store
from miner.pipeline.resolve import Opened
from miner.planning.rehearsal.sample import Part, made_up, part_of
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import AnchorSubset, LabelRelevance, LinkRelevance, Relevance
from miner.triplets.types import Float32, Rows

__all__ = ["Trial", "dimensions", "of_store", "try_model"]

_SECONDS = 1.5
_LEAST, _FEW = 512, 64
"""So many rows are embedded at least; so many to see how long a row takes."""
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Trial:
    """The vectors of a part, and what they took.

    Attributes
    ----------
    vectors : list of ndarray of shape (rows, dim), float32
        Per side of the store.
    embed, keep : float
        Seconds of a row through the model; into the store.
    known : float
        The share of the vectors that are the job's own; the others are made up.
    """

    vectors: list[Float32]
    embed: float = 0.0
    keep: float = 0.0
    known: float = 1.0


def of_store(store: Store, part: Part) -> Trial:
    """Take the vectors of a part from the job's store."""
    sides = enumerate(part.sides)
    return Trial([np.ascontiguousarray(store.vectors(side)[rows]) for side, rows in sides])


def dimensions(opened: Opened) -> tuple[int, float]:
    """Embed a few rows, twice; return the dimensions, and the seconds of a row."""
    rows, sample = opened.source.sides[0].sample(_FEW)
    embedder = _embedder(opened, 0)
    embedder.embed(sample, rows)
    began = time.perf_counter()
    vectors = embedder.embed(sample, rows)
    return vectors.shape[1], (time.perf_counter() - began) / len(rows)


def try_model(opened: Opened, scanned: Scanned, part: Part, each: float, folder: Path) -> Trial:
    """Embed rows of a part for a second or two, and make up the vectors of the others.

    Parameters
    ----------
    opened : Opened
    scanned : Scanned
    part : Part
    each : float
        Seconds that a row takes, about.
    folder : Path
        For a cache of its own.
    """
    most = max(_LEAST, int(_SECONDS / max(each, 1e-9)))
    relevance, normalize = part.relevance, opened.recipe.normalize
    few = part_of(relevance, most)
    timed = _Timed(opened, scanned, folder)
    if isinstance(relevance, LinkRelevance):
        documents = timed.vectors(1, part.rows[few.rows])
        queries = timed.vectors(0, part.anchors[few.anchors])
        rows = made_up(documents, few.rows, None, relevance.rows, normalize=normalize)
        asking = _asking(relevance, few, queries, rows, normalize=normalize)
        known = (len(few.rows) + len(few.anchors)) / (relevance.rows + relevance.anchors)
        return Trial([asking, rows], *timed.costs, known)
    vectors = timed.vectors(0, part.rows[few.rows])
    rows = made_up(vectors, few.rows, _classes(relevance), relevance.rows, normalize=normalize)
    sides = [rows]
    if isinstance(relevance, AnchorSubset):
        sides = [np.ascontiguousarray(rows[relevance.chosen]), rows]
    return Trial(sides, *timed.costs, len(few.rows) / relevance.rows)


def _classes(relevance: Relevance) -> Rows | None:
    inner = relevance.inner if isinstance(relevance, AnchorSubset) else relevance
    return inner.labels if isinstance(inner, LabelRelevance) else None


def _asking(
    relevance: LinkRelevance, few: Part, queries: Float32, rows: Float32, *, normalize: bool
) -> Float32:
    """Return queries: the known ones, and others as far from a document as one of these."""
    rng = np.random.default_rng(0)
    counts = relevance.positive_counts
    first = np.where(counts > 0, relevance.starts[:-1], 0)
    if not len(relevance.linked):
        nearest = rng.integers(0, len(rows), relevance.anchors)
    else:
        nearest = relevance.linked[np.minimum(first, len(relevance.linked) - 1)]
    away = queries - rows[nearest[few.anchors]]
    asking = rows[nearest] + away[rng.integers(0, len(away), relevance.anchors)]
    asking[few.anchors] = queries
    if normalize:
        asking[:] = normalize_rows(asking)
    return np.ascontiguousarray(asking, dtype=np.float32)


def _embedder(opened: Opened, side: int) -> Embedder:
    recipe = opened.recipe
    where = recipe.source.sides[side].table.where
    return Embedder(recipe.model, where, recipe.role(side), recipe.prompts[side], recipe.batch_size)


@dataclass(slots=True)
class _Timed:
    """Embeds rows as a run does, and keeps the time."""

    opened: Opened
    scanned: Scanned
    folder: Path
    rows: int = 0
    embedding: float = 0.0
    keeping: float = 0.0

    @property
    def costs(self) -> tuple[float, float]:
        """Seconds of a row through the model, and into the store."""
        rows = max(1, self.rows)
        return self.embedding / rows, self.keeping / rows

    def vectors(self, side: int, rows: Rows) -> Float32:
        """Return the stored vectors of rows of a side."""
        self.rows += len(rows)
        began = time.perf_counter()
        cached = self.opened.model.model.cached
        made = self._cached(side, rows) if cached else self._straight(side, rows)
        self.embedding += made[1]
        stored = self._stored(made[0])
        stored.tofile(self.folder / f"trial-{side}.f32")
        self.keeping += time.perf_counter() - began - made[1]
        return stored

    def _straight(self, side: int, rows: Rows) -> tuple[Any, float]:
        source, embedder = self.opened.source.sides[side], _embedder(self.opened, side)
        parts: list[Any] = []
        spent, done, chosen = 0.0, 0, self.scanned.rows[side][rows]
        for values in source.values(chosen):
            began = time.perf_counter()
            parts.append(embedder.embed(values, chosen[done : done + len(values)]))
            spent += time.perf_counter() - began
            done += len(values)
        return np.concatenate(parts), spent

    def _cached(self, side: int, rows: Rows) -> tuple[Any, float]:
        source, embedder = self.opened.source.sides[side], _embedder(self.opened, side)
        digests = self.scanned.digests[side]
        assert digests is not None  # of what is cached
        mine, chosen = digests[rows], self.scanned.rows[side][rows]
        _, first = np.unique(mine, return_index=True)
        first.sort()
        with open_generation(self.folder / "cache", {"side": side}) as generation:
            began = time.perf_counter()
            embed_missing(embedder, source, generation, chosen[first], mine[first], lambda _: None)
            spent = (time.perf_counter() - began) * len(rows) / len(first)
            generation.refresh()
            vectors, _ = generation.read(mine, generation.find(mine))
        return vectors, spent

    def _stored(self, vectors: Any) -> Float32:
        if not self.opened.recipe.normalize:
            return np.ascontiguousarray(vectors, dtype=np.float32)
        parts = (vectors[start : start + _CHUNK] for start in range(0, len(vectors), _CHUNK))
        return np.concatenate([normalize_rows(part) for part in parts])

"""Trial embedding for a plan: rows to embed, seconds per row, and a store of sampled rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.datasets.relevance.scanned import Scanned
from miner.embedding.batches import Embedder, embed_missing
from miner.embedding.cache import Digests, VectorCache, open_generation, read_generation
from miner.embedding.model_identity import CANARY_ROWS
from miner.embedding.recipe import EmbeddingRecipe, StoreKey
from miner.embedding.store import Store
from miner.planning.sample import sample_rows
from miner.storage.json_files import write_json
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import AnchorSubset, anchor_rows, unconstrained
from miner.triplets.types import Float32, Rows

__all__ = ["Trial"]

_FEW = 64
"""Rows that are embedded first, to measure the time per row and the dimensions."""
_SECONDS, _LEAST = 1.0, 512
"""Embedding a sample takes about this many seconds, but a sample has at least this many rows,
because counting fewer would measure only the fixed cost of a call."""
_VALUES = 1 << 23
"""The most numbers in the vectors of a sample (rows times dimensions)."""
_RECORD = 24
"""Bytes that the cache stores with each vector."""


@dataclass(slots=True)
class Trial:
    """Embeds some rows of a scanned data set as a run would, and measures the time.

    Cached vectors are read from the cache; nothing is written to it.

    Attributes
    ----------
    recipe, key, scanned
        How to embed, the key of the store, and the scanned data set.
    folder : Path
        The folder of the scan, to which the vectors are written.
    fresh : int
        Number of distinct contents that a run would embed.
    dim : int
        Number of dimensions of a vector.
    rows : int
        Number of rows that were embedded.
    """

    recipe: EmbeddingRecipe
    key: StoreKey
    scanned: Scanned
    folder: Path
    fresh: int = 0
    dim: int = 0
    rows: int = 0
    _seconds: float = 0.0
    _bytes: int = 0
    _caches: list[VectorCache | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the cache, and embed a few rows unless it has the vectors of all rows."""
        sides = range(len(self.scanned.rows))
        facts = [self.recipe.generation(side, self.key.identity) for side in sides]
        self._caches = [read_generation(self.recipe.cache, one) for one in facts]
        self.fresh = sum(map(self._missing, sides))
        cache = self._caches[0]
        if not self.fresh and cache is not None and cache.dim is not None:
            self.dim = cache.dim
            return
        rows, sample = self.recipe.source.sides[0].sample(_FEW)
        few = sample[:CANARY_ROWS]  # the first rows load libraries
        self._embedder(0).embed(few, rows[:CANARY_ROWS])
        began = time.perf_counter()
        vectors = self._embedder(0).embed(sample, rows)
        self.rows, self._seconds = len(rows), time.perf_counter() - began
        self.dim, self._bytes = vectors.shape[1], vectors[0].nbytes

    @property
    def seconds(self) -> float:
        """Predicted seconds for embedding everything that a run would embed."""
        return self.fresh * self._seconds / max(1, self.rows)

    @property
    def cached(self) -> int:
        """Bytes that a run would add to the cache."""
        return self.fresh * (self._bytes + _RECORD) if self.recipe.model.model.cached else 0

    def store(self) -> Store:
        """Return a store of sampled rows, without ids and texts, which counting does not read."""
        items = sum(map(len, self.scanned.rows))
        most = max(_LEAST, int(_SECONDS * items / max(1e-9, self.seconds)))
        most = min(most, max(_LEAST, _VALUES // self.dim))
        sample = sample_rows(self.scanned.relevance, most)
        self.rows, self._seconds = 0, 0.0
        sides = [self._stored(side, rows) for side, rows in enumerate(sample.sides)]
        if isinstance(unconstrained(sample.relevance), AnchorSubset):
            sides.insert(0, sides[0][anchor_rows(sample.relevance)])
        for number, vectors in enumerate(sides):
            vectors.tofile(self.folder / f"vectors-{number}.f32")
        arrays = sample.relevance.arrays()
        np.savez(self.folder / "relevance.npz", allow_pickle=False, **arrays)
        facts = {"dim": self.dim, "rows": [len(vectors) for vectors in sides]}
        write_json(self.folder / "store.json", facts)
        return Store(self.folder, facts)

    def _stored(self, side: int, rows: Rows) -> Float32:
        """Return the vectors of rows of a table, as the store of a run would have them."""
        cached = self.recipe.model.model.cached
        vectors = self._from_cache(side, rows) if cached else self._straight(side, rows)
        if self.recipe.normalize:
            return normalize_rows(vectors)
        return np.ascontiguousarray(vectors, dtype="<f4")

    def _straight(self, side: int, rows: Rows) -> NDArray[np.floating]:
        embedder, chosen = self._embedder(side), self.scanned.rows[side][rows]
        parts, done = [], 0
        for values in self.recipe.source.sides[side].values(chosen):
            began = time.perf_counter()
            parts.append(embedder.embed(values, chosen[done : done + len(values)]))
            self._seconds += time.perf_counter() - began
            done += len(values)
        self.rows += done
        return np.concatenate(parts)

    def _from_cache(self, side: int, rows: Rows) -> NDArray[np.floating]:
        """Return the vectors of rows; those not cached are embedded into a temporary cache."""
        source, digests = self.recipe.source.sides[side], self._digests(side)[rows]
        _, first = np.unique(digests, return_index=True)
        first.sort()
        todo = self.scanned.rows[side][rows[first]], digests[first]
        cache = self._caches[side]
        with open_generation(self.folder / "cache", {"side": side}) as own:
            if cache is not None:
                vectors, whole = cache.read(digests, cache.find(digests))
                own.append(digests[whole], vectors[whole])
                own.refresh()
            began = time.perf_counter()
            self.rows += embed_missing(self._embedder(side), source, own, *todo, lambda _: None)
            self._seconds += time.perf_counter() - began
            own.refresh()
            return own.read(digests, own.find(digests))[0]

    def _missing(self, side: int) -> int:
        """Return the number of contents of a table that have no cached vector."""
        if not self.recipe.model.model.cached:
            return len(self.scanned.rows[side])
        digests, cache = np.unique(self._digests(side)), self._caches[side]
        held = 0 if cache is None else int((cache.find(digests)[:, 0] >= 0).sum())
        return len(digests) - held

    def _digests(self, side: int) -> Digests:
        digests = self.scanned.digests[side]
        assert digests is not None  # only precomputed vectors have none, and they are not cached
        return digests

    def _embedder(self, side: int) -> Embedder:
        recipe = self.recipe
        where = recipe.source.sides[side].table.where
        role, prompt = recipe.role(side), recipe.prompts[side]
        return Embedder(recipe.model, where, role, prompt, recipe.batch_size)

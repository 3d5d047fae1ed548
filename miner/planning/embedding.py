"""How many rows have to be embedded, how long one takes, and vectors of real rows to count with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.datasets.relevance import Scanned
from miner.embedding.batches import Embedder, embed_missing
from miner.embedding.cache import Digests, Generation, open_generation, read_generation
from miner.embedding.model_identity import CANARY_ROWS
from miner.embedding.recipe import Recipe, StoreKey
from miner.embedding.store import Store
from miner.planning.sample import Sample, sample_rows
from miner.storage.json_files import write_json
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import AnchorSubset
from miner.triplets.types import Float32, Rows

__all__ = ["Trial"]

_FEW = 64
"""Rows that are embedded first, to see how long one takes and what comes back."""
_SECONDS, _LEAST = 1.0, 512
"""Rows are embedded for about so long, but at least this many: fewer say nothing of counting."""
_VALUES = 1 << 23
"""Numbers in the vectors of a sample, at most."""


@dataclass(slots=True)
class Trial:
    """Embeds some rows of a scanned data set as a run would, and keeps the time.

    Vectors that the cache holds are read from there, and nothing is written to it.

    Attributes
    ----------
    recipe, key, scanned
        What is embedded, and how.
    folder : Path
        The folder of the scan; takes the vectors.
    dim, bytes : int
        Dimensions of a vector, and bytes of one as the model makes it; 0 before `look`.
    rows : int
        Rows that were embedded.
    seconds : float
        How long that took.
    """

    recipe: Recipe
    key: StoreKey
    scanned: Scanned
    folder: Path
    dim: int = 0
    bytes: int = 0
    rows: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        """Seconds of one row."""
        return self.seconds / max(1, self.rows)

    def fresh(self) -> int:
        """Return how many contents a run would put through the model, equal ones once."""
        if not self.recipe.model.model.cached:
            return sum(map(len, self.scanned.rows))
        total = 0
        for side in range(len(self.scanned.rows)):
            digests = np.unique(self._digests(side))
            cached = self._cache(side)
            held = 0 if cached is None else int((cached.find(digests)[:, 0] >= 0).sum())
            total += len(digests) - held
        return total

    def look(self, fresh: int) -> None:
        """Find out what a vector is like: from the cache, or by a few rows, timed."""
        cached = self._cache(0) if not fresh else None
        if cached is not None and cached.dim is not None:
            self.dim = cached.dim
            return
        rows, sample = self.recipe.source.sides[0].sample(_FEW)
        self._embedder(0).embed(
            sample[:CANARY_ROWS], rows[:CANARY_ROWS]
        )  # the first load libraries
        began = time.perf_counter()
        vectors = self._embedder(0).embed(sample, rows)
        self.rows, self.seconds = len(rows), time.perf_counter() - began
        self.dim, self.bytes = vectors.shape[1], vectors[0].nbytes

    def store(self, fresh: int) -> Store:
        """Make a store of some rows; `fresh` as `fresh` returned it.

        Returns
        -------
        Store
            In the folder; without ids and texts, which counting does not read.
        """
        rows = sum(map(len, self.scanned.rows))
        most = max(_LEAST, int(_SECONDS / max(1e-9, self.each * fresh / rows)))
        most = min(most, max(_LEAST, _VALUES // self.dim))
        sample = sample_rows(self.scanned.relevance, most)
        self.rows, self.seconds = 0, 0.0
        sides = [self._stored(side, rows) for side, rows in enumerate(sample.sides)]
        if isinstance(sample.relevance, AnchorSubset):
            sides.insert(0, sides[0][sample.relevance.chosen])
        return self._save(sample, sides)

    def _save(self, sample: Sample, sides: list[Float32]) -> Store:
        for number, vectors in enumerate(sides):
            vectors.tofile(self.folder / f"vectors-{number}.f32")
        arrays = sample.relevance.arrays()
        np.savez(self.folder / "relevance.npz", allow_pickle=False, **arrays)
        facts = {"dim": self.dim, "rows": [len(vectors) for vectors in sides]}
        write_json(self.folder / "store.json", facts)
        return Store(self.folder, facts)

    def _stored(self, side: int, rows: Rows) -> Float32:
        """Return rows of a side as the store would hold them."""
        cached = self.recipe.model.model.cached
        vectors = self._cached(side, rows) if cached else self._straight(side, rows)
        if self.recipe.normalize:
            return normalize_rows(vectors)
        return np.ascontiguousarray(vectors, dtype="<f4")

    def _straight(self, side: int, rows: Rows) -> NDArray[np.floating]:
        source, embedder = self.recipe.source.sides[side], self._embedder(side)
        chosen, parts = self.scanned.rows[side][rows], []
        done = 0
        for values in source.values(chosen):
            began = time.perf_counter()
            parts.append(embedder.embed(values, chosen[done : done + len(values)]))
            self.seconds += time.perf_counter() - began
            done += len(values)
        self.rows += done
        return np.concatenate(parts)

    def _cached(self, side: int, rows: Rows) -> NDArray[np.floating]:
        digests, source = self._digests(side)[rows], self.recipe.source.sides[side]
        chosen = self.scanned.rows[side][rows]
        _, first = np.unique(digests, return_index=True)
        first.sort()
        kept = self._cache(side)
        with open_generation(self.folder / "cache", {"side": side}) as generation:
            if kept is not None:
                vectors, whole = kept.read(digests, kept.find(digests))
                generation.append(digests[whole], vectors[whole])
                generation.refresh()
            began = time.perf_counter()
            self.rows += embed_missing(
                self._embedder(side), source, generation, chosen[first], digests[first], _ignore
            )
            self.seconds += time.perf_counter() - began
            generation.refresh()
            return generation.read(digests, generation.find(digests))[0]

    def _cache(self, side: int) -> Generation | None:
        facts = self.recipe.generation(side, self.key.identity)
        return read_generation(self.recipe.cache, facts)

    def _digests(self, side: int) -> Digests:
        digests = self.scanned.digests[side]
        assert digests is not None  # only vectors have none, and they are not cached
        return digests

    def _embedder(self, side: int) -> Embedder:
        recipe = self.recipe
        where = recipe.source.sides[side].table.where
        role, prompt = recipe.role(side), recipe.prompts[side]
        return Embedder(recipe.model, where, role, prompt, recipe.batch_size)


def _ignore(rows: int) -> None:
    """Report nothing."""

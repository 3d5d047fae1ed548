"""Seeded data that breaks miners: ties, near-ties, offsets, duplicates, zeros, skewed classes."""

from __future__ import annotations

import numpy as np

from miner.triplets.relevance import LabelRelevance, LinkRelevance

KINDS = ("random", "tied", "near_tied", "offset", "duplicated", "zeros", "scales", "tiny", "huge")
CLASSES = ("even", "skewed", "singletons", "giant", "one")


def vectors(kind: str, rows: int, dim: int, seed: int) -> np.ndarray:
    """float32 rows of one kind."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((rows, dim))
    if kind == "tied":
        data = rng.integers(-1, 2, (rows, dim)).astype(float)
    elif kind == "near_tied":  # neighbours that float32 arithmetic cannot tell apart
        base = rng.standard_normal((4, dim)).astype(np.float32)
        data = np.nextafter(base[rng.integers(0, 4, rows)], np.float32(np.inf))
        steps = rng.integers(0, 3, rows)
        for step in range(3):
            data[steps > step] = np.nextafter(data[steps > step], np.float32(np.inf))
    elif kind == "offset":
        data = data * 0.01 + 3000.0
    elif kind == "duplicated":
        data = data[rng.integers(0, max(2, rows // 6), rows)]
    elif kind == "zeros":
        data[::3] = 0.0
    elif kind == "scales":
        data = data * 10.0 ** rng.integers(-6, 7, (rows, 1))
    elif kind == "tiny":
        data = data * 1e-30
    elif kind == "huge":
        data = data * 1e30
    return data.astype(np.float32)


def labels(kind: str, rows: int, seed: int) -> np.ndarray:
    """Label codes of one kind."""
    rng = np.random.default_rng(seed + 1)
    if kind == "even":
        return np.arange(rows) % 5
    if kind == "skewed":
        return np.minimum(rng.geometric(0.3, rows) - 1, 9)
    if kind == "singletons":
        return np.arange(rows)
    if kind == "giant":
        codes = np.zeros(rows, dtype=np.int64)
        codes[-8:] = np.repeat(np.arange(1, 5), 2)
        return codes
    return np.zeros(rows, dtype=np.int64)


def labelled(kind: str, rows: int, seed: int, *, hide: bool = False) -> LabelRelevance:
    """Labelled items, with duplicate contents and groups when `hide`."""
    rng = np.random.default_rng(seed + 2)
    none = np.full(rows, -1, dtype=np.int64)
    contents = rng.integers(0, rows // 2, rows) if hide else none
    groups = rng.integers(-1, rows // 4, rows) if hide else none
    return LabelRelevance(labels(kind, rows, seed).astype(np.int64), contents, groups)


def linked(queries: int, rows: int, seed: int, *, hide: bool = False) -> LinkRelevance:
    """Queries with 0 to 4 positives each."""
    rng = np.random.default_rng(seed + 3)
    lists = [
        np.sort(rng.choice(rows, int(rng.integers(0, 5)), replace=False)) for _ in range(queries)
    ]
    starts = np.concatenate([[0], np.cumsum([len(rows_) for rows_ in lists])]).astype(np.int64)
    everything = rng.integers(0, rows // 2, queries + rows)
    codes = everything if hide else np.full(queries + rows, -1)
    groups = rng.integers(-1, 6, queries + rows) if hide else np.full(queries + rows, -1)
    twins = rng.integers(-1, rows, queries) if hide else np.full(queries, -1)
    return LinkRelevance(
        starts,
        np.concatenate(lists).astype(np.int64),
        codes[queries:],
        codes[:queries],
        groups[queries:],
        groups[:queries],
        twins,
    )

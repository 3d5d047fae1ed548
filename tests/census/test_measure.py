"""Compiled distances have the bits of the definition, for every metric, size and kind of data."""

from __future__ import annotations

import numpy as np
import pytest

from miner.census.measure import load_measure, measure_rows
from miner.triplets.distance import METRICS
from tests.hard_data import KINDS, vectors

pytest.importorskip("numba")

DIMS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 64, 100, 127, 128, 129, 136, 200, 255, 256, 257, 300]
DIMS += [384, 512, 768, 1000, 1024, 1536, 4096]


def definition(metric: str, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return NumPy's expressions of the definition, row by row."""
    a, x = a.astype(np.float64), x.astype(np.float64)
    if metric == "sqeuclidean":
        return ((a - x) ** 2).sum(-1)
    if metric == "euclidean":
        return np.sqrt(((a - x) ** 2).sum(-1))
    inner = (a * x).sum(-1)
    if metric == "dot":
        return -inner
    norms = np.sqrt((a * a).sum(-1)) * np.sqrt((x * x).sum(-1))
    return np.where(norms == 0, 1.0, 1.0 - inner / np.where(norms == 0, 1.0, norms))


@pytest.mark.parametrize("dim", DIMS)
def test_all_sizes_give_the_bits_of_the_definition(dim: int) -> None:
    rng = np.random.default_rng(dim)
    anchors, rows = (rng.normal(size=(n, dim)).astype(np.float32) for n in (20, 90))
    left, right = rng.integers(0, 20, 400), rng.integers(0, 90, 400)
    for metric in METRICS:
        truth = definition(metric, anchors[left], rows[right])
        for name in ("numba", "numpy"):
            found = load_measure(name)(metric, anchors, rows, left, right)  # type: ignore[arg-type]
            assert found.tobytes() == truth.tobytes(), (name, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_data_give_the_bits_of_the_definition(kind: str, metric: str) -> None:
    rows = vectors(kind, 60, 37, seed=5)
    left, right = (np.random.default_rng(6).integers(0, 60, 500) for _ in range(2))
    with np.errstate(all="ignore"):
        truth = definition(metric, rows[left], rows[right])
        found = load_measure("numba")(metric, rows, rows, left, right)  # type: ignore[arg-type]
        one = load_measure("numba")(metric, rows, rows, left[:1], right)  # type: ignore[arg-type]
        same = definition(metric, rows[left[:1]], rows[right])
    assert found.tobytes() == truth.tobytes() and one.tobytes() == same.tobytes()


def test_memory_mapped_rows_can_be_measured(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.save(tmp_path / "rows.npy", vectors("random", 50, 9, seed=1))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    none = np.empty(0, dtype=np.int64)
    for name in ("numba", "numpy"):
        assert len(load_measure(name)("dot", rows, rows, none, none)) == 0
        found = load_measure(name)("dot", rows, rows, np.array([3]), np.arange(50))
        assert found.tobytes() == definition("dot", rows[[3]], rows).tobytes()


def test_loops_with_other_bits_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(*given):  # type: ignore[no-untyped-def]
        return np.nextafter(measure_rows(*given), np.inf)

    load_measure.cache_clear()
    monkeypatch.setattr("miner.census.kernels.measure.measure_rows", off)
    assert load_measure() is measure_rows
    monkeypatch.undo()
    load_measure.cache_clear()
    assert load_measure() is not measure_rows

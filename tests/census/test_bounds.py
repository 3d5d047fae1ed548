"""The bounds of distances contain the true distances, and are tight where float32 allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.triplets.distance import METRICS
from tests.hard_data import KINDS, vectors

pytest.importorskip("numba")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_contain_the_distances(kind: str, metric: Any) -> None:
    for dim in (1, 7, 128, 1000):
        rows = vectors(kind, 60, dim, seed=5)
        left, right = np.random.default_rng(6).integers(0, 60, (2, 2000))
        with np.errstate(all="ignore"):
            for anchors in (rows, rows * np.float32(1e-20), rows * np.float32(1e5)):
                some = Vectors(anchors, rows)
                low, high = some.bound(metric, left, right)
                true = some.measure(metric, left, right)
        known = np.isfinite(low) & np.isfinite(high)
        assert (low[known] <= true[known]).all() and (true[known] <= high[known]).all()
        assert np.isinf(high[~known]).all() and (low[~known] == -np.inf).all()


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_are_tight(metric: Any) -> None:
    rows = vectors("random", 60, 128, seed=5)
    left, right = np.random.default_rng(6).integers(0, 60, (2, 2000))
    low, high = Vectors(rows, rows).bound(metric, left, right)
    assert (high - low < 1e-3 * np.abs(low).max()).all()


def test_without_compiled_loops_the_bounds_are_the_distances() -> None:
    rows = vectors("random", 30, 9, seed=1)
    numbers = np.arange(30), np.arange(30)[::-1].copy()
    low, high = Vectors(rows, rows, "numpy").bound("euclidean", *numbers)
    assert low.tolist() == high.tolist()
    assert low.tolist() == Vectors(rows, rows).measure("euclidean", *numbers).tolist()

"""The float64 definition: each distance is independent of the others in the same call."""

from __future__ import annotations

import numpy as np
import pytest

from miner.census.walk.key_space import KeySpace
from miner.triplets.distance import METRICS, measure, normalize_rows
from miner.triplets.hardness import classify, count_positives, is_hard, is_within
from tests.hard_data import KINDS, vectors
from tests.oracle import distance


@pytest.mark.parametrize("dim", [1, 3, 8, 9, 127, 128, 129, 784, 1030])
@pytest.mark.parametrize("metric", METRICS)
def test_measure_equals_numpy_for_each_single_pair(metric: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows = rng.standard_normal((700, dim)).astype(np.float32)
    rows[5] = 0
    one = measure(metric, rows[:1], rows)
    pairs = measure(metric, rows[::-1], rows)
    assert one.dtype == np.float64
    for row in range(0, 700, 7):
        assert one[row] == distance(metric, rows[0], rows[row])
        assert pairs[row] == distance(metric, rows[699 - row], rows[row])
        assert one[row] == measure(metric, rows[:1], rows[row : row + 1])[0]
    strided = np.asfortranarray(rows)
    assert (measure(metric, strided[:1], strided) == one).all()


def test_normalisation_rounds_once_from_float64() -> None:
    rng = np.random.default_rng(2)
    wide = rng.standard_normal((50, 9)) * 10.0 ** rng.integers(-20, 20, (50, 1))
    wide[7] = 0
    unit = normalize_rows(wide)
    for row in range(50):
        norm = np.sqrt((wide[row] ** 2).sum())
        want = (wide[row] / norm if norm else wide[row]).astype(np.float32)
        assert unit[row].tolist() == want.tolist()
    assert unit.dtype == np.float32


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_key_errors_are_within_the_bound(kind: str, metric: str) -> None:
    """The key of every pair is within the error bound of the key of its true distance."""
    rows = vectors(kind, 30, 5, seed=1)
    space = KeySpace.fit(metric, rows, rows)
    prepared = space.prepare(rows)
    keys = space.bias(prepared) - prepared @ prepared.T
    offset, key_error = space.offset(prepared), space.key_error(prepared)
    for row in range(30):
        truth = np.array([distance(metric, rows[row], other) for other in rows])
        error = np.abs(keys[row] - space.key(truth, offset[row]))
        assert (error <= key_error[row]).all()


def test_euclidean_and_sqeuclidean_have_the_same_hard_set() -> None:
    rows = normalize_rows(vectors("random", 40, 6, seed=4))
    d = {metric: measure(metric, rows[:1], rows) for metric in ("euclidean", "sqeuclidean")}
    for p in range(1, 40):
        hard = [(d[metric] <= d[metric][p]).tolist() for metric in d]
        assert hard[0] == hard[1]


def test_classes_and_counts_agree() -> None:
    rng = np.random.default_rng(6)
    d_ap, d_an = rng.integers(0, 9, 20) / 4.0, np.sort(rng.integers(0, 9, 50) / 4.0)
    names = classify(d_ap[:, None], d_an[None, :], 0.5)
    assert (is_hard(d_ap[:, None], d_an[None, :]) == (names == "hard")).all()
    assert (is_within(d_ap[:, None], d_an[None, :], 0.5) == (names != "easy")).all()
    hard, within = count_positives(d_an, np.sort(d_ap), 0.5)
    assert hard.tolist() == (names == "hard").sum(axis=0).tolist()
    assert within.tolist() == (names != "easy").sum(axis=0).tolist()
    assert classify(np.array([1.0]), np.array([1.0]), 0.5).tolist() == ["hard"]
    assert classify(np.array([1.0]), np.array([1.5]), 0.5).tolist() == ["easy"]

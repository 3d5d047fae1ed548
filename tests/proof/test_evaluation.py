"""Recall@1 and MAP@R, compared with pytorch-metric-learning and with values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.proof.evaluation import evaluate


def test_by_hand() -> None:
    """A query with ranks right, wrong, right of R = 3 has (1 + 0 + 2/3) / 3."""
    angles = np.array([0.0, 0.09, 0.2, 0.3, 3.0])  # all distances differ
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array([0, 0, 1, 0, 0])
    # from 0 and 0.09: right, wrong, right; from 0.3: wrong, right, right; from 3.0: right, wrong,
    # right; the single item of class 1 is no query
    expected = [5 / 9, 5 / 9, (1 / 2 + 2 / 3) / 3, 5 / 9]
    found = evaluate(vectors, labels)
    assert found.map_at_r == pytest.approx(np.mean(expected))
    assert found.recall_at_1 == 3 / 4


@pytest.mark.parametrize("seed", range(4))
def test_as_pytorch_metric_learning_counts(seed: int) -> None:
    pytest.importorskip("pytorch_metric_learning")
    import torch
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 9, 700)
    vectors = rng.standard_normal((700, 6)) + rng.standard_normal((9, 6))[labels]
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity()),
        device=torch.device("cpu"),
    )
    peer = calculator.get_accuracy(vectors.astype(np.float32), labels)
    found = evaluate(vectors.astype(np.float32), labels)
    assert found.recall_at_1 == pytest.approx(peer["precision_at_1"], abs=1e-9)
    assert found.map_at_r == pytest.approx(peer["mean_average_precision_at_r"], abs=1e-5)
    assert 0.1 < found.map_at_r < 0.95


def test_a_class_of_one_asks_nothing_and_stands_in_the_way() -> None:
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.9, 0.1]])
    assert evaluate(vectors, np.array([0, 0, 1])).recall_at_1 == 0.0
    assert evaluate(vectors[:2], np.array([0, 0])).map_at_r == 1.0

"""Evaluated classes are never trained on, and splits depend on the seed only."""

from __future__ import annotations

import numpy as np
import pytest

from tests.proof.split import split_classes

LABELS = np.random.default_rng(1).integers(0, 21, 900)


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_held_out(seed: int) -> None:
    split = split_classes(LABELS, seed, most=30)
    seen, held = set(LABELS[split.train]), set(LABELS[split.test])
    assert (len(seen), len(held)) == (11, 10)
    assert not seen & held
    assert np.array_equal(split.labels, LABELS[split.train])
    assert np.bincount(split.labels).max() == 30
    assert set(split.test) == set(np.flatnonzero(np.isin(LABELS, list(held))))


def test_a_seed_is_a_split() -> None:
    first, same, other = (split_classes(LABELS, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, same.train)
    assert set(LABELS[first.test]) != set(LABELS[other.test])


def test_wrong_labels_are_of_training_classes() -> None:
    split = split_classes(LABELS, 2, wrong=0.2)
    changed = np.mean(split.labels != LABELS[split.train])
    assert 0.12 < changed < 0.26  # about a twelfth draws the same label again
    assert set(split.labels) <= set(LABELS[split.train])

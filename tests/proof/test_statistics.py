"""Intervals agree with the table of Student's t; paired differences."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from tests.proof.statistics import interval, paired


def test_an_interval_of_five() -> None:
    """t with 4 degrees of freedom at 97.5 % is 2.776; the deviation of 1 to 5 is sqrt(2.5)."""
    found = interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.half == pytest.approx(2.7764451 * np.sqrt(2.5 / 5))
    assert found.sure
    assert not interval([-1.0, 2.0]).sure


def test_one_value_has_no_interval() -> None:
    found = interval([0.5])
    assert found.mean == 0.5
    assert np.isnan(found.half)
    assert not found.sure


def test_pairs_take_out_what_the_splits_share() -> None:
    rng = np.random.default_rng(5)
    splits = rng.normal(0, 1, 5)
    base, better = splits, splits + 0.01 + rng.normal(0, 1e-3, 5)
    assert paired(better.tolist(), base.tolist()).sure
    assert interval(better.tolist()).half > 0.1
    with pytest.raises(ValueError, match="cannot be paired"):
        paired([1.0], [1.0, 2.0])


def test_intervals_hold_what_they_say() -> None:
    rng = np.random.default_rng(6)
    held = [abs((found := interval(rng.normal(1, 2, 5).tolist())).mean - 1) <= found.half
            for _ in range(2000)]  # fmt: skip
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)

"""Means with 95 % intervals of Student's t, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

__all__ = ["Interval", "interval", "paired"]


@dataclass(frozen=True)
class Interval:
    """A mean and half the width of its 95 % interval, which is NaN for a single value."""

    mean: float
    half: float

    @property
    def sure(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean) > self.half


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values, with its interval."""
    given = np.asarray(values, dtype=np.float64)
    if len(given) < 2:
        return Interval(float(given.mean()), float("nan"))
    error = given.std(ddof=1) / np.sqrt(len(given))
    return Interval(float(given.mean()), float(stdtrit(len(given) - 1, 0.975) * error))


def paired(values: Sequence[float], base: Sequence[float]) -> Interval:
    """Return the mean difference to the base; the values of a pair share set, split and seed."""
    if len(values) != len(base):
        raise ValueError(f"{len(values)} values cannot be paired with {len(base)}")
    return interval(np.subtract(values, base).tolist())

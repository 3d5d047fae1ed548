"""Data sets as network inputs with labels: the class of a set, and a synthetic set."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from tests.proof.networks import head

__all__ = ["ProofSet", "noisy", "package", "synthetic"]


@dataclass(frozen=True)
class ProofSet:
    """Inputs (n, ...) and labels (n,) of a set, and how its network is made and trained.

    Parameters
    ----------
    most : int
        Most training items of a class, so that miners that list all pairs can handle them.
    wrong : float
        The share of training items whose label is drawn anew from the training classes.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    network: Callable[[], nn.Module]
    rate: float
    most: int = 200
    wrong: float = 0.0


def package(name: str) -> Any:
    """Import a package that the proof needs and the tests do not."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"{error.name} is not installed: run `make proof`") from error


def noisy(made: ProofSet, wrong: float = 0.2) -> ProofSet:
    """Return the set with a share of wrong labels in training."""
    return replace(made, name=f"{made.name}-noisy", wrong=wrong)


def synthetic(classes: int = 12, size: int = 10, dim: int = 8) -> ProofSet:
    """Return vectors around class centres; half of the dimensions are noise."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((classes, dim)) * (np.arange(dim) < dim // 2)
    labels = np.repeat(np.arange(classes), size)
    vectors = centres[labels] + rng.standard_normal((len(labels), dim)) * 0.6
    return ProofSet("synthetic", vectors.astype(np.float32), labels, lambda: head(dim), 3e-2)

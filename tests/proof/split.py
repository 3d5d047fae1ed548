"""Held-out classes: a model is judged on classes that it has never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Split", "split_classes"]


@dataclass(frozen=True)
class Split:
    """Rows of the set to train on, with the labels that training sees; and rows to judge by."""

    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray


def split_classes(labels: np.ndarray, seed: int, most: int = 200, wrong: float = 0.0) -> Split:
    """Deal the classes into two halves.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    seed : int
        Of all draws.
    most : int
        Training rows of a class: the others are left out.
    wrong : float
        Share of training rows whose label is drawn anew from the training classes.
    """
    rng = np.random.default_rng([7, seed])
    classes = rng.permutation(np.unique(labels))
    chosen = classes[: (len(classes) + 1) // 2]
    train = [rng.permutation(np.flatnonzero(labels == name))[:most] for name in chosen]
    rows = np.sort(np.concatenate(train))
    seen = labels[rows].copy()
    redrawn = rng.random(len(rows)) < wrong
    seen[redrawn] = rng.choice(chosen, int(redrawn.sum()))
    return Split(rows, seen, np.flatnonzero(~np.isin(labels, chosen)))

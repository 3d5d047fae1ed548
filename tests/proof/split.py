"""Held-out classes: a model is evaluated on classes that it has never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Split", "split_classes"]


@dataclass(frozen=True)
class Split:
    """Rows for training, with the labels that training uses, and rows for evaluation."""

    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray


def split_classes(labels: np.ndarray, seed: int, most: int = 200, wrong: float = 0.0) -> Split:
    """Split the classes at random into two halves: one for training, one for evaluation.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    seed : int
        Seed of all draws.
    most : int
        Most training rows of a class; the others are left out.
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

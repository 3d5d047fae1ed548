"""The three classes of a triplet. No other module defines their borders.

For an anchor a, a positive p, a negative n, a distance d and a margin m > 0:

==========  ======================================  =======================================
class       condition                               hinge loss max(0, m + d(a,p) - d(a,n))
==========  ======================================  =======================================
hard        d(a,n) <= d(a,p)                        >= m
semi-hard   d(a,p) < d(a,n) < d(a,p) + m            between 0 and m
easy        d(a,n) >= d(a,p) + m                    0
==========  ======================================  =======================================

The hinge loss and the semi-hard band are defined in FaceNet (Schroff, Kalenichenko and Philbin
2015, sections 3.1 and 3.2). That a tie is hard and the upper border easy follows from the loss.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Float64

__all__ = [
    "CLASSES",
    "MINED_CLASSES",
    "OUTPUT_FOLDERS",
    "MinedClass",
    "OutputFolder",
    "class_name",
    "classify",
    "count_positives",
    "difficulty",
    "is_hard",
    "is_within",
    "semi_hard_border",
]

MinedClass = Literal["semi_hard", "hard"]

CLASSES = ("easy", "semi_hard", "hard")
OutputFolder = Literal["semi_hard", "hard", "suspects"]

MINED_CLASSES: tuple[MinedClass, ...] = ("semi_hard", "hard")
OUTPUT_FOLDERS: tuple[OutputFolder, ...] = (*MINED_CLASSES, "suspects")
"""The folders that triplets are written to: the two classes, and the triplets that filters
dropped."""


def class_name(text: str) -> str:
    """Return a class as data spell it: ``semi-hard`` is ``semi_hard``."""
    return text.replace("-", "_")


def difficulty(folder: str) -> str:
    """Return the name that shard metadata has for the triplets of a folder."""
    return "suspect" if folder == "suspects" else folder


def semi_hard_border(d_ap: Float64, margin: float | Float64) -> Float64:
    """Return d(a,p) + m: negatives at this distance or beyond are easy."""
    return d_ap + margin


def classify(d_ap: Float64, d_an: Float64, margin: float | Float64) -> NDArray[np.str_]:
    """Return the name of the class of each triplet, elementwise.

    Parameters
    ----------
    d_ap, d_an : ndarray of float64
        True distances (`miner.triplets.distance.measure`), of broadcastable shapes.
    margin : float, or ndarray of such a shape

    Returns
    -------
    ndarray of str
        ``"hard"``, ``"semi_hard"`` or ``"easy"``.
    """
    hard = d_an <= d_ap
    semi_hard = d_an < semi_hard_border(d_ap, margin)
    return np.where(hard, "hard", np.where(semi_hard, "semi_hard", "easy"))


def is_hard(d_ap: Float64, d_an: Float64) -> NDArray[np.bool_]:
    """Whether triplets are hard, elementwise."""
    return np.asarray(d_an <= d_ap)


def is_within(d_ap: Float64, d_an: Float64, margin: float) -> NDArray[np.bool_]:
    """Whether triplets are hard or semi-hard, elementwise."""
    return np.asarray(d_an < semi_hard_border(d_ap, margin)) | is_hard(d_ap, d_an)


def count_positives(
    d_an: Float64, sorted_d_ap: Float64, margin: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, per negative, for how many positives it is hard, and hard or semi-hard.

    Parameters
    ----------
    d_an : ndarray of shape (n,), float64
    sorted_d_ap : ndarray of shape (p,), float64, ascending
    margin : float

    Returns
    -------
    tuple of ndarray of shape (n,), int64
    """
    border = semi_hard_border(sorted_d_ap, margin)
    hard = len(sorted_d_ap) - np.searchsorted(sorted_d_ap, d_an, side="left")
    within = len(sorted_d_ap) - np.searchsorted(border, d_an, side="right")
    return hard.astype(np.int64), np.maximum(within, hard).astype(np.int64)

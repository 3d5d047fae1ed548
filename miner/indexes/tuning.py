"""Chooses the index of a job and its search effort from the data alone, without timing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.indexes.base import Index
from miner.triplets.types import Float32, Rows

__all__ = ["TuningResult", "choose_factory", "tune"]

_NOMINAL = 1.5e11
"""Operations per second assumed for the exact pass, the same on every machine, so that a job makes
the same choice everywhere. Two cores of 2024 are about this fast."""
_PER_LIST = 64
"""The least average number of rows per list of an inverted file."""


def choose_factory(anchors: int, rows: int, dim: int, *, minutes: float, memory: int) -> str:
    """Return a factory string: exact if there is time for it, else the most accurate that fits.

    Parameters
    ----------
    anchors, rows, dim : int
    minutes : float
        The time limit of the exact pass, at 150 GFlop/s.
    memory : int
        The most bytes for the index.
    """
    if 2.0 * anchors * rows * dim <= 60 * minutes * _NOMINAL:
        return "Flat"
    lists = 1 << max(
        4, min(round(math.log2(4 * math.sqrt(rows))), int(math.log2(rows / _PER_LIST)))
    )
    if rows * (4 * dim + 8) <= memory:
        return f"IVF{lists},Flat"
    if rows * (dim + 8) <= memory:
        return f"IVF{lists},SQ8"
    return f"OPQ{_parts(dim)},IVF{lists},PQ{_parts(dim)}x4fs"


def _parts(dim: int) -> int:
    """Return the number of sub-quantisers, of two or three dimensions each if possible."""
    return next((dim // wide for wide in (2, 3) if dim % wide == 0), dim)


@dataclass(frozen=True, slots=True)
class TuningResult:
    """Search parameters, and the recall that they reach on a sample.

    Attributes
    ----------
    settings : dict
    recall : float
        The share of the true nearest rows that are found.
    reached : bool
        Whether the recall is at least the target.
    """

    settings: dict[str, float]
    recall: float
    reached: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The values for the manifest."""
        return {"settings": self.settings, "sample_recall": round(self.recall, 4)}


def tune(index: Index, queries: Float32, truth: Rows, aim: float) -> TuningResult:
    """Raise an index's search parameters step by step until the recall reaches a target.

    Each step raises the parameter whose next value gives the highest recall.

    Parameters
    ----------
    index : Index
    queries : ndarray of shape (q, dim), float32
    truth : ndarray of shape (q, k), int64
        The true nearest rows of each query.
    aim : float
        The target recall.
    """
    values = index.search_parameters()
    at = dict.fromkeys(values, 0)

    def recall(places: dict[str, int]) -> float:
        index.set_parameters({name: values[name][place] for name, place in places.items()})
        found = index.search(queries, truth.shape[1])
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True))
        return hits / truth.size

    best = recall(at)
    while best < aim:
        steps = [{**at, name: at[name] + 1} for name in values if at[name] + 1 < len(values[name])]
        if not steps:
            break
        recalls = [recall(step) for step in steps]
        best, at = max(recalls), steps[int(np.argmax(recalls))]
    settings = {name: values[name][place] for name, place in at.items()}
    index.set_parameters(settings)
    return TuningResult(settings, best, best >= aim)

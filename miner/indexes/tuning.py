"""Which index a job gets, and how hard it searches: both hang on the data alone, not on a clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.indexes.base import Index
from miner.triplets.types import Float32, Rows

__all__ = ["Tuned", "choose_factory", "tune"]

_NOMINAL = 1.5e11
"""Operations a second at which the exact pass is reckoned, on every machine: so that the same job
makes the same choice everywhere. Two cores of 2024 do about as many."""
_PER_LIST = 64
"""Rows a list of an inverted file has, at least."""


def choose_factory(anchors: int, rows: int, dim: int, *, minutes: float, memory: int) -> str:
    """Choose an index: exact while that fits, else the most faithful that fits the memory.

    Parameters
    ----------
    anchors, rows, dim : int
    minutes : float
        What the exact pass may take, reckoned at 150 GFlop/s.
    memory : int
        Bytes that the index may take.
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
    """Return the number of sub-quantisers: two or three dimensions each, where they divide."""
    return next((dim // wide for wide in (2, 3) if dim % wide == 0), dim)


@dataclass(frozen=True, slots=True)
class Tuned:
    """Search parameters, and what they reach on a sample.

    Attributes
    ----------
    settings : dict
    recall : float
        Share of the true nearest rows that are found.
    reached : bool
        Whether that is what was aimed at.
    """

    settings: dict[str, float]
    recall: float
    reached: bool

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says."""
        return {"settings": self.settings, "sample_recall": round(self.recall, 4)}


def tune(index: Index, queries: Float32, truth: Rows, aim: float) -> Tuned:
    """Turn an index's search parameters up until it finds enough.

    One step at a time, each time the parameter whose next value finds most.

    Parameters
    ----------
    index : Index
    queries : ndarray of shape (q, dim), float32
    truth : ndarray of shape (q, k), int64
        The nearest rows of each.
    aim : float
        Share of them to find.
    """
    knobs = index.knobs()
    at = dict.fromkeys(knobs, 0)

    def recall(places: dict[str, int]) -> float:
        index.turn({name: knobs[name][place] for name, place in places.items()})
        found = index.search(queries, truth.shape[1])
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True))
        return hits / truth.size

    best = recall(at)
    while best < aim:
        steps = [{**at, name: at[name] + 1} for name in knobs if at[name] + 1 < len(knobs[name])]
        if not steps:
            break
        recalls = [recall(step) for step in steps]
        best, at = max(recalls), steps[int(np.argmax(recalls))]
    settings = {name: knobs[name][place] for name, place in at.items()}
    index.turn(settings)
    return Tuned(settings, best, best >= aim)

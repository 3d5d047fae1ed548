"""What workers of tests do: functions of an importable module, as engines need them."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from miner.errors import DataError
from miner.pipeline.engines.base import Call, Done, R, U
from miner.pipeline.engines.joblib import Threads

SENT: list[int] = []
"""Bytes of each unit that went through `Measuring`, with the call that goes with it."""


class Measuring(Threads):
    """Threads that are sent everything as a process would be, and say how much that is."""

    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        sent = [pickle.dumps((call, unit)) for unit in units]
        SENT.extend(map(len, sent))
        call = pickle.loads(sent[0])[0]
        yield from super().spread(call, [pickle.loads(one)[1] for one in sent])


def square(unit: int) -> int:
    return unit * unit


def sleepy(unit: int) -> int:
    time.sleep(0.5)
    return unit


_HELD: list[np.ndarray] = []


def grows(unit: int) -> int:
    """Hold 400 MB more after the first unit, as a worker that maps vectors; return the process."""
    time.sleep(1.1)
    if unit:
        _HELD.append(np.ones(50_000_000))
    return os.getpid()


def wrong(unit: int) -> int:
    if unit == 3:
        raise DataError("row 3 of vectors.parquet is wrong; correct it")
    return unit


def fails(unit: int) -> int:
    raise OSError("no such disk")


def fails_once(unit: tuple[int, str]) -> int:
    """Raise at unit 3, unless that has happened already."""
    number, folder = unit
    mark = Path(folder) / "failed"
    if number == 3 and not mark.exists():
        mark.touch()
        return fails(number)
    return number


def timed(unit: int) -> tuple[float, float]:
    """Say when a unit began and ended."""
    began = time.monotonic()
    time.sleep(0.1)
    return began, time.monotonic()


def threads(unit: int) -> list[int]:
    """Say with how many threads each product of this process works."""
    assert np.ones((2, 2)) @ np.ones((2, 2)) is not None
    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    # FAISS's own, with OpenMP, has a limit of each thread: it is set where an index is searched.
    return [one["num_threads"] for one in found if one.get("threading_layer") != "openmp"]


def dies_once(unit: tuple[int, str]) -> int:
    """End the process at unit 3, unless that has happened already."""
    number, folder = unit
    mark = Path(folder) / "died"
    if number == 3 and not mark.exists():
        mark.touch()
        os._exit(9)
    time.sleep(0.05)
    return number


def dies(unit: Any) -> int:
    """End the process at unit 3, always."""
    time.sleep(0.05)
    if unit == 3:
        os._exit(9)
    return int(unit)

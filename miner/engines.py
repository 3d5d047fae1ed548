"""Engines: how units are spread over workers. The only place that imports joblib.

A unit's result does not depend on the engine, on the number of workers, or on the order in which
units finish.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from miner.errors import EngineError, UsageError, did_you_mean

__all__ = ["ENGINES", "Engine", "open_engine"]

# An interrupted run is no news: joblib would count the tasks that it leaves.
warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning, r"joblib\.parallel")

U = TypeVar("U")
R = TypeVar("R")

ENGINES = {"threads": "threading", "processes": "loky"}
_PREFIX = "joblib:"


@dataclass(frozen=True, slots=True)
class Engine:
    """A joblib backend and a number of workers.

    Attributes
    ----------
    backend : str
        joblib's name of the backend.
    workers : int
    """

    backend: str
    workers: int

    def map(self, function: Callable[[U], R], units: Iterable[U]) -> Iterator[R]:
        """Call `function` on every unit; yield results as they come, in any order.

        Workers run single-threaded BLAS: one worker a core beats one product on all cores.

        Raises
        ------
        EngineError
            When a worker process died.
        """
        calls = (joblib.delayed(function)(unit) for unit in units)
        with (
            threadpool_limits(limits=1, user_api="blas"),
            joblib.parallel_config(backend=self.backend, n_jobs=self.workers, **self._inner()),
        ):
            stream = joblib.Parallel(
                return_as=self._results(), pre_dispatch="2*n_jobs", batch_size=1
            )(calls)
            try:
                yield from stream
            except BrokenProcessPool as error:
                raise EngineError(
                    f"engine {self.backend}: a worker process died (out of memory?); what is "
                    "finished is kept, the same command goes on from there"
                ) from error

    def _results(self) -> str:
        """Results as they come, from a backend that can; else all at the end."""
        able = getattr(joblib.parallel.BACKENDS[self.backend], "supports_return_generator", False)
        return "generator_unordered" if able else "list"

    def _inner(self) -> dict[str, int]:
        return {"inner_max_num_threads": 1} if self.backend == "loky" else {}


def open_engine(name: str, workers: int) -> Engine:
    """Find an engine by name.

    Parameters
    ----------
    name : str
        ``threads``, ``processes``, or ``joblib:BACKEND`` for a backend that is registered there.
    workers : int
        0 for one a core that this process may use.

    Raises
    ------
    UsageError
        With the nearest name.
    """
    known = joblib.parallel.BACKENDS
    backend = name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ENGINES.get(name)
    if backend is None:
        raise UsageError(
            f"unknown engine {name!r}: {did_you_mean(name, [*ENGINES, 'joblib:NAME'])}"
        )
    if backend not in known:
        raise UsageError(f"joblib has no backend {backend!r}: {did_you_mean(backend, known)}")
    return Engine(backend, workers or joblib.cpu_count())

"""The interface of engines, and the registry of their names.

The result of a unit does not depend on the engine, on the number of workers, or on the order in
which units finish. A worker receives a function, a frozen job, paths and a range of anchors: about
a kilobyte, for data of any size. Workers open the data by path.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar

from threadpoolctl import threadpool_limits

from miner.errors import UsageError
from miner.job_sections import EngineJob
from miner.registry import Registry

__all__ = ["ENGINES", "Call", "Done", "Engine", "open_engine"]

U = TypeVar("U")
R = TypeVar("R")

ENGINES = Registry("engine")
ENGINES.register("threads", "miner.pipeline.engines.joblib:Threads", "threads of this process")
ENGINES.register(
    "processes", "miner.pipeline.engines.joblib:Processes", "processes of this machine"
)
ENGINES.register(
    "dask",
    "miner.pipeline.engines.dask:Dask",
    "workers of a Dask scheduler, on this machine or on many",
    needs=("distributed",),
    extra="dask",
)
ENGINES.gone["joblib"] = "use threads, processes or dask"


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """The result of a unit, the worker that processed it, and the seconds it took."""

    result: R
    worker: str
    seconds: float


@dataclass(frozen=True)
class Call(Generic[U, R]):
    """A function wrapped for workers.

    Attributes
    ----------
    function : callable
        A function of an importable module, or a partial of one.
    limited : bool
        Whether each unit limits BLAS and OpenMP to one thread: one worker per core is faster than
        one product on all cores. Threads of this process share one limit, which is set once, since
        only the thread that set a limit can lift it.
    """

    function: Callable[[U], R]
    limited: bool

    def __call__(self, unit: U) -> Done[R]:
        """Process a unit."""
        began = time.perf_counter()
        with threadpool_limits(limits=1) if self.limited else contextlib.nullcontext():
            result = self.function(unit)
        return Done(result, self.worker(), time.perf_counter() - began)

    def worker(self) -> str:
        """Return the name of the current worker."""
        return f"{socket.gethostname()}:{os.getpid()}"


class Engine(ABC):
    """Distributes units over workers; a context manager that ends the workers it started.

    Attributes
    ----------
    shares_memory : bool
        Whether all workers are threads of this process.
    takes_address : bool
        Whether the engine uses `engine.address`.
    lost : int
        The number of times that workers were found dead.
    """

    shares_memory: bool = False
    takes_address: ClassVar[bool] = False

    def __init__(self, job: EngineJob) -> None:
        self.job = job
        self.lost = 0
        self._did: dict[str, list[float]] = {}
        if job.address is not None and not self.takes_address:
            raise UsageError(f"engine.address is for dask, not for {job.name}; drop one of them")

    @property
    @abstractmethod
    def workers(self) -> int:
        """The number of units processed at the same time."""

    @property
    def per_machine(self) -> int:
        """The largest number of units processed at the same time on one machine."""
        return self.workers

    @property
    def processes(self) -> int:
        """The largest number of processes on one machine; each holds prepared rows."""
        return 1 if self.shares_memory else self.per_machine

    @abstractmethod
    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Process every unit on a worker; yield each result once, in any order.

        A unit whose worker dies is retried a bounded number of times; `lost` counts how often
        workers were found dead. An error that a unit raises is raised unchanged.

        Raises
        ------
        EngineError
            If workers keep dying, or there is no worker.
        """

    def map(self, function: Callable[[U], R], units: Iterable[U]) -> Iterator[R]:
        """Call `function` on every unit; yield results as units finish, in any order."""
        for done in self.each(function, units):
            yield done.result

    def each(self, function: Callable[[U], R], units: Iterable[U]) -> Iterator[Done[R]]:
        """Do the same as `map`, and yield the worker and the seconds with each result."""
        pending = list(units)
        if not pending:
            return
        for done in self.spread(self.call(function), pending):
            tally = self._did.setdefault(done.worker, [0, 0.0])
            tally[0] += 1
            tally[1] += done.seconds
            yield done

    def call(self, function: Callable[[U], R]) -> Call[U, R]:
        """Wrap a function for workers."""
        return Call(function, not self.shares_memory)

    def facts(self) -> dict[str, Any]:
        """Return the engine's facts for the manifest, with the units and seconds of each worker."""
        did = [
            {"worker": name, "units": int(units), "seconds": round(seconds, 3)}
            for name, (units, seconds) in sorted(self._did.items())
        ]
        return {"name": self.job.name, "workers": self.workers, "lost": self.lost, "did": did}

    def close(self) -> None:
        """End the workers that were started, and all work in progress."""
        return

    def __enter__(self) -> Engine:
        """Connect to the workers, if they must exist before long work begins."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_engine(job: EngineJob) -> Engine:
    """Return the engine of this name from `ENGINES`. No worker is started.

    Raises
    ------
    UsageError
        If the name is unknown or a package is missing; the message suggests a name or the package.
    """
    engine: Engine = ENGINES.load(job.name)(job)
    return engine

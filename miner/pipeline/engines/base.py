"""The seam of engines: `map(unit)` over workers, and the names of those that there are.

A unit's result does not depend on the engine, on the number of workers, or on the order in which
units finish. What is sent to a worker is a function, a frozen job, paths and a range of anchors:
about a kilobyte, whatever the size of the data. Workers open the rest by path.
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
    """What a unit gave, which worker did it, and how long it took."""

    result: R
    worker: str
    seconds: float


@dataclass(frozen=True)
class Call(Generic[U, R]):
    """A function as workers call it.

    Attributes
    ----------
    function : callable
        Of an importable module, or a partial of one.
    limited : bool
        Whether BLAS and OpenMP get one thread for each unit: one worker a core beats one product
        on all. Threads of this process share a limit that is set once: only the thread that set
        one can lift it.
    """

    function: Callable[[U], R]
    limited: bool

    def __call__(self, unit: U) -> Done[R]:
        """Do a unit."""
        began = time.perf_counter()
        with threadpool_limits(limits=1) if self.limited else contextlib.nullcontext():
            result = self.function(unit)
        return Done(result, self.worker(), time.perf_counter() - began)

    def worker(self) -> str:
        """Name the worker that this is called in."""
        return f"{socket.gethostname()}:{os.getpid()}"


class Engine(ABC):
    """Spreads units over workers; used as a context, which ends what it has started.

    Attributes
    ----------
    shares_memory : bool
        Whether all workers are threads of this process.
    takes_address : bool
        Whether `engine.address` has a meaning.
    lost : int
        How often workers were found dead.
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
        """Units that are done at once."""

    @property
    def per_machine(self) -> int:
        """Units that are done at once on one machine, at most."""
        return self.workers

    @property
    def processes(self) -> int:
        """Processes on one machine, at most, each with prepared rows of its own."""
        return 1 if self.shares_memory else self.per_machine

    @abstractmethod
    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Call every unit on some worker; yield what comes, in any order, each unit once.

        A unit whose worker dies is done again, a bounded number of times; `lost` counts the times
        that workers were found dead. An error of the unit's own is raised as it is.

        Raises
        ------
        EngineError
            When workers keep dying, or none is there.
        """

    def map(self, function: Callable[[U], R], units: Iterable[U]) -> Iterator[R]:
        """Call `function` on every unit; yield results as they come, in any order."""
        for done in self.each(function, units):
            yield done.result

    def each(self, function: Callable[[U], R], units: Iterable[U]) -> Iterator[Done[R]]:
        """Do the same, and say who did each unit, and how long it took."""
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
        """Say what was used and what each worker did, for the manifest."""
        did = [
            {"worker": name, "units": int(units), "seconds": round(seconds, 3)}
            for name, (units, seconds) in sorted(self._did.items())
        ]
        return {"name": self.job.name, "workers": self.workers, "lost": self.lost, "did": did}

    def close(self) -> None:
        """End what was started, and whatever is under way."""
        return

    def __enter__(self) -> Engine:
        """Find the workers, where they must be there before long work begins."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_engine(job: EngineJob) -> Engine:
    """Find an engine of `ENGINES` by name. Nothing is started.

    Raises
    ------
    UsageError
        With the nearest name, or what to install.
    """
    engine: Engine = ENGINES.load(job.name)(job)
    return engine

"""Threads and processes of this machine, by joblib. The only place that imports joblib."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from miner.errors import EngineError
from miner.formatting import counted
from miner.pipeline.engines.base import Call, Done, Engine, R, U

__all__ = ["Processes", "Threads"]

# An interrupted run is no news: joblib would count the tasks that it leaves.
warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning, r"joblib\.parallel")

_RESTARTS = 3
"""A worker that dies takes its pool with it, and nothing tells which unit it died of."""
_LOOK = 0.5
"""Seconds between two looks of a worker for the process that started it."""


class _Joblib(Engine):
    """A backend of joblib."""

    backend = ""

    @property
    def workers(self) -> int:
        """As the job says, or one a core that this process may use."""
        return self.job.workers or int(joblib.cpu_count())

    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Call units; when a pool broke, start another one for those that are not done."""
        left = dict(enumerate(units))
        restarts = 0
        while left:
            try:
                for number, done in self._stream(call, left):
                    del left[number]
                    yield done
            except BrokenProcessPool as error:
                self.lost += 1
                restarts += 1
                if restarts > _RESTARTS:
                    raise EngineError(
                        f"engine {self.job.name}: worker processes died {restarts} times (out of "
                        f"memory?), {len(left)} of {counted(len(units), 'unit')} not done; give "
                        "fewer --workers; the same command goes on from here"
                    ) from error

    def _stream(self, call: Call[U, R], left: dict[int, U]) -> Iterator[tuple[int, Done[R]]]:
        calls = (joblib.delayed(_numbered)(call, *item) for item in list(left.items()))
        with (
            threadpool_limits(limits=1, user_api="blas"),
            joblib.parallel_config(backend=self.backend, n_jobs=self.workers, **self._options()),
        ):
            parallel = joblib.Parallel(
                return_as="generator_unordered", pre_dispatch="2*n_jobs", batch_size=1
            )
            with _interrupts_held():
                done = parallel(calls)
            yield from done

    def _options(self) -> dict[str, Any]:
        """Return the options of a backend."""
        return {}


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep SIGINT waiting for this thread, and from processes that it starts for ever.

    A terminal sends it to all; this process ends its workers, which have nothing to say.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _numbered(call: Call[U, R], number: int, unit: U) -> tuple[int, Done[R]]:
    """Do a unit, in a worker."""
    return number, call(unit)


class Threads(_Joblib):
    """Threads of this process: no copies."""

    backend = "threading"
    shares_memory = True


class Processes(_Joblib):
    """Processes of this machine."""

    backend = "loky"

    def _options(self) -> dict[str, Any]:
        ending = {"initializer": _end_with, "initargs": (os.getpid(),)}
        return {"inner_max_num_threads": 1, **ending}


def _end_with(parent: int) -> None:
    """End this worker soon after the process that started it: one that was killed cannot do it."""
    threading.Thread(target=_watch, args=(parent,), name="mine-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)

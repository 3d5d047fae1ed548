"""The engines `threads` and `processes`, by joblib. Only this module imports joblib."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from multiprocessing import resource_tracker
from typing import Any

import joblib
from joblib.externals.loky import process_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from miner.errors import EngineError
from miner.formatting import counted
from miner.pipeline.engines.base import Call, Done, Engine, R, U

__all__ = ["Processes", "Threads"]

# When a run is interrupted, joblib would warn of the number of unfinished tasks.
warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning, r"joblib\.parallel")

_RESTARTS = 3
"""Number of restarts of a pool. A worker that dies ends its pool, and joblib does not report which
unit it was processing."""
_TAKEN_UP = 0.03
"""Seconds that loky's thread is given to take up the first units."""
_LOOK = 0.5
"""Seconds between two checks of a worker that its parent process exists."""


class _Joblib(Engine):
    """Base class of the engines that use a joblib backend."""

    backend = ""

    @property
    def workers(self) -> int:
        """The number in the job, or else the number of cores that this process may use."""
        return self.job.workers or int(joblib.cpu_count())

    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Process units; if a pool breaks, start another pool for the unfinished units."""
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
                        "fewer --workers; the same command continues from here"
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
            with self._starting():
                done = parallel(calls)
            yield from done

    def _options(self) -> dict[str, Any]:
        """Return the options of a backend."""
        return {}

    def _starting(self) -> AbstractContextManager[None]:
        """Return the context in which a pool is started."""
        return _signals_held()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Delay the Python handlers of SIGINT and SIGTERM, and block SIGINT for processes started here.

    joblib cannot clean up a pool that is half started, so no handler may raise an exception in it.
    A terminal sends SIGINT to all processes. Only this process should handle it: it ends its
    workers.
    """
    held: dict[int, Any] = {}
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, held.setdefault)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in held.items():
            handlers[number](number, frame)


def _numbered(call: Call[U, R], number: int, unit: U) -> tuple[int, Done[R]]:
    """Process a unit, in a worker."""
    return number, call(unit)


class Threads(_Joblib):
    """Threads of this process, which share its memory."""

    backend = "threading"
    shares_memory = True


class Processes(_Joblib):
    """Processes of this machine."""

    backend = "loky"

    def _options(self) -> dict[str, Any]:
        begin = {"initializer": _begin_worker, "initargs": (os.getpid(),)}
        return {"inner_max_num_threads": 1, **begin}

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """Hold signals until loky's thread has probably taken up the first units.

        If it ends before, it prints a traceback (`KeyError` in `add_call_item_to_queue`).
        """
        resource_tracker.ensure_running()  # its start unblocks SIGINT
        with _signals_held():
            yield
            time.sleep(_TAKEN_UP)


def _begin_worker(parent: int) -> None:
    """Ignore SIGINT, and end this worker soon after its parent: one that is killed cannot end it.

    The mask of `_signals_held` protects a new worker, but multiprocessing's resource tracker
    unblocks SIGINT when a worker needs it.

    Where psutil is installed, loky ends a worker that grew by 300 MB, with a warning, and takes
    that for a leak. Workers map vectors, keep prepared rows and load PyTorch, so they do grow.
    """
    process_executor._MAX_MEMORY_LEAK_SIZE = sys.maxsize
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), name="mine-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)

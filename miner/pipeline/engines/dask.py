"""The engine `dask`: workers of a Dask scheduler. Only this module imports distributed.

The scheduler runs at `engine.address`. Its workers run on one or many machines with access to the
same folders. Dask queues the units and moves the units of a dead worker to another worker.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import distributed
from threadpoolctl import threadpool_limits

from miner.errors import EngineError, MineError, UsageError
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import Call, Done, Engine, R, U
from miner.version import package_versions

__all__ = ["Dask"]

for _name in ("distributed", "distributed.client", "tornado.application"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # we report the error that ends a run

_RETRIES = 2
"""Number of retries of a unit that fails with an error other than a `MineError`."""
_NAP = 0.005
"""Seconds between two checks for a finished unit."""
_TICK = 0.5
"""Seconds between two requests for the scheduler's list of workers."""
_LEAVE = 5.0
"""Seconds after which `close` stops waiting for a scheduler that does not answer."""
_AGAIN = "the same command continues from here"


@dataclass(frozen=True)
class _DaskCall(Call[U, R]):
    """A function wrapped for Dask workers; it checks that they have the same package versions."""

    versions: dict[str, str | None]

    def __call__(self, unit: U) -> Done[R]:
        """Process a unit; return a `MineError` as the result, because a retry would not help."""
        # The limit is never lifted: in a worker with threads, the first unit that ends would lift
        # it for all.
        threadpool_limits(limits=1, user_api="blas")
        try:
            self._compare_versions()
            return super().__call__(unit)
        except MineError as error:
            result: Any = error
            return Done(result, self.worker(), 0.0)

    def worker(self) -> str:
        """Return Dask's name of the worker."""
        return str(distributed.get_worker().name)

    def _compare_versions(self) -> None:
        here = package_versions()
        for name, version in self.versions.items():
            if here[name] != version:
                raise EngineError(
                    f"engine dask: worker {self.worker()} has {name} {here[name]}, not {version} "
                    "as here; install the same there, so that it writes the same bytes"
                )


class Dask(Engine):
    """The workers of the scheduler at `engine.address`."""

    takes_address: ClassVar[bool] = True

    def __init__(self, job: EngineJob) -> None:
        super().__init__(job)
        if job.address is None:
            raise UsageError(
                "engine dask needs a scheduler: add --set engine.address=tcp://HOST:PORT, or use "
                "--engine processes for the cores of this machine"
            )
        if not re.fullmatch(r"\w+://[^/\s]+:\d+", job.address):
            raise UsageError(f"engine.address = {job.address!r} is not of the form tcp://HOST:PORT")
        self._client: Any = None
        self._threads: dict[str, int] = {}
        self._looked = self._seen = 0.0

    @property
    def workers(self) -> int:
        """The number in the job, at most the number of threads that the scheduler has."""
        there = sum(self._threads.values()) or 1
        return min(self.job.workers or there, there)

    @property
    def per_machine(self) -> int:
        """The number of threads of the machine with the most threads."""
        threads: Counter[str] = Counter()
        for address, number in self._threads.items():
            threads[_host(address)] += number
        return max(threads.values(), default=1)

    @property
    def processes(self) -> int:
        """The number of workers of the machine with the most workers."""
        return max(Counter(map(_host, self._threads)).values(), default=1)

    def __enter__(self) -> Engine:
        """Connect to the scheduler and wait for a worker: both must exist before long work."""
        try:
            self._client = distributed.Client(
                self.job.address, timeout=self.job.patience, set_as_default=False, name="mine"
            )
        except (OSError, ValueError) as error:
            raise EngineError(
                f"engine dask: no scheduler answers at {self.job.address}; start one "
                "(`dask scheduler`), or correct engine.address"
            ) from error
        try:
            self._seen = time.monotonic()
            while not self._threads:
                time.sleep(_NAP)
                self._look()
        except BaseException:
            self.close()
            raise
        return self

    def _look(self) -> None:
        """Update the list of workers from the scheduler, if the last update is `_TICK` ago.

        Raises
        ------
        EngineError
            If the scheduler does not answer, or has had no worker for `engine.patience`.
        """
        if time.monotonic() - self._looked < _TICK:
            return
        patience = self.job.patience
        try:
            identity = self._client.scheduler.identity
            workers = self._client.sync(identity, callback_timeout=patience)["workers"]
        except OSError as error:  # TimeoutError is one
            raise _gone() from error
        found = {
            address: int(worker["nthreads"])
            for address, worker in workers.items()
            if worker["status"] == "running" or worker["metrics"].get("executing", 0)
        }
        self.lost += len(self._threads.keys() - found)
        self._threads = found
        self._looked = time.monotonic()
        if found:
            self._seen = self._looked
        elif self._looked - self._seen > patience:
            raise EngineError(
                f"engine dask: no worker at {self.job.address} for {patience:g} s "
                f"(engine.patience); start workers (`dask worker`); {_AGAIN}"
            )

    def call(self, function: Any) -> Call[Any, Any]:
        """Wrap a function for workers, which must have the same package versions."""
        return _DaskCall(function, True, package_versions())

    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Process units; retry the units that the scheduler gives up on, one at a time.

        The scheduler gives up on every unit that was on a worker that died several times. Only a
        unit that runs alone is certainly the cause.
        """
        self._seen = time.monotonic()
        suspects = []
        for unit, done in self._tried(call, units, self.job.workers or len(units)):
            if done is None:
                suspects.append(unit)
            else:
                yield done
        for unit, done in self._tried(call, suspects, 1):
            if done is None:
                raise EngineError(
                    f"engine dask: a unit keeps killing its worker, alone too: {unit} (out of "
                    f"memory? lower mining.memory, or give workers more); {_AGAIN}"
                )
            yield done

    def _tried(
        self, call: Call[U, R], units: list[U], at_once: int
    ) -> Iterator[tuple[U, Done[R] | None]]:
        """Yield units and their results as they finish; None if the scheduler gave up on one."""
        waiting = enumerate(units)
        # In one task group, the scheduler assigns to a worker only the tasks that it needs next, so
        # a unit that kills its worker affects few other units.
        group = f"mine-{uuid.uuid4().hex}"
        ended = distributed.as_completed(loop=self._client.loop)
        flying: dict[Any, U] = {}
        try:
            while True:
                more = dict(itertools.islice(waiting, at_once - len(flying)))
                keys = [(group, number) for number in more]
                futures = self._client.map(call, list(more.values()), key=keys, retries=_RETRIES)
                flying.update(zip(futures, more.values(), strict=True))
                ended.update(futures)
                if not flying:
                    return
                self._look()
                while not ended.has_ready():
                    time.sleep(_NAP)
                    self._look()
                future = next(ended)
                done = self._result(future)
                if not future.done():  # its worker died with the result: Dask retries the unit
                    ended.add(future)
                    continue
                future.release()
                yield flying.pop(future), done
        finally:
            for future in flying:
                future.release()

    def _result(self, future: Any) -> Done[Any] | None:
        """Return the result of a unit or raise its error; None if the scheduler gave up on it."""
        try:
            done: Done[Any] = future.result(timeout=self.job.patience)
        except distributed.KilledWorker:
            return None
        except distributed.CancelledError as error:  # raised when the connection is lost
            raise _gone() from error
        except ImportError as error:
            raise EngineError(
                f"engine dask: a worker cannot import what it needs ({error}); install this "
                "package there, in the same version"
            ) from error
        except TimeoutError:
            if future.done():
                raise
            return None
        if isinstance(done.result, MineError):
            raise done.result
        return done

    def facts(self) -> dict[str, Any]:
        """Return the engine's facts for the manifest, with the address of the scheduler."""
        return {**super().facts(), "address": self.job.address}

    def close(self) -> None:
        """Disconnect from the scheduler, which then drops our units."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError):  # TimeoutError is one
                client.close(timeout=_LEAVE)


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _gone() -> EngineError:
    return EngineError(
        "engine dask: the scheduler is gone, or does not answer; start it and its workers again; "
        f"{_AGAIN}"
    )

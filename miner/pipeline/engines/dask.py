"""Units on the workers of a Dask scheduler. The only place that imports distributed.

The scheduler runs at `engine.address`; its workers run on this machine, or on many that see the
same folders. Dask itself queues the units and gives those of a dead worker to another one.
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
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what ends a run is said once, by us

_RETRIES = 2
"""Times that a unit is done again which failed with an error that is not of our own tree."""
_NAP = 0.005
"""Seconds between two looks for a finished unit."""
_TICK = 0.5
"""Seconds between two looks at the scheduler."""
_LEAVE = 5.0
"""Seconds that leaving takes at most, where the scheduler does not answer."""
_AGAIN = "the same command goes on from here"


@dataclass(frozen=True)
class _DaskCall(Call[U, R]):
    """A function as Dask's workers call it, where they run the same programs as we do."""

    versions: dict[str, str | None]

    def __call__(self, unit: U) -> Done[R]:
        """Do a unit; an error of our own tree is returned: doing it again would not help."""
        # Never lifted: where a worker has threads, the first unit to end must not lift the limit.
        threadpool_limits(limits=1, user_api="blas")
        try:
            self._compare_versions()
            return super().__call__(unit)
        except MineError as error:
            result: Any = error
            return Done(result, self.worker(), 0.0)

    def worker(self) -> str:
        """Name the worker as Dask does."""
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
        """As the job says, or all that the scheduler has."""
        there = sum(self._threads.values()) or 1
        return min(self.job.workers or there, there)

    @property
    def per_machine(self) -> int:
        """Threads of the machine that has most."""
        threads: Counter[str] = Counter()
        for address, number in self._threads.items():
            threads[_host(address)] += number
        return max(threads.values(), default=1)

    @property
    def processes(self) -> int:
        """Workers of the machine that has most."""
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
        """Ask the scheduler which workers take units, if the last time is a tick ago.

        Raises
        ------
        EngineError
            When the scheduler does not answer, or has had no such worker for `engine.patience`.
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
        """Wrap a function for workers, which must have the same versions of all that counts."""
        return _DaskCall(function, True, package_versions())

    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Submit units; those on which the scheduler gives up are done again, one at a time.

        It blames whatever was on a worker that died. Only a unit that is alone is to blame.
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
        """Yield what units give as they end; None for one on which the scheduler gave up."""
        waiting = enumerate(units)
        # One group of tasks, of which the scheduler keeps on a worker only what it needs next: a
        # unit that kills its worker has few neighbours that would be blamed with it.
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
                if not future.done():  # its worker died with the result: it is done again
                    ended.add(future)
                    continue
                future.release()
                yield flying.pop(future), done
        finally:
            for future in flying:
                future.release()

    def _result(self, future: Any) -> Done[Any] | None:
        """Return what a unit gave, or raise its error; None if the scheduler gave up on it."""
        try:
            done: Done[Any] = future.result(timeout=self.job.patience)
        except distributed.KilledWorker:
            return None
        except distributed.CancelledError as error:  # all are, when the connection is lost
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
        """Say where the scheduler is, too."""
        return {**super().facts(), "address": self.job.address}

    def close(self) -> None:
        """Leave the scheduler, which forgets what it was given."""
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

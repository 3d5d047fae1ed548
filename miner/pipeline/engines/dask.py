"""Dask: units over the workers of a scheduler. Here and in `dask_submit` distributed is imported.

The scheduler runs at `engine.address`, with workers on this machine or on many that see the same
folders; or else a cluster of our own is started on this machine's loopback, and ended with the run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import dask.config
import distributed
from threadpoolctl import threadpool_limits

from miner.errors import EngineError, UsageError
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import Call, Done, Engine, R, U
from miner.pipeline.engines.dask_submit import Submitted, able_workers, nobody
from miner.storage.scratch import scratch_folder
from miner.version import package_versions

__all__ = ["Dask"]

for _name in ("distributed", "distributed.client", "tornado.application"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # what ends a run is said once, by us

_TICK = 0.5
"""Seconds between two looks at a scheduler from which nothing comes."""
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by workers of our own: Ctrl-C in a terminal reaches them too, and it is we who end them."""
_LEAVE = 5.0
"""Seconds that ending takes at most, where the other side does not answer."""


@dataclass(frozen=True)
class _DaskCall(Call[U, R]):
    """A function as Dask's workers call it, where they run the same programs as we do."""

    versions: dict[str, str | None]

    def __call__(self, unit: U) -> Done[R]:
        """Do a unit."""
        here = package_versions()
        for name, version in self.versions.items():
            if here[name] != version:
                raise EngineError(
                    f"engine dask: worker {self.worker()} has {name} {here[name]}, not {version} "
                    "as here; install the same there, so that it writes the same bytes"
                )
        _limit_for_good()
        return super().__call__(unit)

    def worker(self) -> str:
        """Name the worker as Dask does."""
        return str(distributed.get_worker().name)


@functools.cache
def _limit_for_good() -> None:
    """Give BLAS one thread in this worker, as workers with a nanny have from the start.

    A worker may do several units at once, in threads: the first to end must not lift the limit.
    """
    threadpool_limits(limits=1, user_api="blas")


class Dask(Engine):
    """The workers of a scheduler at `engine.address`, or else of a cluster of our own."""

    takes_address: ClassVar[bool] = True

    def __init__(self, job: EngineJob, argument: str) -> None:
        super().__init__(job, argument)
        if job.address is not None and not re.fullmatch(r"\w+://[^/\s]+:\d+", job.address):
            raise UsageError(f"engine.address = {job.address!r} is not of the form tcp://HOST:PORT")
        self._client: Any = None
        self._cluster: Any = None
        self._scratch = contextlib.ExitStack()
        self._threads: dict[str, int] = {}

    @property
    def workers(self) -> int:
        """As the job says, or all that the scheduler has; of our own, one a core."""
        if self.job.address is None:
            return self.job.workers or int(distributed.system.CPU_COUNT)
        there = sum(self._threads.values()) or 1
        return min(self.job.workers or there, there)

    @property
    def per_machine(self) -> int:
        """Threads of the machine that has most."""
        return max(self._by_machine(self._threads).values(), default=self.workers)

    @property
    def processes(self) -> int:
        """Workers of the machine that has most."""
        ones = dict.fromkeys(self._threads, 1)
        return max(self._by_machine(ones).values(), default=self.workers)

    @staticmethod
    def _by_machine(numbers: dict[str, int]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for address, number in numbers.items():
            host = address.rpartition(":")[0]
            sums[host] = sums.get(host, 0) + number
        return sums

    def __enter__(self) -> Engine:
        """Connect to the scheduler, if it is not ours: it must be there before long work."""
        if self.job.address is not None:
            try:
                self._connect(self.job.address)
                self._threads = self._wait()
            except BaseException:
                self.close()
                raise
        return self

    def _connect(self, target: Any) -> None:
        try:
            self._client = distributed.Client(
                target, timeout=self.job.patience, set_as_default=False, name="mine"
            )
        except (OSError, ValueError) as error:
            raise EngineError(
                f"engine dask: no scheduler answers at {self.job.address}; start one "
                "(`dask scheduler`), or correct engine.address"
            ) from error

    def _wait(self) -> dict[str, int]:
        """Return the threads of the workers by address, as soon as there is a worker."""
        deadline = time.monotonic() + self.job.patience
        while True:
            found = able_workers(self._client, self.job.patience)
            if found:
                return found
            if time.monotonic() > deadline:
                raise EngineError(nobody(self.job))
            time.sleep(_TICK / 5)

    def _started(self) -> Any:
        """Return the client; start a cluster of our own when it is first needed."""
        if self._client is None:
            given = dask.config.get("distributed.worker.preload")
            folder = self._scratch.enter_context(scratch_folder("mine-dask-"))
            self._cluster = distributed.LocalCluster(
                n_workers=0,  # it would wait for ever for workers that cannot start
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=0,  # mining.memory bounds it; memory-mapped vectors are no burden
                local_directory=str(folder),
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={"allowed_failures": 1, "dashboard": False},
                preload=[*([given] if isinstance(given, str) else given), _DEAF],
            )
            self._connect(self._cluster)
            self._cluster.scale(self.workers)
            self._wait()
        return self._client

    def call(self, function: Any) -> Call[Any, Any]:
        """Wrap a function for workers, which must have the same versions of all that counts."""
        return _DaskCall(function, True, package_versions())

    def spread(self, call: Call[U, R], units: list[U]) -> Iterator[Done[R]]:
        """Submit units as workers get free; see `Submitted`."""
        client = self._started()
        there = sum(self._threads.values()) or self.workers
        submitted = Submitted(client, call, list(enumerate(units)), self.job, there)
        try:
            yield from submitted.run()
        finally:
            self.lost += submitted.lost

    def facts(self) -> dict[str, Any]:
        """Say where the scheduler is, too."""
        return {**super().facts(), "address": self.job.address}

    def close(self) -> None:
        """Leave the scheduler, which forgets what it was given; end a cluster of our own."""
        client, cluster = self._client, self._cluster
        self._client = self._cluster = None
        for one in (client, cluster):
            if one is not None:
                with contextlib.suppress(OSError):  # TimeoutError is one
                    one.close(timeout=_LEAVE)
        self._scratch.close()

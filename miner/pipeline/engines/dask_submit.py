"""Units that were submitted to a scheduler of Dask: which wait, which are out, which are suspected.

joblib's own backend for Dask hangs for ever when a unit keeps killing its worker, so units are
submitted one by one here. A worker that dies costs nothing: the scheduler gives its units to
another one. What it gives up on is done again alone before it is called poison, for it blames the
neighbours of a poisonous unit too.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import distributed

from miner.errors import EngineError
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import Call, Done

__all__ = ["Submitted", "able_workers", "nobody"]

_TICK = 0.5
"""Seconds between two looks at a scheduler from which nothing comes."""
_GRACE = 3.0
"""Seconds in which a lost connection to the scheduler may come back."""
_AHEAD = 2
"""Units that are submitted for each that is done at once: no worker waits for the next."""
_AGAIN = 3
"""Times that a unit is submitted again of which nothing is known any more."""


def nobody(job: EngineJob) -> str:
    """Say that there is no worker, and what to do."""
    where = f" at {job.address}" if job.address else ""
    remedy = "start workers (`dask worker`)" if job.address else "look at memory and the machine"
    return (
        f"engine dask: no worker{where} for {job.patience:g} s (engine.patience); {remedy}; the "
        "same command goes on from here"
    )


def able_workers(client: Any, patience: float) -> dict[str, int]:
    """Return the threads of the workers that take units, by address.

    Raises
    ------
    EngineError
        When the scheduler does not answer.
    """
    began, facts = time.monotonic(), None
    while facts is None:
        lost = client.status != "running"
        if time.monotonic() - began > (min(_GRACE, patience) if lost else patience):
            raise EngineError(
                "engine dask: the scheduler is gone, or does not answer; start it and its workers "
                "again; the same command goes on from here"
            )
        if lost:  # it may come back; asking would wait for as long as the client does
            time.sleep(_TICK / 5)
            continue
        with contextlib.suppress(OSError):  # TimeoutError is one
            facts = client.sync(client.scheduler.identity, callback_timeout=min(_GRACE, patience))
    return {
        address: int(worker["nthreads"])
        for address, worker in facts["workers"].items()
        if worker["status"] == "running" or worker["metrics"].get("executing", 0)
    }


@dataclass
class _Flight:
    """A unit that was submitted."""

    number: int
    unit: Any
    future: Any
    alone: bool


class Submitted:
    """One pass over units.

    Parameters
    ----------
    client : distributed.Client
    call : Call
        What workers do with a unit.
    units : list of (number, unit)
    job : EngineJob
    there : int
        Threads that the scheduler's workers have.
    """

    def __init__(
        self, client: Any, call: Call[Any, Any], units: list[Any], job: EngineJob, there: int
    ) -> None:
        self.lost = 0
        self._client, self._call, self._job = client, call, job
        self._most = self._at_once(there)
        self._name = f"mine-{uuid.uuid4().hex[:8]}"
        self._waiting: deque[tuple[int, Any]] = deque(units)
        self._suspects: list[tuple[int, Any]] = []
        self._flying: dict[str, _Flight] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._again: dict[int, int] = {}
        self._workers: set[str] = set()
        self._looked, self._seen = 0.0, time.monotonic()

    def _at_once(self, there: int) -> int:
        """Return how many units to submit: no more than the job wants to be done at once."""
        wanted = self._job.workers
        return wanted if 0 < wanted < there else _AHEAD * there

    def run(self) -> Iterator[Done[Any]]:
        """Yield what units give, until all are done; whatever ends it, nothing stays queued."""
        try:
            while self._waiting or self._suspects or self._flying:
                if time.monotonic() - self._looked > _TICK:
                    self._watch()
                self._submit()
                flight = self._next()
                done = self._result(flight) if flight else None
                if done is not None:
                    yield done
        finally:
            for flight in self._flying.values():
                flight.future.release()

    def _submit(self) -> None:
        """Keep the workers busy; while some unit is suspected, do one at a time of those."""
        if self._suspects:
            if not self._flying:
                self._fly(*heapq.heappop(self._suspects), alone=True)  # as without a fault
            return
        while self._waiting and len(self._flying) < self._most:
            self._fly(*self._waiting.popleft(), alone=False)

    def _fly(self, number: int, unit: Any, *, alone: bool) -> None:
        key = f"{self._name}-{number}-{uuid.uuid4().hex[:8]}"
        future = self._client.submit(self._call, unit, key=key, pure=False)
        self._flying[key] = _Flight(number, unit, future, alone)
        future.add_done_callback(self._landed.put)

    def _next(self) -> _Flight | None:
        """Take what landed; None when nothing does for a while."""
        try:
            future = self._landed.get(timeout=_TICK)
        except queue.Empty:
            return None
        return self._flying.pop(future.key, None)

    def _watch(self) -> None:
        """Look whether the scheduler answers, and whether it has workers."""
        self._looked = time.monotonic()
        threads = able_workers(self._client, self._job.patience)
        self.lost += len(self._workers - threads.keys())
        self._workers = set(threads)
        if threads:
            self._seen = time.monotonic()
            self._most = self._at_once(sum(threads.values()))
        elif time.monotonic() - self._seen > self._job.patience:
            raise EngineError(nobody(self._job))

    def _result(self, flight: _Flight) -> Done[Any] | None:
        """Return what a unit gave, and let it go; None when it has to be done again."""
        try:
            return self._given(flight)
        finally:
            flight.future.release()

    def _given(self, flight: _Flight) -> Done[Any] | None:
        status = flight.future.status
        if status == "error":
            error = flight.future.exception()
            if not isinstance(error, distributed.KilledWorker):
                raise _told(error)
            self._suspect(flight, error)
            return None
        try:
            if status == "finished":
                done: Done[Any] = flight.future.result(timeout=self._job.patience)
                return done
        except (OSError, distributed.CancelledError):  # its worker died before it was asked
            pass
        except distributed.KilledWorker as error:
            self._suspect(flight, error)
            return None
        self._watch()
        self._again[flight.number] = self._again.get(flight.number, 0) + 1
        if self._again[flight.number] > _AGAIN:
            raise EngineError(
                "engine dask: the scheduler keeps forgetting a unit; look at its log; the same "
                "command goes on from here"
            )
        self._waiting.appendleft((flight.number, flight.unit))
        return None

    def _suspect(self, flight: _Flight, error: BaseException) -> None:
        """Take note of a unit on which the scheduler gave up; alone on it, it is to blame."""
        if flight.alone:
            raise EngineError(
                f"engine dask: a unit keeps killing its worker, alone too: {flight.unit} (out of "
                "memory? lower mining.memory, or give workers more); the same command goes on "
                "from here"
            ) from error
        heapq.heappush(self._suspects, (flight.number, flight.unit))


def _told(error: BaseException) -> BaseException:
    """Return the error of a unit, which is that of the run; only what workers lack is put so."""
    if isinstance(error, ImportError):
        return EngineError(
            f"engine dask: a worker cannot import what it needs ({error}); install this package "
            "there, in the same version"
        )
    return error

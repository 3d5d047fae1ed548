"""The lease of an output root in object storage, which ensures a single writer.

A lease is an object ``.lease/NUMBER.json``. A process takes the lease by creating the object with
the next number; only one process can create it. The holder rewrites its object while it works. A
lease is free if its holder released it, if it was not renewed for the number of seconds it states,
or if its holder ran in the work folder whose lock this process now holds, so that the holder must
be dead. Ages are measured by the store's clock. A holder that was wrongly taken for dead finds a
higher number and stops; what it has uploaded is not visible.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from miner.errors import LockError, StorageError
from miner.formatting import seconds_text
from miner.storage.files import storage_errors
from miner.storage.json_files import canonical_json, write_json
from miner.storage.locks import LONGEST_WAIT, Say, say_nothing
from miner.storage.remote.base import Entry, Folder

__all__ = ["SECONDS", "Lease", "held_lease"]

SECONDS = 120
"""Seconds until a lease that is not renewed expires; it is renewed every quarter of this time."""
_GRACE = 2  # seconds; stores round times to whole seconds
_TRIES = 5
_LONGEST = 86400
"""Longest duration in seconds that is accepted from a lease: anything may have written it."""
_PLACE = ".lease/"
_LOOK = 1.0
"""Seconds between two reads of the lease of a brief holder."""


class _BriefError(LockError):
    """Raised when the holder of the lease is brief: not a run."""


class Lease:
    """The lease of one output root; call `acquire` first."""

    def __init__(
        self, folder: Folder, work: str, seconds: float = SECONDS, *, brief: bool = False
    ) -> None:
        self.folder = folder
        self.seconds = seconds
        self.number = 0
        self.lost = False
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._facts: dict[str, Any] = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "work": work,
            "token": uuid.uuid4().hex,
            "seconds": seconds,
            "brief": brief,
            "renewed": 0,
            "released": False,
        }

    def acquire(self, say: Say = say_nothing) -> None:
        """Take the lease; wait for a holder that is brief, and `say` so.

        Raises
        ------
        LockError
            If another run holds it; the message names that process.
        """
        until = time.monotonic() + LONGEST_WAIT
        said = False
        while True:
            try:
                return self._acquire()
            except _BriefError as busy:
                if time.monotonic() > until:
                    raise
                if not said:
                    say(f"waiting while it is being pruned: {busy}")
                said = True
            time.sleep(_LOOK)

    def _acquire(self) -> None:
        for _ in range(_TRIES):
            leases = self._leases()
            newest = max(leases, default=0)
            if newest:
                self._refuse_unless_free(leases[newest])
            self.number = newest + 1
            if self.folder.create(self._name, canonical_json(self._facts)):
                break
        else:
            raise LockError(f"{self.folder.url} is taken by others again and again; try later")
        leases = self._leases()
        self.folder.remove(leases[number].name for number in leases if number < self.number)

    def renew(self) -> None:
        """Renew the lease; set `lost` if another process has taken it."""
        with self._guard:
            self.lost = self.lost or max(self._leases(), default=0) != self.number
            if not self.lost:
                self._facts["renewed"] += 1
                self.folder.write(self._name, canonical_json(self._facts))

    def check(self) -> None:
        """Renew the lease, and check that this process still holds it.

        Raises
        ------
        LockError
            If another process has taken it.
        """
        self.renew()
        if self.lost:
            raise LockError(
                f"{self.folder.url} was taken over by another run, as this one did not answer for "
                f"{self.seconds:g} s; what was finished is kept for the next start"
            )

    def keep(self) -> None:
        """Renew the lease until `release` is called; runs in a thread."""
        while not self.lost and not self._stop.wait(self.seconds / 4):
            with contextlib.suppress(StorageError):  # the next renewal or `check` reports it
                self.renew()

    def release(self) -> None:
        """Release the lease. The object is kept, so that no number is used twice."""
        self._stop.set()
        with contextlib.suppress(StorageError):  # the lease then expires
            self._facts["released"] = True
            self.renew()

    def _refuse_unless_free(self, newest: Entry) -> None:
        facts = self._read(newest)
        if facts is None or facts.get("released") is True:
            return
        ours = (self._facts["host"], self._facts["work"])
        if (facts.get("host"), facts.get("work")) == ours:
            return
        lasts = facts.get("seconds")
        if not isinstance(lasts, int | float) or not 0 <= lasts <= _LONGEST:  # also NaN
            lasts = SECONDS
        age = self.folder.now() - newest.modified
        if age <= lasts + _GRACE:
            kind = _BriefError if facts.get("brief") is True else LockError
            raise kind(
                f"{self.folder.url} is in use by process {facts.get('process')} on "
                f"{facts.get('host')}, which was alive {seconds_text(max(age, 0))} ago (if it is "
                f"dead, the output is free after {lasts:g} s); wait, or use --out"
            )

    def _read(self, entry: Entry) -> dict[str, Any] | None:
        """Return a lease's facts, or None if it was removed because a newer lease exists."""
        content = self.folder.read(entry.name)
        if content is None:
            return None
        try:
            facts = json.loads(content)
        except (ValueError, RecursionError):
            facts = None
        return facts if isinstance(facts, dict) else {}

    def _leases(self) -> dict[int, Entry]:
        """Return the existing leases by number."""
        names = {
            entry.name.removeprefix(_PLACE).removesuffix(".json"): entry
            for entry in self.folder.entries(_PLACE)
        }
        return {int(name): entry for name, entry in names.items() if name.isdecimal()}

    @property
    def _name(self) -> str:
        return f"{_PLACE}{self.number:08d}.json"


@contextlib.contextmanager
def held_lease(
    folder: Folder, root: Path, *, brief: bool = False, say: Say = say_nothing
) -> Iterator[Lease]:
    """Hold the lease of an output root.

    Parameters
    ----------
    folder : Folder
        The output root.
    root : Path
        The local work folder of the output root; the caller holds its lock.
    brief, say
        As for `miner.storage.locks.lock_output`.

    Raises
    ------
    LockError
        If another process holds it.
    """
    lease = Lease(folder, _work_id(root), SECONDS, brief=brief)
    lease.acquire(say)
    thread = threading.Thread(target=lease.keep, name="mine-lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.release()
        thread.join()


def _work_id(root: Path) -> str:
    """Return the id of this work folder, which no work folder on another machine has."""
    path = root / ".work.json"
    with storage_errors(path):
        try:
            known = json.loads(path.read_bytes())["id"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            known = None  # the file does not exist yet, or is damaged
        if not isinstance(known, str):
            known = uuid.uuid4().hex
            write_json(path, {"id": known})
        return known

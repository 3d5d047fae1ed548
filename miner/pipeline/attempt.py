"""One start of a batch job: what is known of it, however it ends."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from miner.errors import MineError, StorageError
from miner.progress import Clock
from miner.storage.os_errors import NO_MEMORY, from_os_error, lacks_memory

__all__ = ["Attempt", "Ending", "Settled", "failure", "peak_rss"]

Event = Literal["done", "already_mined", "failed", "interrupted", "terminated"]
_STATUS = Path("/proc/self/status")


@dataclass(slots=True)
class Attempt:
    """A start of ``mine run``, filled in as it goes on.

    Attributes
    ----------
    out : str or None
        The output root, once the job is read.
    metrics : Path or None
        Where its metrics are written, if not in the output root.
    run_id : str or None
        Of the run that it works on, or found finished.
    mined : bool
        Whether there was anything to do.
    unreported : str
        Why the run has no report; empty when it has one, or none was wanted.
    gates : dict
        Of each gate that was looked at: what was measured, and the job's bound.
    began : float
        By a clock that nobody sets.
    clock : Clock
        Seconds per stage, of one that failed too.
    """

    out: str | None = None
    metrics: Path | None = None
    run_id: str | None = None
    mined: bool = True
    unreported: str = ""
    gates: dict[str, tuple[float, float]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    clock: Clock = field(default_factory=Clock)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began


@dataclass(frozen=True, slots=True)
class Ending:
    """How a start ended: the event of the log, the exit code, and what the user is told."""

    event: Event
    code: int
    message: str = ""


def failure(error: Exception, hint: str) -> Ending:
    """Return how an error ends a start.

    Parameters
    ----------
    error : Exception
    hint : str
        What is added where the error is a defect of ours.
    """
    known = isinstance(error, StorageError) and isinstance(error.__cause__, MemoryError)
    if lacks_memory(error) and not known:  # what is known says more
        return Ending("failed", 6, NO_MEMORY)
    if isinstance(error, MineError):
        return Ending("failed", error.exit_code, str(error))
    if isinstance(error, FileNotFoundError) and not _stands_somewhere():
        return Ending("failed", 2, "the current folder was removed; go to another one")
    if isinstance(error, OSError):
        return Ending("failed", 6, str(from_os_error(error)))
    return Ending("failed", 1, f"{type(error).__name__}: {error}{hint}")


def _stands_somewhere() -> bool:
    """Whether the current folder is still there."""
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class Settled:
    """What an ended start left.

    Attributes
    ----------
    latest : str or None
        The run that ``latest`` names now.
    words : str
        The same in a sentence.
    warning : str
        Why the metrics were not written; empty when they were.
    """

    latest: str | None
    words: str
    warning: str = ""


def peak_rss() -> int:
    """Return the peak resident memory of this process and of its largest worker, in bytes."""
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return max(_own_peak(unit), largest * unit)


def _own_peak(unit: int) -> int:
    """Return this process' peak; on Linux its `ru_maxrss` begins at what its parent had."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

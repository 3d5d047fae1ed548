"""The facts of one start of a job, how it ended, and the peak memory of the process."""

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

__all__ = ["Attempt", "Ending", "RunClosure", "failure", "peak_rss"]

Event = Literal["done", "already_mined", "failed", "interrupted", "terminated"]
_STATUS = Path("/proc/self/status")


@dataclass(slots=True)
class Attempt:
    """A start of ``mine run``; the attributes are filled while the run proceeds.

    Attributes
    ----------
    out : str or None
        The output root; None until the job is read.
    metrics : Path or None
        The path of the metrics, if it is not in the output root.
    run_id : str or None
        The id of the run in progress, or of the finished run that was found.
    mined : bool
        Whether there was anything to do.
    unreported : str
        Why the run has no report; empty if it has one, or if the job asks for none.
    gates : dict
        The measured value and the bound of each gate that was checked.
    began : float
        Start time, by the monotonic clock.
    clock : Clock
        Seconds per stage, also of a stage that failed.
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
        """Seconds since the start."""
        return time.monotonic() - self.began


@dataclass(frozen=True, slots=True)
class Ending:
    """How a start ended: the event of the log, the exit code, and the message to the user."""

    event: Event
    code: int
    message: str = ""


def failure(error: Exception, hint: str) -> Ending:
    """Return the ending of a start that failed with `error`.

    Parameters
    ----------
    error : Exception
    hint : str
        Text added to the message of an internal error.
    """
    known = isinstance(error, StorageError) and isinstance(error.__cause__, MemoryError)
    if lacks_memory(error) and not known:  # the message of a known error says more
        return Ending("failed", 6, NO_MEMORY)
    if isinstance(error, MineError):
        return Ending("failed", error.exit_code, str(error))
    if isinstance(error, FileNotFoundError) and not _has_current_folder():
        return Ending("failed", 2, "the current folder was removed; go to another one")
    if isinstance(error, OSError):
        return Ending("failed", 6, str(from_os_error(error)))
    return Ending("failed", 1, f"{type(error).__name__}: {error}{hint}")


def _has_current_folder() -> bool:
    """Whether the current folder still exists."""
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


@dataclass(frozen=True, slots=True)
class RunClosure:
    """The result of `settle`.

    Attributes
    ----------
    latest : str or None
        The run that ``latest`` names now.
    words : str
        A sentence that says so.
    warning : str
        Why the metrics were not written; empty if they were.
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
    """Return the peak of this process; on Linux `ru_maxrss` starts at the parent's peak."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

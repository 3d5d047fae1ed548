"""One start of a batch job: what is known of it, however it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from miner.progress import Clock

__all__ = ["Attempt", "Ending", "Settled"]

Event = Literal["done", "already_mined", "failed", "interrupted", "terminated"]


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


@dataclass(frozen=True, slots=True)
class Settled:
    """What an ended start left.

    Attributes
    ----------
    latest : str or None
        The run that ``latest`` names now.
    words : str
        The same in words.
    warning : str
        Why the metrics were not written; empty when they were.
    """

    latest: str | None
    words: str
    warning: str = ""

"""Signals that end a command: the first lets it record what is done, the second ends it at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from types import FrameType
from typing import Any

__all__ = ["Signalled", "Signals"]

_SAME = 0.5
"""Seconds in which a signal that comes again is the same one: `timeout` sends it to the process,
and then to the group that the process is in."""


class Signalled(BaseException):
    """A signal arrived. Of KeyboardInterrupt click would make an empty line in the log."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Hears SIGTERM, and SIGINT unless the command was started deaf to it, in the background.

    Used as a context: what was there before hears them afterwards.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._last_chance = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if number == signal.SIGTERM or before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._heard)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def settling(self) -> None:
        """Let any signal end the process at once: there is nothing left to be recorded."""
        self._last_chance = True

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if multiprocessing.parent_process() is not None:  # a forked worker has inherited this
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            os._exit(128 + number)
        now = time.monotonic()
        if self._first is not None and now - self._first < _SAME:
            return
        if self._first is not None or self._last_chance:
            os._exit(128 + number)
        self._first = now
        raise Signalled(number)

"""Signals that end a command: after the first it records its work, the second ends it at once.

Python calls a handler only when the main thread returns to Python code, which a loop in C may never
do. So a thread counts the signals: Python's C handler, which works at any time, writes each signal
to a pipe.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

__all__ = ["Signalled", "Signals"]

_SAME = 0.5
"""Seconds within which a repeated signal counts as the same one: `timeout` sends it to the process,
and then to the group of the process."""
_STOP = b"\0"

# Signals of a forked process must not be counted as signals of its parent.
os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


class Signalled(BaseException):
    """A signal arrived. Not a KeyboardInterrupt, because click prints an empty line for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """A context that handles SIGTERM, and SIGINT unless the process was started ignoring it.

    A shell starts background commands with SIGINT ignored. The previous handlers are restored at
    the end.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._raised = False
        self._last_chance = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        watcher = threading.Thread(
            target=self._watch, args=(reader,), name="mine-signals", daemon=True
        )
        watcher.start()
        self._woken_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if number == signal.SIGTERM or before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._heard)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._woken_before)
        with contextlib.suppress(OSError):  # closing stops the watcher too
            os.write(self._writer, _STOP)
        os.close(self._writer)

    def settling(self) -> None:
        """Let the next signal end the process at once, because all work is recorded."""
        self._last_chance = True

    def _heard(self, number: int, frame: FrameType | None) -> None:
        """Raise `Signalled` in the main thread at the first signal; the watcher counts all."""
        if multiprocessing.parent_process() is not None:  # a forked worker inherits this handler
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            os._exit(128 + number)
        if not (self._raised or self._last_chance):
            self._raised = True
            raise Signalled(number)

    def _watch(self, reader: int) -> None:
        """Count the signals that arrive, in a thread, until the context ends."""
        with open(reader, "rb", buffering=0) as arrived:
            while (byte := arrived.read(1)) not in (_STOP, b""):
                if byte[0] in self._before:
                    self._arrived(byte[0])

    def _arrived(self, number: int) -> None:
        now = time.monotonic()
        # On a busy machine, this thread may read the first signal after `settling`.
        if self._first is None and (self._raised or not self._last_chance):
            self._first = now
        elif self._first is None or now - self._first >= _SAME:
            os._exit(128 + number)

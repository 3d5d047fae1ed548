"""Progress callbacks, a bar that shows them, warnings about damage, and the durations of stages."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from miner.formatting import LINE_WIDTH, bytes_text, seconds_text

__all__ = ["Clock", "Progress", "ProgressBar", "showing", "silent", "warn_damaged"]

_log = logging.getLogger(__name__)

_EVERY, _REDRAWN = 30.0, 0.05
"""Seconds between two lines about the same stage where there is no bar, and between two bars."""
_BYTES = frozenset({"uploading", "fetching"})
"""Stages that count bytes; other stages count rows, anchors or triplets."""
_SURE = 0.5
"""Seconds of work after the first unit until a rate is shown."""
_LEAST, _MOST = 8, 30
"""Letters of a bar."""
_COLOUR, _PLAIN = "\x1b[36m", "\x1b[0m"

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the amount that is done, and the total."""


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress; a `Progress` for callers that report none."""


def warn_damaged(message: str) -> None:
    """Log a warning that a damaged file was found and is made again."""
    facts = {"event": "damaged", "message": message}
    _log.warning("%s", message, extra={"facts": facts})


@dataclass(slots=True)
class Clock:
    """Measures the seconds that each stage takes."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; log when it begins and when it is done."""
        began = time.perf_counter()
        _log.info("stage_started", extra={"facts": {"stage": name}})
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - began, 3)
        facts = {"stage": name, "seconds": self.seconds[name]}
        _log.info("stage_done", extra={"facts": facts})


@contextmanager
def showing(progress: Progress | bool | None) -> Iterator[Progress]:
    """Yield the callback that a caller of `miner.mine` asked for.

    Parameters
    ----------
    progress : callable, bool or None
        None shows a bar in a terminal and in a notebook, and nothing elsewhere; True shows progress
        everywhere, and False nowhere.
    """
    if callable(progress):
        yield progress
        return
    wanted = _has_bar() if progress is None else progress
    bar = ProgressBar(quiet=not wanted)
    try:
        yield bar
    finally:
        bar.close()


def _has_bar() -> bool:
    """Whether stderr is a terminal or the output of a notebook, where a line can be replaced."""
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")


class ProgressBar:
    """Shows a bar for each stage in a terminal, otherwise a line at its start and every 30 s.

    Parameters
    ----------
    quiet : bool
        Whether to print nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._drawn = False
        self._first = 0
        self._spoke = 0.0
        self._mark: tuple[float, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show the progress of a stage; a total of 0 means that the total is unknown."""
        if self._quiet:
            return
        if stage != self._stage:
            self.close()
            self._stage, self._first = stage, done
            self._mark, self._spoke = None, time.monotonic()
            self._drawn = bool(total) and _has_bar()
            if not self._drawn:
                _say(f"mine: {stage}\n")
        if self._mark is None and done > self._first:
            self._mark = time.monotonic(), done
        if self._drawn and (done in (self._first, total) or time.monotonic() > self._spoke):
            self._spoke = time.monotonic() + _REDRAWN
            _say(f"\r{_bar(stage, done, total, self._words(done, total))}")
        if not self._drawn and 0 < total > done and time.monotonic() - self._spoke > _EVERY:
            self._spoke = time.monotonic()
            _say(f"mine: {stage}: {self._words(done, total)}\n")

    def _words(self, done: int, total: int) -> str:
        """Return the amount done and, once the rate is known, the rate and the time left."""
        in_bytes = self._stage in _BYTES
        amounts = (bytes_text(done), bytes_text(total)) if in_bytes else (f"{done:,}", f"{total:,}")
        words, rate = " of ".join(amounts), self._rate(done)
        if not rate:
            return words
        speed = bytes_text(rate) if in_bytes else _short(rate)
        left = f", {seconds_text((total - done) / rate)} left" if done < total else ""
        return f"{words}, {speed}/s{left}"

    def _rate(self, done: int) -> float:
        """Return the amount done in a second, or 0.0 while it is unknown.

        The clock starts when the first unit is complete, because the time before includes loading
        the model, compiling loops and starting workers. Work of an earlier start is not counted.
        """
        if self._mark is None:
            return 0.0
        began, first = self._mark
        seconds = time.monotonic() - began
        return (done - first) / seconds if seconds >= _SURE else 0.0

    def close(self) -> None:
        """Finish the current bar."""
        if self._drawn:
            _say("\n")
            self._drawn = False


def _bar(stage: str, done: int, total: int, words: str) -> str:
    """Return a line of a terminal: the stage, a bar as wide as the words allow, and the words."""
    columns = LINE_WIDTH if _in_notebook() else os.get_terminal_size(sys.stderr.fileno()).columns
    room = (columns or LINE_WIDTH) - len(f"{stage:<9}  []  {words}") - 1
    length = min(max(room, _LEAST), _MOST)
    full = length * min(done, total) // total
    drawn = "#" * full
    if full and _has_colour():
        drawn = f"{_COLOUR}{drawn}{_PLAIN}"
    line = f"{stage:<9}  [{drawn}{'-' * (length - full)}]  {words}"
    return line + " " * max(room - length, 0)  # covers a longer line before


def _has_colour() -> bool:
    """Whether a bar has a colour: see https://no-color.org."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and sys.stderr.isatty()


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"

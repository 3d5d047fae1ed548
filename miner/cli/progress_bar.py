"""How far a run is, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from miner.formatting import bytes_text, seconds_text

__all__ = ["Progress"]

_EVERY = 30.0
"""Seconds between the lines of a stage where there is no terminal."""
_BYTES = frozenset({"uploading", "fetching"})
"""Stages whose numbers are bytes; those of the others are rows, anchors or triplets."""
_SURE = 0.5
"""Seconds of work after the first unit from which a rate is stated."""


class Progress:
    """A bar a stage in a terminal; elsewhere a line a stage, and one every half minute.

    Parameters
    ----------
    quiet : bool
        Say nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: Any = None
        self._shown = self._first = 0
        self._spoke = 0.0
        self._mark: tuple[float, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of what is done of a stage; a total of 0 is one of unknown length."""
        if self._quiet:
            return
        if stage != self._stage:
            self._begin(stage, done, total)
        if self._mark is None and done > self._first:
            self._mark = time.monotonic(), done
        if self._bar is not None:
            self._bar.update(done - self._shown, self._words(done, total))
            self._shown = done
        elif total and done < total and time.monotonic() - self._spoke > _EVERY:
            self._spoke = time.monotonic()
            click.echo(f"mine: {stage}: {self._words(done, total)}", err=True)

    def _begin(self, stage: str, done: int, total: int) -> None:
        self.close()
        self._stage, self._shown, self._first = stage, 0, done
        self._mark, self._spoke = None, time.monotonic()
        if sys.stderr.isatty() and total:
            self._bar = click.progressbar(
                length=total,
                label=f"{stage:<9}",
                file=sys.stderr,
                width=0,  # what the words leave of the line: one that is too long breaks into many
                show_eta=False,
                show_percent=False,
                item_show_func=lambda words: words,
            )
            self._bar.__enter__()
        else:
            click.echo(f"mine: {stage}", err=True)

    def _words(self, done: int, total: int) -> str:
        """Return how much is done and, once the rate is known, the rate and the time left."""
        in_bytes = self._stage in _BYTES
        amounts = (bytes_text(done), bytes_text(total)) if in_bytes else (f"{done:,}", f"{total:,}")
        words, rate = " of ".join(amounts), self._rate(done)
        if not rate:
            return words
        speed = bytes_text(rate) if in_bytes else _short(rate)
        left = f", {seconds_text((total - done) / rate)} left" if done < total else ""
        return f"{words}, {speed}/s{left}"

    def _rate(self, done: int) -> float:
        """Return what is done a second, 0.0 while that is unknown.

        The clock starts when the first unit is complete: until then the loops are compiled, the
        model is loaded and the workers start, which the units after it do not repeat. Work of an
        earlier start is not counted either.
        """
        if self._mark is None:
            return 0.0
        began, first = self._mark
        seconds = time.monotonic() - began
        return (done - first) / seconds if seconds >= _SURE else 0.0

    def close(self) -> None:
        """Finish the bar at hand."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"

"""Show the progress of a run on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from miner.formatting import bytes_text, seconds_text

__all__ = ["Progress"]

_EVERY = 30.0
"""Seconds between two lines about the same stage if stderr is not a terminal."""
_BYTES = frozenset({"uploading", "fetching"})
"""Stages that count bytes; other stages count rows, anchors or triplets."""
_SURE = 0.5
"""Seconds of work after the first unit until a rate is shown."""


class Progress:
    """Shows a bar for each stage in a terminal, otherwise a line at its start and every 30 s.

    Parameters
    ----------
    quiet : bool
        Whether to print nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: Any = None
        self._shown = self._first = 0
        self._spoke = 0.0
        self._mark: tuple[float, int] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show the progress of a stage; a total of 0 means that the total is unknown."""
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
                width=0,  # as wide as the text allows: a longer line would wrap
                show_eta=False,
                show_percent=False,
                item_show_func=lambda words: words,
            )
            self._bar.__enter__()
        else:
            click.echo(f"mine: {stage}", err=True)

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
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"

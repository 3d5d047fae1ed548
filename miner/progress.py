"""How far a run is, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

__all__ = ["Progress"]

_EVERY = 30.0
"""Seconds between the lines of a stage where there is no terminal."""


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
        self._shown = 0
        self._began = self._spoke = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of what is done of a stage; a total of 0 is one of unknown length."""
        if self._quiet:
            return
        if stage != self._stage:
            self._begin(stage, total)
        if self._bar is not None:
            self._bar.update(done - self._shown, self._rate(done))
            self._shown = done
        elif total and done < total and time.monotonic() - self._spoke > _EVERY:
            self._spoke = time.monotonic()
            left = (self._spoke - self._began) * (total - done) / max(done, 1)
            click.echo(
                f"mine: {stage}: {done:,} of {total:,}, {self._rate(done)}, {left:,.0f} s left",
                err=True,
            )

    def _begin(self, stage: str, total: int) -> None:
        self.close()
        self._stage, self._shown = stage, 0
        self._began = self._spoke = time.monotonic()
        if sys.stderr.isatty() and total:
            self._bar = click.progressbar(
                length=total,
                label=f"{stage:<17}",
                file=sys.stderr,
                show_pos=True,
                item_show_func=lambda rate: rate,
            )
            self._bar.__enter__()
        else:
            click.echo(f"mine: {stage}", err=True)

    def _rate(self, done: int) -> str:
        rate = done / max(time.monotonic() - self._began, 1e-3)
        return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"

    def close(self) -> None:
        """Finish the bar at hand."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

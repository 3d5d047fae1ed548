"""Warnings of the package, a line each on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from miner.formatting import short_message
from miner.storage.urls import url_name

__all__ = ["warning_lines"]


class _Lines(logging.Handler):
    """Prints a record as a line; stderr is that of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        click.echo(f"mine: warning: {short_message(url_name(record.getMessage()))}", err=True)


@contextmanager
def warning_lines() -> Iterator[None]:
    """Print what the package warns of, whether or not a command is quiet."""
    handler, log = _Lines(logging.WARNING), logging.getLogger("miner")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)

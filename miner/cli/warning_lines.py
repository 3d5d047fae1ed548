"""Print the warnings of the package to stderr, one line each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from miner.formatting import short_message
from miner.storage.urls import url_name

__all__ = ["warning_lines"]


class _Lines(logging.Handler):
    """Prints a log record as one line to the current ``sys.stderr``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record."""
        click.echo(f"mine: warning: {short_message(url_name(record.getMessage()))}", err=True)


@contextmanager
def warning_lines() -> Iterator[None]:
    """Print the warnings of the package during the block, also with ``--quiet``."""
    handler, log = _Lines(logging.WARNING), logging.getLogger("miner")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)

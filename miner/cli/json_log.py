"""The log as JSON lines: one object a line on stderr, for whoever collects logs."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from miner.formatting import without_secrets
from miner.pipeline.attempt import Attempt
from miner.storage.urls import url_name

__all__ = ["ENDING", "JsonLines", "LoggedProgress", "json_log"]

ENDING = "miner.ending"
"""The logger of the last line, which is always written."""
_EVERY = 30.0
"""Seconds between the lines of a stage."""
_log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """Turns a record into one line of JSON.

    A record with ``facts`` is an event of ours, named by its message; any other (of a library) is
    the event ``message``.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt = attempt

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in ASCII: whatever a name holds, it is one line."""
        facts: dict[str, Any] | None = getattr(record, "facts", None)
        if facts is None:
            event, facts = "message", {"logger": record.name, "message": record.getMessage()}
        else:
            event = record.getMessage()
        if "message" in facts:
            facts = {**facts, "message": without_secrets(url_name(facts["message"]))}
        if record.exc_info and record.exc_info[0]:
            trace = "".join(traceback.format_exception(*record.exc_info))
            facts = {**facts, "traceback": without_secrets(trace)}
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": event,
            "run_id": self._attempt.run_id,
            **facts,
        }
        return json.dumps(line, default=str)


@contextmanager
def json_log(attempt: Attempt, *, quiet: bool) -> Iterator[None]:
    """Write the log to stderr as JSON lines, Python's warnings too; if quiet only what matters."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(attempt))
    levels = {"miner": logging.WARNING if quiet else logging.INFO, ENDING: logging.INFO}
    before = {name: logging.getLogger(name).level for name in levels}
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    _set_levels(levels)
    try:
        yield
    finally:
        _set_levels(before)
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


def _set_levels(levels: dict[str, int]) -> None:
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class LoggedProgress:
    """Progress for a log: an event as a stage begins, and one every half minute."""

    def __init__(self) -> None:
        self._stage = ""
        self._spoke = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of what is done of a stage; a total of 0 is one of unknown length."""
        now = time.monotonic()
        if stage == self._stage and (now - self._spoke < _EVERY or done >= total):
            return
        self._stage, self._spoke = stage, now
        _log.info("progress", extra={"facts": {"stage": stage, "done": done, "total": total}})

    def close(self) -> None:
        """End; there is nothing to finish."""

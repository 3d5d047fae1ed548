"""The log as JSON lines on stderr, one object a line, for log collectors."""

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
"""Name of the logger for the last line, which is always written."""
_EVERY = 30.0
"""Seconds between two lines about the same stage."""
_log = logging.getLogger(__name__)


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON.

    A record of `mine` has ``facts``, and its message is the name of the event. Any other record,
    from a library, is an event called ``message``.
    """

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt = attempt

    def format(self, record: logging.LogRecord) -> str:
        """Return the line in ASCII, so that no character can break it into two."""
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
    """Write the log and Python's warnings to stderr as JSON lines; if quiet, only warnings."""
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
    """Logs progress: an event when a stage begins, and one every 30 seconds."""

    def __init__(self) -> None:
        self._stage = ""
        self._spoke = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Record the progress of a stage; a total of 0 means that the total is unknown."""
        now = time.monotonic()
        if stage == self._stage and (now - self._spoke < _EVERY or done >= total):
            return
        self._stage, self._spoke = stage, now
        _log.info("progress", extra={"facts": {"stage": stage, "done": done, "total": total}})

    def close(self) -> None:
        """Do nothing; `miner.progress.ProgressBar` has a bar to finish here."""

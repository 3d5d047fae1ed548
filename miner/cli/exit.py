"""Print the last line of a command to stderr or to the JSON log, and end the process."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterator
from typing import Any

import click

from miner.cli.json_log import ENDING
from miner.formatting import printable, short_message, without_secrets
from miner.pipeline.attempt import Attempt, Ending, RunClosure
from miner.storage.urls import url_name

__all__ = [
    "close_streams",
    "log_ending",
    "outlive_readers",
    "own_process",
    "print_ending",
    "print_trace",
]

_log = logging.getLogger(ENDING)


def print_trace(trace: BaseException) -> None:
    """Print the traceback of an error to stderr."""
    text = "".join(traceback.format_exception(trace))
    click.echo(printable(without_secrets(text)), err=True)


def print_ending(attempt: Attempt, ending: Ending, settled: RunClosure) -> None:
    """Print warnings to stderr and, after an error, its message and the latest run."""
    if attempt.unreported:
        click.echo(f"mine: warning: {short_message(attempt.unreported)}", err=True)
    if settled.warning:
        click.echo(_fitted(f"mine: warning: {settled.warning}"), err=True)
    if ending.code:
        prefix = {"failed": "internal error: " if ending.code == 1 else "error: "}
        message = short_message(url_name(prefix.get(ending.event, "") + ending.message))
        click.echo(_fitted(f"mine: {_sentences(message, settled.words)}"), err=True)


def _sentences(message: str, words: str) -> str:
    """Return a message followed by the sentence that names the latest run."""
    if not message or not words:
        return message or words
    return f"{message}{'' if message[-1] in '.?!' else '.'} {words}"


def _fitted(line: str) -> str:
    """Return a line wrapped between words if stderr is a terminal, otherwise unchanged."""
    if not sys.stderr.isatty():
        return line
    broken = textwrap.wrap(
        line,
        shutil.get_terminal_size().columns,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(broken)


def log_ending(
    attempt: Attempt, ending: Ending, settled: RunClosure, trace: BaseException | None
) -> None:
    """Write the last line of a JSON log: how the command ended, and the latest run."""
    if attempt.unreported:
        _log.warning("report_not_written", extra={"facts": {"message": attempt.unreported}})
    if settled.warning:
        _log.warning("metrics_not_written", extra={"facts": {"message": settled.warning}})
    event = "already_mined" if ending.event == "done" and not attempt.mined else ending.event
    facts = {
        "exit_code": ending.code,
        "out": attempt.out,
        "latest": settled.latest,
        "seconds": round(attempt.seconds, 3),
        "message": _sentences(ending.message, settled.words),
    }
    level = logging.ERROR if ending.code else logging.INFO
    _log.log(level, event, exc_info=trace, extra={"facts": facts})


def close_streams() -> None:
    """Flush stdout and stderr; drop what cannot be written, so that the exit code is kept."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


class _Descriptor(io.FileIO):
    """A descriptor that drops data after its reader has closed the other end."""

    def write(self, data: Any) -> int:
        """Write data, and return the number of bytes written or dropped."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let the command continue when a reader of stdout or stderr leaves early (``| head``).

    The rest of the output is dropped, and the exit code does not change: a run must not be lost
    because its log has no reader. A stream that is closed from the start drops everything.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
            continue
        raw = _Descriptor(stream.fileno(), "w", closefd=False)
        text = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, text)


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """End the process right after the exit functions if the block raises SystemExit.

    Otherwise Python finalises the interpreter while threads of libraries may still work: the
    workers of an interrupted run, or Arrow, which reads ahead. Before Python 3.14, a thread that
    then requests the interpreter is unwound through C++ code that forbids it, and the process ends
    by SIGABRT instead of its exit code, with "terminate called without an active exception"
    (apache/arrow#34314). Streams are flushed first; code that writes files tolerates a kill.
    """
    code: int | None = None

    def leave() -> None:
        if code is not None:
            logging.shutdown()
            close_streams()
            os._exit(code)

    atexit.register(leave)  # registered first, so called last
    try:
        yield
    except SystemExit as done:
        if done.code is None or isinstance(done.code, int):
            code = done.code or 0
        raise

"""The last words of a command: on stderr for people, or as the last line of a JSON log."""

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
    """Show where an error came from."""
    text = "".join(traceback.format_exception(trace))
    click.echo(printable(without_secrets(text)), err=True)


def print_ending(attempt: Attempt, ending: Ending, settled: RunClosure) -> None:
    """Say on stderr what is wrong, if anything is, and which run is the latest one."""
    if attempt.unreported:
        click.echo(f"mine: warning: {short_message(attempt.unreported)}", err=True)
    if settled.warning:
        click.echo(_fitted(f"mine: warning: {settled.warning}"), err=True)
    if ending.code:
        told = {"failed": "internal error: " if ending.code == 1 else "error: "}
        message = short_message(url_name(told.get(ending.event, "") + ending.message))
        click.echo(_fitted(f"mine: {_sentences(message, settled.words)}"), err=True)


def _sentences(message: str, words: str) -> str:
    """Return a message, and behind it the sentence that says which run is the latest one."""
    if not message or not words:
        return message or words
    return f"{message}{'' if message[-1] in '.?!' else '.'} {words}"


def _fitted(line: str) -> str:
    """Return a line, in a terminal broken between words where that breaks it inside of one.

    Logs, and whatever reads stderr, have it on one line.
    """
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
    """Write the last line of a JSON log: how it ended, and which run is the latest one."""
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
    """Drop what stdout and stderr will not take (a full disk, no reader): the exit code stands."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


class _Descriptor(io.FileIO):
    """A descriptor that drops what is written once its reader has closed the other end."""

    def write(self, data: Any) -> int:
        """Write data; return how many bytes are done with."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Let a reader of stdout or stderr that leaves early (``| head``) change nothing.

    What it does not read is dropped, the work continues, and the exit code says how that ended: a
    run is not lost because its log has no reader any more. A stream that was closed at the start is
    one that drops everything.
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
    """Let a SystemExit raised within end the process as soon as its exit functions are done.

    Python goes on from there and takes itself down while threads of libraries may still be at
    work: the workers of an interrupted run, or Arrow, which reads ahead. One that then asks for the
    interpreter is unwound through C++ that forbids it (before Python 3.14), and the process ends
    by SIGABRT in the place of its exit code, with "terminate called without an active exception"
    (apache/arrow#34314). Streams are flushed before; what works on files is ready for a kill.
    """
    code: int | None = None

    def leave() -> None:
        if code is not None:
            logging.shutdown()
            close_streams()
            os._exit(code)

    atexit.register(leave)  # before others are, and so called after them
    try:
        yield
    except SystemExit as done:
        if done.code is None or isinstance(done.code, int):
            code = done.code or 0
        raise

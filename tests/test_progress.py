"""What a person sees of a long stage: with a terminal, and in a log file."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sys
import time
from collections.abc import Iterator

import pytest

from miner.progress import Progress


def test_a_log_has_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = Progress(quiet=False)
    for second in range(100):
        clock[0] = 1000.0 + second
        progress("embedding", 50 * second, 10_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mine: embedding"
    assert lines[1] == "mine: embedding: 1,550 of 10,000, 50/s, 169 s left"
    assert len(lines) == 4  # at 31, 62 and 93 seconds


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress("counting", 0, 2)
    progress("counting", 2, 2)
    progress.close()
    assert capsys.readouterr().err == ""


def _read(terminal: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # how a terminal ends that nobody holds any more
        while True:
            yield os.read(terminal, 1 << 16).decode()


def test_a_terminal_has_a_bar_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = pty.openpty()
    monkeypatch.setattr(sys, "stderr", os.fdopen(slave, "w"))
    progress = Progress(quiet=False)
    progress("embedding", 0, 100)
    began = time.monotonic()
    done = 0
    while time.monotonic() - began < 1.3:  # the time left is drawn anew once a second
        done += 1
        progress("embedding", done, 100)
        time.sleep(0.05)
    progress("embedding", 60, 100)
    progress.close()
    sys.stderr.close()
    shown = "".join(_read(master))
    assert "embedding" in shown
    assert "60/100" in shown
    assert re.search(r"\d+/s", shown)
    assert re.search(r"\d\d:\d\d:\d\d", shown)

"""What a person sees of a long stage: with a terminal, and in a log file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from miner.progress import ProgressBar

Steps = list[tuple[float, int]]


def test_a_log_has_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = ProgressBar(quiet=False)
    for second in range(100):
        clock[0] = 1000.0 + second
        progress("embedding", 50 * second, 10_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "mine: embedding"
    assert lines[1] == "mine: embedding: 1,550 of 10,000, 50/s, 3 min left"
    assert len(lines) == 4  # at 31, 62 and 93 seconds


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressBar(quiet=True)
    progress("counting", 0, 2)
    progress("counting", 2, 2)
    progress.close()
    assert capsys.readouterr().err == ""


def test_a_log_says_no_rate_before_the_first_unit_and_none_of_a_single_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = ProgressBar(quiet=False)
    for seconds, done in ((0, 0), (40, 0), (25, 100), (10, 200), (25, 450), (0, 10_000)):
        clock[0] += seconds
        progress("counting", done, 10_000)
    progress("sealing", 0, 10)
    clock[0] += 60
    progress("sealing", 10, 10)
    assert capsys.readouterr().err.splitlines() == [
        "mine: counting",
        "mine: counting: 0 of 10,000",  # compiling
        "mine: counting: 200 of 10,000, 10/s, 16 min left",  # 65 s in, 10 s after the first unit
        "mine: sealing",
    ]


def _read(terminal: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # how a terminal ends that nobody holds any more
        while True:
            yield os.read(terminal, 1 << 16).decode()


def _shown(monkeypatch: pytest.MonkeyPatch, stage: str, steps: Steps) -> list[str]:
    """Return the lines that a terminal shows of a stage, for steps of (seconds, done)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    monkeypatch.setattr(sys, "stderr", os.fdopen(slave, "w"))
    monkeypatch.setenv("COLUMNS", "80")
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = ProgressBar(quiet=False)
    for seconds, done in steps:
        clock[0] += seconds
        progress(stage, done, 1_000_000)
    progress.close()
    sys.stderr.close()
    shown = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", "".join(_read(master)))
    lines = [line.rstrip("\n") for line in re.split(r"\r\n?|\n", shown)]
    assert all("#" in line or "-" in line for line in lines if line.strip())
    return lines


def test_a_terminal_has_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [(1.5, done) for done in range(0, 1_000_001, 50_000)]
    lines = _shown(monkeypatch, "embedding", steps)
    assert max(map(len, lines)) <= 80  # a longer one would break and leave a ladder of bars
    assert any("#" in line and "-" in line for line in lines)
    assert any("300,000 of 1,000,000, 33,333/s, 21 s left" in line for line in lines)
    assert "1,000,000 of 1,000,000, 33,333/s" in lines[-2]


def test_a_terminal_says_no_rate_before_the_first_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [(0.0, 0), (70.0, 100_000), (0.1, 150_000), (9.9, 300_000), (35.0, 1_000_000)]
    shown = "\n".join(_shown(monkeypatch, "counting", steps))
    said = re.findall(r"[\d,]+ of 1,000,000[^\n]*", shown)
    assert [words.strip() for words in dict.fromkeys(said)] == [
        "0 of 1,000,000",
        "100,000 of 1,000,000",
        "150,000 of 1,000,000",
        "300,000 of 1,000,000, 20,000/s, 35 s left",
        "1,000,000 of 1,000,000, 20,000/s",
    ]


def test_a_terminal_says_only_how_much_of_a_stage_of_one_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = _shown(monkeypatch, "counting", [(0.0, 0), (60.0, 1_000_000)])
    assert not any("/s" in line or "left" in line for line in lines)


def test_bytes_are_told_in_mebibytes_and_a_resumed_stage_by_what_it_did(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = ProgressBar(quiet=False)
    for stage, unit in (("uploading", 2**20), ("counting", 1)):
        progress(stage, 7900 * unit, 10_000 * unit)
        clock[0] += 5
        progress(stage, 8000 * unit, 10_000 * unit)
        clock[0] += 31
        progress(stage, 8310 * unit, 10_000 * unit)
    assert capsys.readouterr().err.splitlines() == [
        "mine: uploading",
        "mine: uploading: 8.1 GiB of 9.8 GiB, 10 MiB/s, 3 min left",
        "mine: counting",
        "mine: counting: 8,310 of 10,000, 10/s, 3 min left",
    ]

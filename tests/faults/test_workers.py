"""Worker processes end with their run, however that ends, and have nothing to say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from miner.storage.locks import lock_output
from tests.conftest import ROOT
from tests.operating import MAIN, SLOW, wait_for_a_unit

pytestmark = pytest.mark.slow


def start(small: Path, out: Path) -> subprocess.Popen[str]:
    """Start a run of slow units in two worker processes, in a process group of its own."""
    words = ["run", "--data", small, "--out", out, "--engine", "processes", "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", SLOW + MAIN, *map(str, words), "--quiet"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def alive(processes: list[int]) -> Iterator[int]:
    for process in processes:
        stat = Path(f"/proc/{process}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            yield process


def wait_for_workers(process: subprocess.Popen[str], number: int) -> list[int]:
    for _ in range(12_000):
        if len(found := children(process.pid)) >= number:
            return found
        time.sleep(0.005)
    raise AssertionError("no workers were started")


def test_workers_end_with_a_killed_run(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(small, out)
    wait_for_a_unit(out)
    workers = wait_for_workers(process, 2)
    process.kill()
    process.communicate()
    with lock_output(out):
        pass
    deadline = time.monotonic() + 20
    while list(alive(workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(alive(workers))


@pytest.mark.parametrize(("number", "wait"), [(1, 0), (3, 0), (3, 0.1), (4, 0), (4, None)])
def test_an_interrupt_of_the_group_is_one_line(
    small: Path, tmp_path: Path, number: int, wait: float | None
) -> None:
    """It is what Ctrl-C of a terminal is.

    The first two children track what the others leave, the next two are the workers, which import
    modules for a while. Without a time to wait, a unit must be done.
    """
    out = tmp_path / "out"
    process = start(small, out)
    wait_for_workers(process, number)
    if wait is None:
        wait_for_a_unit(out)
    else:
        time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("mine: interrupted; ") and err.count("\n") == 1

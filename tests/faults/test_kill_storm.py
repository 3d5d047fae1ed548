"""Killed at any instant, a job goes on and ends with the bytes of one that nothing disturbed."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable

import pytest

from tests.conftest import ROOT
from tests.faults.driver import Fault, needs_strace, traceable
from tests.faults.jobs import CALLS_MADE, words
from tests.faults.storm import Lab, Tally, random_faults, storm

KILLS = int(os.environ.get("MINE_STORM_KILLS", "36"))


def kill(lab: Lab, faults: Iterable[Fault], kills: float = float("inf")) -> Tally:
    tally = storm(lab, faults, kills)
    assert tally.failures == [], tally.table()
    assert tally.ended and tally.again == 0
    return tally


def test_a_breeze(lab: Lab) -> None:
    calls = {} if traceable() else CALLS_MADE
    tally = kill(lab, itertools.islice(random_faults(3, lab.seconds, calls), 8))
    assert tally.kills.total() >= 4


@pytest.mark.slow
def test_a_storm(lab: Lab) -> None:
    needs_strace()
    calls = {kind: lab.driver().calls(kind) for kind in CALLS_MADE}
    tally = kill(lab, random_faults(0, lab.seconds, calls), KILLS)
    print("\n" + tally.table())
    assert tally.kills.total() >= KILLS  # the last chain goes on to its end
    assert {kind for kind, _ in tally.left} == {"time", *calls}


@pytest.mark.slow
def test_a_kill_at_every_seventh_rename(lab: Lab) -> None:
    """And at the last one; `--every rename` of the storm's command leaves none out."""
    needs_strace()
    calls = lab.driver().calls("rename") - 1  # the link of ``latest`` has a count of its own
    tally = kill(lab, (Fault("rename", number) for number in [calls, *range(1, calls, 7)]))
    assert tally.kills["rename"] > calls / 15
    assert tally.left["rename", "new"]  # the last one is of the metrics, when all is published


@pytest.mark.parametrize(
    "seconds", [1.0, *(pytest.param(n / 4, marks=pytest.mark.slow) for n in (1, 3, 6, 10))]
)
def test_a_process_that_a_shell_starts(lab: Lab, seconds: float) -> None:
    """The same without the fork server: what Python loads is read from the disk too."""
    driver = lab.driver()
    command = [sys.executable, "-m", "miner", *words(lab.data, lab.out)]
    shutil.rmtree(lab.out / ".store", ignore_errors=True)
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    assert code in (0, -signal.SIGKILL)
    lab.check()
    done = driver.start()
    lab.check_end(done)

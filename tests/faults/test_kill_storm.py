"""Killed at any instant, a job goes on and ends with the bytes of one that nothing disturbed."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.faults.driver import Fault, Place, needs_strace, traceable
from tests.faults.jobs import CALLS_MADE, words
from tests.faults.storm import Lab, Tally, random_faults, storm

KILLS = int(os.environ.get("MINE_STORM_KILLS", "18"))
STEP = int(os.environ.get("MINE_STORM_STEP", "40"))
"""The storm's own command, with `--every`, leaves no call out."""


def kill(lab: Lab, faults: Iterable[Fault], kills: float = float("inf")) -> Tally:
    tally = storm(lab, faults, kills)
    assert tally.failures == [], tally.table()
    assert tally.ended and tally.again == 0
    return tally


@pytest.mark.slow
def test_a_breeze(lab: Lab) -> None:
    calls = {} if traceable() else CALLS_MADE
    tally = kill(lab, itertools.islice(random_faults(3, lab.seconds, calls), 8))
    assert tally.kills.total() >= 4


@pytest.mark.slow
def test_a_storm(lab: Lab) -> None:
    needs_strace()
    faults = random_faults(0, lab.seconds, CALLS_MADE)
    tally = kill(lab, faults, KILLS)
    while missing := {"time", *CALLS_MADE} - tally.kills.keys():
        assert tally.kills.total() < 3 * KILLS, f"{missing} never killed"
        storm(lab, faults, tally.kills.total() + 1, tally)
    print("\n" + tally.table())
    assert tally.failures == [], tally.table()
    assert tally.kills.total() >= KILLS  # the last chain goes on to its end


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rename", "open"])
def test_a_kill_at_every_so_many_calls(
    lab: Lab, calls_of: Callable[..., list[Place]], kind: str
) -> None:
    """And at the last one, of the metrics, when all is published."""
    needs_strace()
    places = calls_of(kind)
    assert "metrics.prom" in places[-1].told
    chosen = [places[-1], *places[np.random.default_rng(6).integers(STEP) :: STEP]]
    tally = kill(lab, (place.fault() for place in chosen))
    assert tally.kills[kind] > len(chosen) / 2  # in a chain there is less to do than at first
    assert tally.left[kind, "new"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds",
    [
        1.0,
        *(n / 4 for n in (1, 6)),
        *(pytest.param(n / 4, marks=pytest.mark.wide) for n in (3, 10)),
    ],
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

"""System calls that fail: one line, the right exit code, and the same command goes on after."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest

from tests.faults.driver import Fault, Place, needs_strace
from tests.faults.jobs import CALLS_MADE, QUIET
from tests.faults.storm import Lab

SEED = 4
SAMPLE = int(os.environ.get("MINE_INJECTIONS", "2"))
"""Calls of each case."""


@pytest.fixture(autouse=True, scope="module")
def strace() -> None:
    needs_strace()


CASES = [
    ("write", "ENOSPC", True),
    ("fsync", "EIO", False),
    ("rename", "EIO", False),
    ("open", "EMFILE", True),
    ("open", "EROFS", True),
    ("fsync", "ENOSPC", False),
    ("write", "EIO", False),
    ("write", "EDQUOT", True),
    ("rename", "ENOSPC", True),
    ("unlink", "EIO", True),
    ("open", "ENOSPC", False),
    ("open", "EIO", False),
    ("open", "ENOSPC", True),
    ("open", "EIO", True),
]


def strike(lab: Lab, fault: Fault) -> int:
    """Let a call fail, or all from it on; return the exit code of the start."""
    driver, name = lab.driver(), fault.inject.removeprefix("error=")
    hit = driver.start(fault, more=QUIET)
    told = hit.err.splitlines()
    latest = lab.check()
    assert hit.code in (0, 6), hit
    assert hit.code == 6 or latest == "new", hit
    warnings = [line for line in told if line.startswith("mine: warning: ")]
    errors = [line for line in told if line.startswith("mine: error: ")]
    assert told == warnings + errors, hit
    if fault.kind != "write":  # else what it would say may have met the same
        assert len(errors) == (hit.code == 6), hit
    if errors:
        assert os.strerror(getattr(errno, name)) in errors[0]
        published = len(list((lab.out / "runs").iterdir())) > 1
        assert not published or "nothing was published" not in errors[0]
        assert f"is {'still' if latest == 'old' else 'the new'} run" in errors[0]
    lab.check_end(driver.start())
    return hit.code


@pytest.mark.parametrize(
    ("kind", "name", "onward"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.wide) for case in CASES[1:4])],
)
def test_a_call_that_fails(lab: Lab, kind: str, name: str, onward: bool) -> None:
    at = int(np.random.default_rng(SEED).integers(1, CALLS_MADE[kind] // 2))
    assert strike(lab, Fault(kind, at, f"error={name}", onward)) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "onward"), CASES)
def test_many_calls_that_fail(
    lab: Lab, calls_of: Callable[..., list[Place]], kind: str, name: str, onward: bool
) -> None:
    """Of opens those that make something: others are of what may well be missing."""
    places = calls_of(kind, QUIET)
    rng = np.random.default_rng([SEED, CASES.index((kind, name, onward))])
    chosen = [places[at] for at in rng.choice(len(places), SAMPLE, replace=False)]
    codes = [strike(lab, one.fault(f"error={name}", onward=onward)) for one in chosen]
    assert kind == "unlink" or codes.count(6) >= SAMPLE / 2

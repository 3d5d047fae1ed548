"""System calls that fail: one line, the right exit code, and the same command goes on after."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from tests.faults.driver import Fault, needs_strace
from tests.faults.jobs import CALLS_MADE
from tests.faults.storm import Lab

SEED, SAMPLE = 4, 2


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
]


def strike(lab: Lab, kind: str, name: str, *, onward: bool, at: int) -> int:
    """Let calls fail from the `at`-th on, or it alone; return the exit code of the start."""
    driver, fault = lab.driver(), Fault(kind, at, f"error={name}", onward)
    hit = driver.start(fault, more=("--log-format", "text", "--quiet"))
    told = hit.err.splitlines()
    latest = lab.check()
    assert hit.code in (0, 6), hit
    assert hit.code == 6 or latest == "new", hit
    warnings = [line for line in told if line.startswith("mine: warning: ")]
    errors = [line for line in told if line.startswith("mine: error: ")]
    assert told == warnings + errors, hit
    if kind != "write":  # else what it would say may have met the same
        assert len(errors) == (hit.code == 6), hit
    if errors:
        assert os.strerror(getattr(errno, name)) in errors[0]
        published = len(list((lab.out / "runs").iterdir())) > 1
        assert not published or "nothing was published" not in errors[0]
        assert f"is {'still' if latest == 'old' else 'the new'} run" in errors[0]
    lab.check_end(driver.start())
    return hit.code


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("kind", "name", "onward"), CASES[:4])
def test_a_call_that_fails(lab: Lab, kind: str, name: str, onward: bool) -> None:
    at = int(np.random.default_rng(SEED).integers(1, CALLS_MADE[kind] // 2))
    assert strike(lab, kind, name, onward=onward, at=at) == 6


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "onward"), CASES)
def test_many_calls_that_fail(lab: Lab, kind: str, name: str, onward: bool) -> None:
    numbers = np.random.default_rng(SEED).choice(CALLS_MADE[kind], SAMPLE, replace=False) + 1
    codes = [strike(lab, kind, name, onward=onward, at=int(at)) for at in sorted(numbers)]
    assert kind == "unlink" or codes.count(6) >= SAMPLE / 2

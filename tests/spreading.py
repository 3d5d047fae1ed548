"""How `pytest -n` spreads the tests: those that share what is dear run in one process.

Files that share a server, a mined run or a heavy library are a group, which one process runs, so
that it is made once; each other test is a group of its own. The groups come first, the longest
before the others, so that the end is filled up with short tests.

What is compiled is kept on disk for all processes, but in a fresh checkout each would compile it
for itself, side by side. So the first group compiles, for about a minute, while another process
goes through `UNCOMPILED`, whose jobs are counted by NumPy.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

COMPILING = (
    "tests/census/test_statistics.py",
    "tests/census/test_census.py",
    "tests/census/test_measure.py",
)
UNCOMPILED = (
    "tests/faults/",
    "tests/cli/",
    "tests/datasets/",
    "tests/storage/",
    "tests/embedding/",
    "tests/test_alarms.py",
    "tests/test_fuzz.py",
    "tests/test_prepare.py",
    "tests/test_schedules.py",
    "tests/test_security.py",
)
TOGETHER: tuple[tuple[str, ...], ...] = (
    ("tests/pipeline/engines/",),
    ("tests/training/",),
    ("tests/test_readme.py",),
    ("tests/inspection/report/",),
    ("tests/proof/",),
    ("tests/census/test_device.py", "tests/census/test_roundings.py"),
    ("tests/test_peer_defects.py",),
    ("tests/inspection/test_verify.py",),
    ("tests/runs/test_commit.py",),
    ("tests/inspection/test_flips.py",),
    ("tests/pipeline/test_count_cache.py",),
    ("tests/runs/test_hostile_files.py",),
)
GROUPS = (COMPILING, UNCOMPILED, *TOGETHER)


def group_of(nodeid: str) -> int:
    """Return the place of a test's group in `GROUPS`; their number where it has none."""
    for place, group in enumerate(GROUPS):
        if nodeid.startswith(group):
            return place
    return len(GROUPS)


def scope_of(nodeid: str) -> str:
    """Return the name of a test's group; its own where it has none."""
    place = group_of(nodeid)
    return nodeid if place == len(GROUPS) else f"group {place}"


class Together(LoadScopeScheduling):
    """Hand out groups in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)  # for a pytest without `-n`
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)

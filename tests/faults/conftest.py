"""The job of the storm, mined undisturbed once (longer than most of the tests); a small disk."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.driver import Place
from tests.faults.storm import Lab, sweep


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab.made(tmp_path_factory.mktemp("storm"))


@pytest.fixture(scope="session")
def calls_of(lab: Lab) -> Callable[..., list[Place]]:
    """The system calls of the job by kind, and by what its start is told besides; see `sweep`."""
    return functools.cache(functools.partial(sweep, lab))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, where it is allowed to")
    yield folder
    subprocess.run(["umount", folder], check=True)

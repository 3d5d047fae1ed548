"""A disk that fails as the report is written: the run is published all the same, and whole."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from functools import partial
from pathlib import Path

import pytest

import miner
from miner.runs.run import Run
from tests.faults.driver import Driver, Fault, limited, needs_strace, nothing
from tests.faults.jobs import QUIET, words, write_data

KINDS = [("open", "EMFILE"), ("write", "ENOSPC"), ("fsync", "EIO"), ("rename", "EIO")]


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Starts of the storm's job that draw their report."""
    data = write_data(tmp_path / "images.parquet")
    return Driver(words(data, tmp_path / "out", report=True), tmp_path)


def published(driver: Driver, fault: Fault | None = None, most: int = 0) -> tuple[str, Run]:
    """Start afresh; return what is said, and the run, which is whole."""
    shutil.rmtree(driver.folder / "out", ignore_errors=True)  # calls are those of a first start
    before = partial(limited, resource.RLIMIT_FSIZE, most) if most else nothing
    done = driver.start(fault, before=before, more=QUIET)
    assert done.code == 0, done
    run = miner.open_run(driver.folder / "out")
    assert miner.verify_run(run).problems == []
    assert list((driver.folder / "out/.staging").iterdir()) == []
    return done.err, run


@pytest.mark.slow
def test_a_report_that_may_not_grow(driver: Driver) -> None:
    """The page alone is larger than what a file may be."""
    said, run = published(driver, most=100_000)
    assert said == f"mine: warning: {run.manifest['report_not_written']}\n"
    assert "File too large; the run is complete without it, mine report writes it; raise" in said
    assert not (run.path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_calls_that_fail(driver: Driver, kind: str, name: str) -> None:
    """Each call that touches the page, one start for each."""
    needs_strace()
    reason = os.strerror(getattr(errno, name))
    places = [one for one in driver.places(kind, QUIET) if "report.html" in one.told]
    assert places
    for place in places:
        said, run = published(driver, place.fault(f"error={name}"))
        assert said == f"mine: warning: {run.manifest['report_not_written']}\n"
        assert said.count(reason) == 1 and "nothing was published" not in said
        assert not (run.path / "report.html").exists()

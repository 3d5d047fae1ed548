"""Two starts at once: one works, the other is refused at once and told by whom."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import miner
from miner.errors import LockError
from miner.storage.locks import lock_output
from tests.faults.jobs import payload, write_data
from tests.faults.races import race, start

TIMES = int(os.environ.get("MINE_TWO_STARTS", "3"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    write_data(folder / "images.parquet")
    return folder


def raced(folder: Path) -> dict[str, str]:
    """Start twice at once; return the checksums of the run that the one made."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    race(start(folder / "images.parquet", out) for _ in range(2))
    (run,) = (out / "runs").iterdir()
    assert miner.open_run(out).run_id == run.name
    return payload(run)


def test_one_works(folder: Path) -> None:
    assert {name.split("/")[0] for name in raced(folder)} >= {"census.parquet", "hard", "semi_hard"}


@pytest.mark.slow
def test_one_works_every_time(folder: Path) -> None:
    assert len({tuple(sorted(raced(folder).items())) for _ in range(TIMES)}) == 1


def test_who_died_is_not_named(tmp_path: Path) -> None:
    """The name of a holder that was killed lies there until the next one has written its own."""
    died = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    hold = """
import pathlib, sys, time
from filelock import FileLock
with FileLock(sys.argv[1] + "/.lock"):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = tmp_path / ".lock.json"
    holder.write_text(f'{{"pid": {int(died.stdout)}, "host": "{os.uname().nodename}"}}')
    process = subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdout=-1, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        began = time.monotonic()
        with pytest.raises(LockError, match="in use by another run"), lock_output(tmp_path):
            pass
        assert time.monotonic() - began > 1
        holder.write_text(f'{{"pid": {process.pid}, "host": "{os.uname().nodename}"}}')
        with pytest.raises(LockError) as told, lock_output(tmp_path):
            pass
        assert re.search(rf"in use by process {process.pid} on \S+; wait", str(told.value))
    finally:
        process.kill()
        process.communicate()
    with lock_output(tmp_path):
        assert f'"pid": {os.getpid()}' in holder.read_text()
    assert not holder.exists()

"""A second signal ends a run at once; one that is sent twice in a moment is the same one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import miner
from tests.conftest import ROOT, write_small, write_vectors
from tests.faults.jobs import payload

HANGS = """
import sys, time
import miner.cli.signals
from miner.cli.main import main
from tests.durable import at_rename
def hang(*arguments):
    try:  # the signal may come as soon as the word is out
        print("counting", flush=True)
        time.sleep(120)
    finally:  # what records on the way out hangs too
        print("leaving", flush=True)
        time.sleep(120)
at_rename("work/count-*.npy", hang)
miner.cli.signals._SAME = 4.0  # as long as a busy machine needs
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_leaves_at_once(
    small: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = ["run", "--data", str(small), "--out", str(tmp_path / "out"), "--quiet"]
    command = [sys.executable, "-c", HANGS, *words, "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "counting\n"
        process.send_signal(number)
        assert process.stdout.readline() == "leaving\n"
        process.send_signal(number)  # as `timeout` does: to the process, and to its group
        time.sleep(5)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(20) == code
    finally:
        process.kill()
        process.communicate()
    assert not (tmp_path / "out/latest").exists()


LOOPS = """
import hashlib, io, sys
from miner.cli.main import main
class Loops(io.StringIO):
    def write(self, text):
        print("writing", file=sys.__stdout__, flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # minutes in C, where no handler is called
sys.stdout = Loops()
main(["runs"])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_a_loop_in_c(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOOPS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.3)  # until it is in the loop
        process.send_signal(number)
        time.sleep(0.7)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(5) == code
    finally:
        process.kill()
        process.communicate()


STAGES = ("reading", "embedding", "indexing", "counting", "writing", "sealing", "reporting")
TERMINATES = """
import os, signal, sys
import miner.cli.main
from miner.cli.main import main
class Bar:
    def __init__(self, *, quiet):
        pass
    def __call__(self, stage, done, total):
        if stage == STAGE and (not LATE or done == total):
            os.kill(os.getpid(), signal.SIGTERM)
    def close(self):
        pass
miner.cli.main.ProgressBar = Bar
main(sys.argv[1:])
"""


WHOLE = f"STAGE, LATE = '', False\n{TERMINATES}"


def start(code: str, data: Path, out: Path, engine: str) -> subprocess.CompletedProcess[str]:
    words = ["run", "--data", str(data), "--out", str(out), "--engine", engine, "--workers", "2"]
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, the run of them in `truth`, and a run of other data in `before`."""
    folder = tmp_path_factory.mktemp("stages")
    write_small(folder)
    rows = np.random.default_rng(7).standard_normal((20, 4)).astype(np.float32)
    other = write_vectors(folder / "other.parquet", rows, [f"c{n % 3}" for n in range(20)])
    for data, out in ((folder / "small.parquet", "truth"), (other, "before")):
        assert start(WHOLE, data, folder / out, "threads").returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes"])
@pytest.mark.parametrize(
    ("stage", "late"),
    [*((stage, False) for stage in STAGES), ("embedding", True), ("counting", True)],
)
def test_a_run_that_is_terminated_in_any_stage_continues(
    stage: str, late: bool, engine: str, lab: Path, tmp_path: Path
) -> None:
    """With exit code 143, one line, and the run before still the latest."""
    out = tmp_path / "out"
    shutil.copytree(lab / "before", out, symlinks=True)
    before = miner.open_run(out).run_id
    data = lab / "small.parquet"
    hit = start(f"STAGE, LATE = {stage!r}, {late}\n{TERMINATES}", data, out, engine)
    assert hit.returncode == 143, hit
    assert hit.stderr.startswith("mine: terminated; the same command continues from here")
    assert hit.stderr.count("\n") == 1 and hit.stdout == ""
    assert miner.open_run(out).run_id == before
    assert start(WHOLE, data, out, engine).returncode == 0
    run = miner.open_run(out)
    assert run.run_id != before and miner.verify_run(run).problems == []
    assert payload(run.path) == payload(miner.open_run(lab / "truth").path)


COUNTED_LATE = """
import os, signal, sys
import miner
from miner.cli.main import main
sys.setswitchinterval(60)  # until the main thread waits for a file, no other thread runs
miner.run_job = lambda job, **options: os.kill(os.getpid(), signal.SIGTERM)
main(sys.argv[1:])
"""


def test_the_first_signal_is_not_taken_for_a_second_one(tmp_path: Path) -> None:
    """Even if the thread that counts signals sees it after the command began to end."""
    hit = start(COUNTED_LATE, write_small(tmp_path), tmp_path / "out", "threads")
    assert hit.returncode == 143, hit
    assert hit.stderr.startswith("mine: terminated; the same command continues from here"), hit

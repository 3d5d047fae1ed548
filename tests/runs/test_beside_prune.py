"""Readers and runs in addition to `mine prune`: nobody fails because a run is removed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import miner
from miner.errors import LockError
from miner.storage.locks import lock_output
from tests.conftest import ROOT, Result

Cli = Callable[..., Result]


def publish(out: Path, source: Path, name: str) -> None:
    """Make a copy of a run the latest one, as a run is published."""
    staged = out / f"staged-{name}"
    shutil.copytree(source, staged)
    staged.rename(out / "runs" / name)
    (out / "next").symlink_to(f"runs/{name}")
    (out / "next").replace(out / "latest")


@contextmanager
def changing(out: Path, source: Path) -> Iterator[None]:
    """Publish runs and prune old ones all the time."""
    ended = threading.Event()

    def change() -> None:
        for number in itertools.count():
            publish(out, source, f"r{number:06}")
            if number % 3 == 2:
                miner.prune_output(out, keep=1)
            if ended.is_set():
                break

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("words", [("runs",), ("show", "latest"), ("prune", "--dry-run")])
def test_readers_do_not_mind(run: miner.Run, tmp_path: Path, cli: Cli, words: list[str]) -> None:
    out = tmp_path / "out"
    source = tmp_path / "source"
    shutil.copytree(run.path, source)
    arguments = [words[0], out / "latest" if words[0] == "show" else out, *words[2:]]
    arguments += [word for word in words if word.startswith("--")]
    with changing(out, source):
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            done = cli(*arguments)
            assert (done.code, done.err) == (0, "")


PRUNES = """
import sys, time
from pathlib import Path
from miner.storage.locks import lock_output
with lock_output(Path(sys.argv[1]), brief=sys.argv[2] == "brief"):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


@contextmanager
def held(out: Path, kind: str, seconds: float) -> Iterator[int]:
    """Let another process hold an output root for some seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRUNES, str(out), kind, str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def test_a_run_waits_for_a_prune(small: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    with held(out, "brief", 1) as process:
        assert json.loads((out / ".lock.json").read_text())["pid"] == process
        done = cli("run", "--data", small, "--out", out)
    assert done.code == 0
    assert f"waiting for process {process} on " in done.err
    assert (out / "latest").exists()


def test_a_run_does_not_wait_for_a_run(small: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    with held(out, "run", 60) as process:
        began = time.monotonic()
        done = cli("run", "--data", small, "--out", out)
        assert done.code == cli("prune", out).code == 4
        assert time.monotonic() - began < 20
    assert f"in use by process {process} on " in done.err


def test_a_prune_that_takes_too_long_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miner.storage.locks.LONGEST_WAIT", 0.1)
    with held(tmp_path, "brief", 60), pytest.raises(LockError), lock_output(tmp_path):
        pass

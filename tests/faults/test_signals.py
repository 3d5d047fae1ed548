"""A second signal ends a run at once; one that is sent twice in a moment is the same one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

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

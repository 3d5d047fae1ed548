"""A process ends by its exit code, whatever threads of libraries are doing as it leaves."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import miner
from tests.conftest import ROOT

TIMES = int(os.environ.get("MINE_LEAVING", "2"))
ABANDONED = """
import sys
from miner.cli.main import main
main(sys.argv[1:])
"""
BUSY = """
import io, threading, time
import pyarrow.json
from miner.cli.main import main
class Slow(io.RawIOBase):
    def readable(self): return True
    def read(self, size=-1):
        time.sleep(0.001)
        return b'{"a": 1}\\n'
def read():
    while True:
        pyarrow.json.read_json(Slow())
threading.Thread(target=read, daemon=True).start()
time.sleep(0.1)
main()
"""
"""A thread that is in C++ most of the time, and comes back to Python."""


def mine(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


LINE = b'{"id": "i", "text": "' + b"words " * 30 + b'", "label": "a"}\n'
ROW = b"i," + b"words " * 30 + b",a\n"
BROKEN = {
    "jsonl": b'{"id": "a", "text": "x", "label": "a"}\n{"id": "a", "te\n' + LINE * (1 << 18),
    "csv": b"id,text,label\na,x,a\nb,y\n" + ROW * (1 << 18),
}
"""An error early in 50 MB: Arrow would be reading ahead when the process ends."""


@pytest.mark.parametrize(
    "name",
    ["jsonl", "jsonl.gz", *(pytest.param(n, marks=pytest.mark.slow) for n in ("csv", "csv.gz"))],
)
def test_no_reader_is_left_behind(name: str, tmp_path: Path) -> None:
    """Python is taken down whole here, as it is in a process that only calls the library."""
    content, path = BROKEN[name.removesuffix(".gz")], tmp_path / f"data.{name}"
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    words = ("run", "--data", str(path), "--out", str(tmp_path / "out"), "--quiet")
    for _ in range(TIMES):
        done = mine(ABANDONED, *words)
        assert done.returncode == 3, done
        assert done.stderr.count("\n") == 1 and "cannot be read: " in done.stderr


@pytest.mark.parametrize(("words", "code"), [(("models", "--json"), 0), (("run", "nope.toml"), 2)])
def test_a_command_does_not_wait_for_threads(words: tuple[str, ...], code: int) -> None:
    for _ in range(TIMES):
        done = mine(BUSY, *words)
        assert done.returncode == code, done
        assert done.stderr.count("\n") == (code != 0) and (code or done.stdout.endswith("]\n"))


def test_exit_functions_are_called_and_streams_flushed() -> None:
    code = """
import atexit, sys
import miner.cli.main
run = miner.cli.main._run
def registering(words):
    atexit.register(sys.stdout.write, "after")
    run(words)
miner.cli.main._run = registering
miner.cli.main.main()
"""
    done = mine(code, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"mine, version \S+\nafter", done.stdout)


def unread(*words: object, both: bool = False) -> tuple[int, bytes]:
    """The exit code of a command whose readers have left, and what it says on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "miner", *map(str, words)],
            cwd=ROOT,
            stdout=writer,
            stderr=writer if both else subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or b""


def test_a_reader_that_leaves_early_changes_nothing(run: miner.Run, tmp_path: Path) -> None:
    assert unread("runs", tmp_path / "out") == (0, b"")
    shard = run.path / "hard" / "part-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    code, said = unread("verify", run.path)
    assert code == 6 and said.count(b"\n") == 1


def test_a_run_outlives_the_readers_of_its_log(small: Path, tmp_path: Path) -> None:
    words = ("run", "--data", small, "--out", tmp_path / "out", "--max-triplets", "0")
    assert unread(*words, both=True) == (0, b"")
    assert miner.verify_run(miner.open_run(tmp_path / "out")).problems == []


def test_streams_that_are_closed_at_the_start() -> None:
    script = f"{sys.executable} -m miner show nosuch >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], cwd=ROOT, check=False).returncode == 2

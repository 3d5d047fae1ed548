"""A lack of memory ends a command with exit code 6 and one line that says so."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import miner
from tests.conftest import ROOT, Result

Cli = Callable[..., Result]


def limited(kilobytes: int, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a command under ``ulimit -v``."""
    limit = kilobytes << 10
    return subprocess.run(
        [sys.executable, "-m", "miner", *map(str, words)],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def run_words(small: Path, tmp_path: Path) -> list[object]:
    out = tmp_path / "out"
    return ["run", "--data", small, "--out", out, "--workers", 2, "--quiet"]


@pytest.mark.parametrize("kilobytes", [400_000, 2_000_000])
def test_a_job_that_does_not_fit_is_refused(small: Path, tmp_path: Path, kilobytes: int) -> None:
    done = limited(kilobytes, *run_words(small, tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "out of memory: the limit on address space (ulimit -v) is " in done.stderr


def test_any_command_needs_some(mined_small: Path) -> None:
    done = limited(300_000, "show", mined_small)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "out of memory" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", range(400_000, 4_400_000, 400_000))
def test_every_limit(small: Path, tmp_path: Path, mined_small: Path, kilobytes: int) -> None:
    for words in (run_words(small, tmp_path), ["show", mined_small], ["verify", mined_small]):
        done = limited(kilobytes, *words)
        assert done.returncode in (0, 6)
        assert done.returncode == 0 or "out of memory" in done.stderr
        assert done.returncode == 0 or kilobytes < 4_000_000


MODELS = {
    "import.py": "raise ImportError('libx.so: failed to map segment from shared object')",
    "thread.py": 'def embed(batch): raise RuntimeError("can\'t start new thread")',
    "array.py": "import numpy\nnumpy.zeros((1 << 23, 1 << 23))\n",
    "system.py": "import errno\nraise OSError(errno.ENOMEM, 'Cannot allocate memory')",
}


@pytest.mark.parametrize("name", MODELS)
def test_no_memory_in_the_code_of_others(
    small: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    module = f"no_memory_{name.removesuffix('.py')}"
    (tmp_path / f"{module}.py").write_text(MODELS[name])
    done = cli("run", "--data", small, "--model", f"{module}:embed", "--out", tmp_path / "out")
    assert done.code == 6
    assert "memory" in done.err.splitlines()[-1]


def test_no_memory_as_a_file_is_read(
    small: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile", refuse)
    done = cli("run", "--data", small, "--out", tmp_path / "out")
    assert done.code == 6
    assert "out of memory" in done.err.splitlines()[-1]


def test_the_end_of_a_file_is_no_interruption(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(out: str) -> None:
        raise EOFError("cut off")

    monkeypatch.setattr(miner, "list_runs", ends)
    done = cli("runs")
    assert done.code == 1
    assert "EOFError: cut off" in done.err

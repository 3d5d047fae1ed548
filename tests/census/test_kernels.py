"""Which loops count a run: compiled ones, or NumPy while none are compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import miner
from miner.census.kernels.compiling import CompileMeanwhile
from tests.conftest import ROOT, write_vectors
from tests.sizes import make_small


def started(data: Path, out: Path, numba: Path, *options: str, hide: bool = False) -> Any:
    """Mine in a new process whose numba cache is the folder `numba`."""
    hidden = "import sys; sys.modules['numba'] = None\n" if hide else ""
    code = f"{hidden}from miner.cli.main import main\nmain()\n"
    command = [sys.executable, "-c", code, "run", "--data", data, "--out", out, *options]
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(numba), "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True)


def test_a_small_job_compiles_nothing(small: Path, tmp_path: Path) -> None:
    numba = tmp_path / "numba"
    done = started(small, tmp_path / "cold", numba, "--set", "output.report=false")
    cold = miner.open_run(tmp_path / "cold")
    assert cold.manifest["kernels"] == "numpy"
    assert not list(numba.rglob("*.nbi")) and "numba" not in done.stderr
    warm = miner.mine({"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "warm")}})
    assert warm.manifest["kernels"] == "numba"
    sums = [{one["path"]: one["sha256"] for one in run.manifest["shards"]} for run in (cold, warm)]
    assert sums[0] == sums[1]


def test_a_run_without_numba_says_what_that_costs(small: Path, tmp_path: Path) -> None:
    done = started(small, tmp_path / "out", tmp_path, "--json", hide=True)
    assert json.loads(done.stdout)["kernels"] == "numpy"
    quiet = started(small, tmp_path / "other", tmp_path, "--quiet", hide=True)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    output = started(small, tmp_path / "third", tmp_path, hide=True).stderr
    assert "no numba, so counting takes two to three times as long (" in output
    assert "[fast]" in output


@pytest.mark.slow
def test_a_large_job_compiles(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(17_000, 4)).astype(np.float32)
    data = write_vectors(tmp_path / "data.parquet", rows, [n % 5000 for n in range(17_000)])
    numba, off = tmp_path / "numba", ("--set", "output.report=false", "--max-triplets", "100")
    started(data, tmp_path / "out", numba, *off)
    assert miner.open_run(tmp_path / "out").manifest["kernels"] == "numba"
    assert list(numba.rglob("lines.between_loop-*.nbi"))
    started(part_of(data, tmp_path, 8000), tmp_path / "smaller", numba, *off)
    assert miner.open_run(tmp_path / "smaller").manifest["kernels"] == "numba"


def part_of(data: Path, folder: Path, rows: int) -> Path:
    """Write the first rows of a file of vectors to a new file."""
    path = folder / "part.parquet"
    pq.write_table(pq.read_table(data).slice(0, rows), path)
    return path


@pytest.mark.slow
def test_all_loops_are_compiled_beforehand(tmp_path: Path) -> None:
    """Runs with few or many positives, and strategies that need ranks, compile nothing more."""
    command = [sys.executable, "-m", "miner.census.kernels"]
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("compiled loops are ready (")
    compiled = sorted(tmp_path.rglob("*.nbc"))
    rows = np.random.default_rng(0).normal(size=(6_000, 4)).astype(np.float32)
    for classes, strategy in ((2, "hardest"), (2, "all"), (2000, "all"), (2000, "batch-hard")):
        data = write_vectors(tmp_path / "data.parquet", rows, [n % classes for n in range(6_000)])
        options = ("--select", strategy, "--set", "output.report=false", "--max-triplets", "100")
        started(data, tmp_path / "out", tmp_path / "numba", *options)
        assert miner.open_run(tmp_path / "out").manifest["kernels"] == "numba"
    assert sorted(tmp_path.rglob("*.nbc")) == compiled


def test_loops_are_compiled_while_much_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    compiled: list[int] = []
    monkeypatch.setattr("miner.census.kernels.compiling.is_cold", lambda: True)
    monkeypatch.setattr("miner.census.kernels.compiling.compile_loops", lambda: compiled.append(1))
    make_small(monkeypatch, tiny=1 << 25, numpy=1 << 28)
    meanwhile = CompileMeanwhile(lambda *given: calls.append(given))
    meanwhile("reading", 0, 10**6)
    meanwhile("embedding", 0, 1000)
    meanwhile.wait()
    assert not compiled
    meanwhile("embedding", 10, 100_000)
    meanwhile("embedding", 20, 100_000)
    meanwhile.wait()
    assert compiled == [1]
    assert [stage for stage, *_ in calls] == ["reading", *["embedding"] * 3]


@pytest.mark.parametrize(
    ("shape", "mining", "select"),
    [
        ((60, 8, 5), {"metric": "euclidean"}, {"max_triplets": 100}),
        ((90, 3, 2), {"metric": "sqeuclidean"}, {"strategy": "semi-hard"}),
        ((80, 16, 40), {"metric": "cosine"}, {"strategy": "hardest", "relative_margin": 0.05}),
        ((70, 5, 7), {"metric": "dot"}, {"strategy": "uniform", "options": {"k": 3}}),
    ],
)
def test_results_are_the_same_without_numba(
    shape: tuple[int, int, int],
    mining: dict[str, Any],
    select: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All files to the byte, all counts; the mean loss to six digits."""
    rows, dim, classes = shape
    vectors = np.random.default_rng(rows).standard_normal((rows, dim)).astype(np.float32)
    data = write_vectors(tmp_path / "v.parquet", vectors, [f"c{n % classes}" for n in range(rows)])
    found = []
    for kernel, keys in (("numba", -1), ("numpy", 1 << 40)):
        make_small(monkeypatch, tiny=keys, numpy=keys)
        out = {"path": str(tmp_path / kernel)}
        job = {"dataset": {"path": str(data)}, "mining": mining, "select": select, "output": out}
        manifest = miner.mine(job).manifest
        assert manifest["kernels"] == kernel
        loss = manifest["census"].pop("mean_loss")
        files = [one for one in manifest["files"] if one["path"].endswith(".parquet")]
        found.append((manifest["shards"], files, manifest["census"], manifest["written"], loss))
    numba, numpy = found
    assert numba[:-1] == numpy[:-1]
    assert numba[-1] == pytest.approx(numpy[-1], rel=1e-6)

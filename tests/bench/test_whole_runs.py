"""Whole runs relative to the bare product, counted and written, and the time of compiling."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import miner
from tests.bench.common import run_module
from tests.bench.shapes import SHAPES
from tests.bench.whole_runs import JOBS

pytestmark = pytest.mark.bench

MODULE = "tests.bench.whole_runs"
MOST = 1_000_000
MNIST = 89_982_091_278


def clocks(facts: dict[str, float]) -> str:
    """Return CPU and wall seconds as text."""
    return f"{facts['cpu']:.2f} CPU s, {facts['wall']:.2f} s"


@pytest.mark.parametrize("most", [0, MOST], ids=["counted", "written"])
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", SHAPES)
def test_whole_run(name: str, job: str, most: int) -> None:
    facts = run_module(MODULE, name, job, "--most", most)
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in facts["stages"].items())
    lines = [
        f"\n{name}: {facts['shape']}; {job}, {facts['written']:,} written",
        ", ".join(facts["blas"]),
        f"product  {clocks(facts['product'])}",
        f"run      {clocks(facts['run'])}: {facts['ratio']['cpu']} times the CPU seconds of the "
        f"product, {facts['ratio']['wall']} times its wall; the start, {clocks(facts['start'])}, "
        "is taken off",
        f"stages   {stages}",
        f"peak     {facts['peak_bytes'] / 2**20:,.0f} MiB",
    ]
    sys.stdout.write("\n  ".join(lines) + "\n")
    assert facts["verified"] == 3
    assert facts["peak_bytes"] < 1.5 * 2**30
    assert (facts["written"] > 0) == (most > 0)
    if name == "mnist":
        assert sum(facts["counts"].values()) == MNIST


def test_equal_distances(tmp_path: Path) -> None:
    """Sums of small integers are exact: data of 0 and 1, where most distances tie, cost no more."""
    rng, seconds = np.random.default_rng(0), np.empty((4, 2))
    labels = rng.integers(0, 20, 2000)
    data = rng.normal(size=(2000, 64)), rng.integers(0, 2, (2000, 64))
    mining = {"metric": "sqeuclidean", "normalize": False, "margin": 1.0}
    for turn, vectors in itertools.product(range(4), (0, 1)):
        output = {"path": str(tmp_path / f"{turn}-{vectors}"), "report": False}
        began = time.process_time()
        job = {"mining": mining, "output": output}
        miner.mine(job, vectors=data[vectors], labels=labels, progress=None)
        seconds[turn, vectors] = time.process_time() - began
    ratio = np.median(seconds[1:, 1] / seconds[1:, 0])  # the first turn compiles
    sys.stdout.write(f"\nequal distances  {ratio:.2f} times the CPU seconds of Gaussian data\n")
    assert ratio < 1.3


def test_compiling() -> None:
    facts = run_module(MODULE, "--compile")
    said = {name: clocks(facts[name]) for name in ("first", "then", "compiling")}
    sys.stdout.write(
        f"\na first run, nothing compiled  {said['first']}\n"
        f"  the next one                 {said['then']}\n"
        f"  compiling                    {said['compiling']}\n"
    )
    assert facts["compiling"]["cpu"] > 0

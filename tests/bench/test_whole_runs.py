"""Whole runs relative to the bare product, counted and written, and the time of compiling."""

from __future__ import annotations

import sys

import pytest

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


def test_compiling() -> None:
    facts = run_module(MODULE, "--compile")
    said = {name: clocks(facts[name]) for name in ("first", "then", "compiling")}
    sys.stdout.write(
        f"\na first run, nothing compiled  {said['first']}\n"
        f"  the next one                 {said['then']}\n"
        f"  compiling                    {said['compiling']}\n"
    )
    assert facts["compiling"]["cpu"] > 0

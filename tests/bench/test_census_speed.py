"""The census against the bare product: ratios of times taken in turn, in one process a shape."""

from __future__ import annotations

import sys

import pytest

from tests.bench.common import run_module
from tests.bench.shapes import SHAPES

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("name", SHAPES)
def test_census(name: str) -> None:
    facts = run_module("tests.bench.census_speed", name, "--rounds", 5 if name == "mnist" else 3)
    lines = [
        f"\n{name}: {facts['shape']}, {facts['share']:.2%} of the anchors",
        ", ".join(facts["blas"]),
        f"{facts['valid']:,} valid: {facts['easy']:,} easy, {facts['semi_hard']:,} semi-hard, "
        f"{facts['hard']:,} hard; {facts['verified']} anchors as by the definition",
        f"rows within reach     {facts['in_reach']:.2%}",
        f"bare float32 product  {facts['seconds']['product']:.3f} s",
    ]
    for key, ratio in facts["ratio"].items():
        lines.append(
            f"{key.replace('_', ' '):<21} {facts['seconds'][key]:.3f} s, ratio {ratio:.2f} "
            f"(rounds: {facts['rounds'][key]})"
        )
    lines.append(f"peak memory           {facts['peak_bytes'] / 2**20:,.0f} MiB")
    sys.stdout.write("\n  ".join(lines) + "\n")
    assert facts["verified"] >= 3
    assert facts["peak_bytes"] < 1.5 * 2**30
    if name == "mnist":
        assert facts["share"] == 1
        assert facts["valid"] == 89_982_091_278
        assert facts["ratio"]["census"] < 5  # 4.1 was measured, 4.7 beside other work

"""What `mine plan` predicts beside what then happens."""

from __future__ import annotations

import sys

import pytest

from tests.bench.common import run_module
from tests.bench.planning import JOBS

pytestmark = pytest.mark.bench

ROUNDS = 3
"""Other work on the machine disturbs a plan and its run alike, but not at the same time."""


@pytest.mark.parametrize("name", JOBS)
def test_plan(name: str) -> None:
    rounds = [run_module("tests.bench.planning", name) for _ in range(ROUNDS)]
    ratios = []
    for facts in rounds:
        lines = [f"\n{name}: {facts['job']} (load {facts['load'][0]} to {facts['load'][1]})"]
        for key, unit in (
            ("seconds", 1),
            ("cpu_seconds", 1),
            ("memory", 2**20),
            ("disk", 2**20),
            ("triplets", 1),
        ):
            said, was = facts[key]
            ratio = f"{said / was:.2f}" if was else "-"
            lines.append(f"{key:<11} {said / unit:>12,.1f} {was / unit:>12,.1f}  ratio {ratio}")
        stages = (f"{stage} {said:.1f}/{was:.1f}" for stage, (said, was) in facts["stages"].items())
        lines.append(f"stages      {', '.join(stages)}")
        sys.stdout.write("\n  ".join(lines) + "\n")
        ratios.append(facts["seconds"][0] / facts["seconds"][1])
        for key in ("memory", "disk"):
            said, was = facts[key]
            assert was <= said <= 1.5 * was, key
    if rounds[0]["seconds"][1] > 5:  # of shorter jobs, tenths of a second are much
        assert 1 / 1.3 <= sorted(ratios)[ROUNDS // 2] <= 1.3

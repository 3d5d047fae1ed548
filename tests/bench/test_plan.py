"""Comparison of the predictions of `mine plan` with the runs."""

from __future__ import annotations

import sys

import pytest

from tests.bench.common import run_module
from tests.bench.planning import JOBS

pytestmark = pytest.mark.bench

ROUNDS = 3
"""Other work on the machine slows a run, but hardly changes its plan, which uses CPU seconds."""
FACTOR = 3


@pytest.mark.parametrize("name", JOBS)
def test_plan(name: str) -> None:
    ratios = []
    for facts in [run_module("tests.bench.planning", name) for _ in range(ROUNDS)]:
        lines = [f"\n{name}: {facts['job']} (load {facts['load'][0]} to {facts['load'][1]})"]
        values = {key: facts[key] for key in ("memory", "disk", "triplets")} | facts["stages"]
        for key, (said, was) in values.items():
            ratio = f"{said / was:.2f}" if was else "-"
            lines.append(f"{key:<11} {said:>16,.2f} {was:>16,.2f}  ratio {ratio}")
        sys.stdout.write("\n  ".join(lines) + "\n")
        ratios += [facts["stages"]["count"]] if "count" in facts["stages"] else []
        for key in ("memory", "disk", "triplets"):
            said, was = facts[key]
            assert was <= said, key
    middle = sorted(said / was for said, was in ratios if was > 1)[len(ratios) // 2 :][:1]
    assert all(1 / FACTOR <= ratio <= FACTOR for ratio in middle)

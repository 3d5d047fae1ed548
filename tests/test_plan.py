"""What `mine plan` says of a selection holds for the run: rows, and whether it counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.estimate import Size, count_seconds, write_seconds
from miner.hardness import MINED
from miner.job import SelectJob
from miner.strategies.base import STRATEGIES
from miner.strategies.selection import load_selection
from tests.conftest import Result, write_vectors

ANCHORS, CLASSES = 60, 5
PAIRS = ANCHORS * (ANCHORS // CLASSES - 1)
VALID = PAIRS * (ANCHORS - ANCHORS // CLASSES)

BOUNDS: list[tuple[dict[str, Any], int]] = [
    ({}, VALID),
    ({"classes": ["hard"]}, VALID),
    ({"max_triplets": 100}, 200),
    ({"max_triplets": 0}, 0),
    ({"per_pair": 2}, 4 * PAIRS),
    ({"per_anchor": 2, "classes": ["hard"]}, 2 * ANCHORS),
    ({"ranks": [2, 5]}, 6 * PAIRS),
    ({"per_negative": 1}, 2 * ANCHORS),
    ({"strategy": "hardest", "options": {"k": 3}}, 6 * PAIRS),
    ({"strategy": "hardest", "per_anchor": 4}, 8 * ANCHORS),
    ({"strategy": "semi-hard"}, PAIRS),
    ({"strategy": "semi-hard", "max_triplets": 50}, 50),
    ({"strategy": "batch-hard"}, ANCHORS),
    ({"strategy": "batch-hard", "max_triplets": 10}, 20),
    ({"strategy": "easy-positive"}, ANCHORS),
    ({"strategy": "uniform", "options": {"k": 4}}, 4 * ANCHORS),
    ({"strategy": "warp", "options": {"k": 2}, "classes": ["hard"]}, 2 * PAIRS),
    ({"strategy": "simans"}, 2 * PAIRS),
    ({"strategy": "distance-weighted"}, 2 * PAIRS),
    ({"max_score": 0.1, "suspects": True, "max_triplets": 30}, 90),
]


def job(data: Path, out: Path, **select: Any) -> miner.Job:
    return miner.parse_job(
        {"dataset": {"path": str(data)}, "output": {"path": str(out)}, "select": select}
    )


@pytest.mark.parametrize(("select", "bound"), BOUNDS, ids=str)
def test_the_rows_of_a_selection_are_bounded(
    select: dict[str, Any], bound: int, small: Path, tmp_path: Path
) -> None:
    planned = job(small, tmp_path / "out", **select)
    facts = miner.plan_job(planned)
    assert (facts["valid"], facts["triplets_at_most"]) == (VALID, bound)
    written = miner.mine(planned).manifest["written"]
    assert sum(one["rows"] for one in written.values()) <= bound


def test_every_strategy_keeps_its_bound(tmp_path: Path) -> None:
    """On clusters of different sizes, where some anchors have no positive."""
    rng = np.random.default_rng(2)
    labels: list[object] = [f"c{n}" for n in rng.integers(0, 9, 70)] + ["alone"]
    data = write_vectors(tmp_path / "d.parquet", rng.standard_normal((71, 4)), labels)
    loose = 0
    for row in STRATEGIES.names():
        planned = job(data, tmp_path / row, strategy=row)
        facts = miner.plan_job(planned)
        written = miner.mine(planned).manifest["written"]
        rows = sum(written[name]["rows"] for name in MINED)
        assert 0 < rows <= facts["triplets_at_most"]
        loose += facts["triplets_at_most"] == facts["valid"]
    assert loose == 1  # `all`


def test_the_plan_knows_whether_the_count_is_kept(
    small: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    assert miner.plan_job(job(small, out))["count_reused"] is False
    miner.mine(job(small, out))
    seeded = miner.plan_job(job(small, out, seed=3))
    assert seeded["count_reused"] is True and seeded["seconds"]["count"] == 0
    assert miner.plan_job(job(small, out, strategy="hardest"))["count_reused"] is False
    said = cli("plan", "--data", small, "--out", out, "--seed", 3)
    assert "count     kept from an earlier run" in said.out
    (record,) = out.glob(".store/*/counts/*/census.npy")
    record.write_bytes(b"torn")
    assert miner.plan_job(job(small, out, seed=3))["count_reused"] is False


def test_time_grows_with_the_work() -> None:
    def seconds(anchors: int, select: dict[str, Any], triplets: int) -> tuple[float, float]:
        size = Size(anchors, 20_000, 64, 100 * anchors, 5e10, 2, processes=False)
        selection = load_selection(SelectJob(**select))
        return count_seconds(size, selection), write_seconds(size, selection, triplets)

    plain, twice = seconds(20_000, {}, 10**6), seconds(40_000, {}, 10**6)
    assert 1.5 * plain[0] < twice[0] < 2 * plain[0]
    assert plain[1] < twice[1] < 2 * plain[1]
    assert seconds(20_000, {}, 0)[1] == 0 < seconds(20_000, {}, 10)[1] < plain[1] / 100
    for slower in ({"strategy": "hardest"}, {"max_score": 0.5}, {"strategy": "batch-hard"}):
        assert seconds(20_000, slower, 10**6)[0] > plain[0]
    assert seconds(20_000, {"strategy": "warp"}, 10**6)[1] > 1.5 * plain[1]

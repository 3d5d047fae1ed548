"""Time of shards compared with pyarrow on the same tables, and constant memory for more rows."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.common import median, rounded, run_module

pytestmark = pytest.mark.bench

MODULE = "tests.bench.writing"
MANY = 50_000_000


def mine(folder: Path, content: str, most: int) -> dict[str, Any]:
    return run_module(MODULE, "mine", folder, "--content", content, "--most", most, cwd=folder)


@pytest.mark.parametrize("content", ["ids", "texts"])
def test_shards_against_pyarrow(content: str, tmp_path: Path) -> None:
    run_module(MODULE, "make", tmp_path)
    rounds = []
    for _ in range(3):
        ours = mine(tmp_path, content, 1 << 20)  # one full shard of each class
        rounds.append((ours, run_module(MODULE, "rewrite", tmp_path, "--rounds", 3)))
    seal = [ours["timings"]["seal"] for ours, _ in rounds]
    write = [ours["timings"]["write"] for ours, _ in rounds]
    bare = [theirs["seconds"] for _, theirs in rounds]
    ratios = [mine / other for mine, other in zip(seal, bare, strict=True)]
    last, again = rounds[-1]
    sys.stdout.write(
        f"\nshards with {content}: {last['rows']:,} rows, {last['bytes'] / 1e6:.1f} MB, by "
        f"pyarrow alone {again['bytes'] / 1e6:.1f} MB\n"
        f"  pyarrow, finished tables  {median(bare, 2):.2f} s (rounds: {rounded(bare)})\n"
        f"  sealing, with check sums  {median(seal, 2):.2f} s, "
        f"ratio {statistics.median(ratios):.2f} (rounds: {rounded(ratios)})\n"
        f"  picking the triplets      {median(write, 2):.2f} s (rounds: {rounded(write)})\n"
    )
    assert again["rows"] == last["rows"]
    assert again["bytes"] == pytest.approx(last["bytes"], rel=0.01)  # both write in the same format


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    run_module(MODULE, "make", tmp_path)
    few, many = (mine(tmp_path, "ids", rows // 2) for rows in (1_000_000, MANY))
    for facts in (few, many):
        sys.stdout.write(
            f"\n{facts['rows']:>11,} rows written: {facts['peak_bytes'] / 2**20:,.0f} MiB at most; "
            f"{facts['timings']}"
        )
    assert many["rows"] == MANY
    assert many["peak_bytes"] - few["peak_bytes"] < 128 << 20

"""Two workers of a Dask scheduler compared with one, on a job that counts and writes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import miner
from tests.bench.common import rounded, timed
from tests.conftest import write_vectors

pytest.importorskip("distributed")

from tests.pipeline.engines.cluster import Cluster

pytestmark = pytest.mark.bench

ROWS, DIM, CLASSES, ROUNDS = 40_000, 128, 2_000, 5

LOOP = [sys.executable, "-c", "for _ in range(60_000_000): pass"]


def loops(many: int) -> float:
    """Return the seconds of `many` simultaneous loops, a measure of the machine's free capacity."""

    def run() -> None:
        for process in [subprocess.Popen(LOOP) for _ in range(many)]:
            process.wait()

    return min(timed(run) for _ in range(3))


def test_two_workers_against_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, DIM))
    labels = rng.integers(0, CLASSES, ROWS)
    vectors = (centres[labels] + rng.standard_normal((ROWS, DIM))).astype(np.float32)
    data = write_vectors(tmp_path / "vectors.parquet", vectors, labels.tolist())
    cluster = Cluster(tmp_path)

    def count(workers: int) -> float:
        """Return the seconds of the counting pass."""
        sections = {
            "dataset": {"path": str(data)},
            "output": {"path": str(tmp_path / "out")},
            "select": {"max_triplets": 0},
            "engine": {"name": "dask", "address": cluster.address, "workers": workers},
        }
        return float(miner.mine(sections, force=True).manifest["timings"]["count"])

    try:
        cluster.start("one", "two")
        count(2)  # so that both workers open the store
        machine = 2 * loops(1) / loops(2)
        rounds = [(count(1), count(2)) for _ in range(ROUNDS)]
    finally:
        cluster.close()
    one, two = ([times[place] for times in rounds] for place in (0, 1))
    ratio = min(one) / min(two)
    sys.stdout.write(
        f"\n{ROWS:,} x {DIM} in {CLASSES:,} classes, counted by workers of a Dask scheduler\n"
        f"  one  {min(one):.2f} s at best (rounds: {rounded(one)})\n"
        f"  two  {min(two):.2f} s at best (rounds: {rounded(two)}), {ratio:.2f} times as fast\n"
        f"  two bare loops at once get {machine:.2f} times the work of one done\n"
    )
    assert ratio >= 1.6

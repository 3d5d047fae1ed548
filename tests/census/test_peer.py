"""The triplets of a subset of the digits equal another library's, except for its rounding.

pytorch-metric-learning enumerates every triplet of a batch in float32. Each triplet on which it
differs from this package must be so near to a border that float32 cannot decide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.triplets.distance import measure, normalize_rows
from miner.triplets.hardness import classify
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # warnings of the other library
]

MARGIN = 0.2
FLOAT32 = 2e-6
"""Far above the error of a float32 distance of 64-dimensional unit vectors, yet tiny."""


def ours(folder: Path, rows: np.ndarray) -> tuple[dict[str, set[Any]], Any]:
    table = pq.read_table(ROOT / "sample_data" / "digits.parquet").take(pa.array(rows))
    table = table.set_column(0, "id", pa.array(np.arange(len(rows))))
    pq.write_table(table, folder / "subset.parquet")
    run = miner.mine(
        {
            "dataset": {"path": str(folder / "subset.parquet")},
            "mining": {"margin": MARGIN},
            "select": {"max_triplets": 10_000_000},
            "output": {"path": str(folder / "out")},
        }
    )
    sets = {}
    for name in ("hard", "semi_hard"):
        columns = run.triplets(name).to_table().to_pydict()
        ids = (columns[f"{role}_id"] for role in ("anchor", "positive", "negative"))
        sets[name] = set(zip(*ids, strict=True))
    return sets, table


def theirs(pixels: np.ndarray, labels: np.ndarray) -> dict[str, set[Any]]:
    torch = pytest.importorskip("torch")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    sets = {}
    for ours_name, their_name in (("hard", "hard"), ("semi_hard", "semihard")):
        mining = miners.TripletMarginMiner(
            margin=MARGIN, type_of_triplets=their_name, distance=distances.LpDistance()
        )
        found = mining(torch.from_numpy(pixels), torch.from_numpy(labels))
        sets[ours_name] = set(zip(*(part.tolist() for part in found), strict=True))
    return sets


def test_triplets_equal_the_peers_except_for_its_rounding(tmp_path: Path) -> None:
    rows = np.sort(np.random.default_rng(0).choice(1797, 300, replace=False))
    mine, table = ours(tmp_path, rows)
    pixels = np.array(table["image"].to_pylist(), dtype=np.float32)
    peer = theirs(pixels, table["label"].to_numpy().astype(np.int64))
    unit = normalize_rows(pixels)
    assert len(mine["hard"]) > 200_000 and len(mine["semi_hard"]) > 500_000
    different = 0
    for name in ("hard", "semi_hard"):
        for a, p, n in mine[name] ^ peer[name]:
            d_ap, d_an = (measure("euclidean", unit[a : a + 1], unit[[x]])[0] for x in (p, n))
            gap = d_an - d_ap
            assert min(abs(gap), abs(gap - MARGIN)) < FLOAT32
            by_definition = str(classify(d_ap, d_an, MARGIN))
            assert ((a, p, n) in mine[name]) == (by_definition == name)
            different += 1
    assert different < 100

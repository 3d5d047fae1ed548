"""Hard and semi-hard triplets of one batch, by pytorch-metric-learning ("theirs") or by `mine`.

Run it as a separate process. It prints one JSON line. With `keep` it saves the triplets, after the
measurement, as numbers ``(anchor * n + positive) * n + negative``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import median, peak_bytes, report, since_start, timed
from tests.bench.shapes import mnist

MARGIN = 0.2
ROWS = 1_000
CLASSES = ("hard", "semi_hard")
ROLES = ("anchor_id", "positive_id", "negative_id")


def make(folder: Path) -> dict[str, Any]:
    """Write the vectors that both programs read."""
    shape = mnist(ROWS)
    np.savez(folder / "data.npz", embedding=shape.rows, label=shape.labels)
    return {}


def theirs(folder: Path, keep: bool) -> dict[str, Any]:
    """Run their miners, one per class, as in their documentation."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.miners import TripletMarginMiner

    with np.load(folder / "data.npz") as data:
        vectors, labels = torch.from_numpy(data["embedding"]), torch.from_numpy(data["label"])
    found = {}
    miners = {
        name: TripletMarginMiner(margin=MARGIN, type_of_triplets=kind, distance=LpDistance())
        for name, kind in zip(CLASSES, ("hard", "semihard"), strict=True)
    }
    for name, mining in miners.items():
        found[name] = mining(vectors, labels)
    facts = {"seconds": since_start(), "peak_bytes": peak_bytes()}
    facts["again"] = timed(lambda: [mining(vectors, labels) for mining in miners.values()])
    for name, rows in found.items():  # our triplets are on disk, so writing theirs is timed too
        table = pa.table(dict(zip(ROLES, (part.numpy() for part in rows), strict=True)))
        pq.write_table(table, folder / f"theirs-{name}.parquet", compression="zstd")
    facts["written_seconds"] = since_start()
    for name, rows in found.items() if keep else ():
        save(folder / f"theirs-{name}.npy", *(part.numpy() for part in rows))
    return {**facts, **{name: len(rows[0]) for name, rows in found.items()}}


def ours(folder: Path, most: int, keep: bool = False, name: str = "out") -> dict[str, Any]:
    """Run our job: the census, and if `most` is above 0 every triplet in Parquet shards."""
    import miner

    run = miner.mine(
        {
            "dataset": {"path": str(folder / "data.npz")},
            "mining": {"margin": MARGIN},
            "select": {"max_triplets": most},
            "output": {"path": str(folder / name)},
        }
    )
    facts = {"seconds": since_start(), "peak_bytes": peak_bytes()}
    if keep:
        for name in CLASSES:
            table = run.triplets(name).to_table(columns=list(ROLES))
            save(folder / f"ours-{name}.npy", *(table[role].to_numpy() for role in ROLES))
    counts = {name: run.manifest["census"][name] for name in CLASSES}
    return {**facts, **counts, "timings": run.manifest["timings"]}


def again(folder: Path) -> dict[str, Any]:
    """Return the seconds of our counting pass in a process that has counted before."""
    runs = [ours(folder, 0, name=f"out-again-{number}") for number in range(10)]
    seconds = median([run["timings"]["count"] for run in runs[1:]], 4)
    return {**runs[-1], "again": seconds}


def save(path: Path, *rows: np.ndarray) -> None:
    """Save each triplet as one number."""
    anchor, positive, negative = rows
    np.save(path, (anchor * ROWS + positive) * ROWS + negative)


if __name__ == "__main__":
    work, where, saving = sys.argv[1], Path(sys.argv[2]), "keep" in sys.argv[3:]
    works = {
        "make": lambda: make(where),
        "theirs": lambda: theirs(where, saving),
        "census": lambda: ours(where, 0),
        "again": lambda: again(where),
        "ours": lambda: ours(where, 10**9, saving),
    }
    report(works[work]())

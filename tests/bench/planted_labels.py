"""How often a label that is reported as wrong is wrong, for models of different quality.

``python -m tests.bench.planted_labels`` prints the table of `miner/docs/false-negatives.md`: 2,000
points in 40 classes, 16 dimensions, around centres that are drawn with spread 1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import miner

ROWS, CLASSES, DIM = 2_000, 40, 16
SPREADS, WRONG = (0.3, 0.5, 0.7, 0.9, 1.1, 1.4), (0.0, 0.02, 0.05, 0.2)


def measured(spread: float, wrong: float) -> tuple[float, float, float, float]:
    """Return four shares, for points with a spread about their centres and a share of wrong labels.

    The share of anchors whose nearest row is a positive; the share of labels reported as wrong; the
    share of reported labels that are wrong (precision); the share of wrong labels that are reported
    (recall).
    """
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(CLASSES), ROWS // CLASSES)
    centres = rng.standard_normal((CLASSES, DIM))
    points = centres[truth] + spread * rng.standard_normal((ROWS, DIM))
    moved = (truth + rng.integers(1, CLASSES, ROWS)) % CLASSES
    labels = np.where(rng.random(ROWS) < wrong, moved, truth)
    columns = {"id": np.arange(ROWS).astype(str), "label": [f"c{label}" for label in labels]}
    with tempfile.TemporaryDirectory() as made:
        data, out = Path(made) / "data.parquet", Path(made) / "out"
        pq.write_table(pa.table({**columns, "embedding": list(points.astype(np.float32))}), data)
        job = {"dataset": {"path": str(data)}, "output": {"path": str(out), "report": False}}
        run = miner.mine({**job, "select": {"max_triplets": 0}})
        ids = pq.read_table(run.path / "label_noise.parquet")["anchor_id"]
        called = ids.cast(pa.int64()).to_numpy()
        nearest = run.manifest["index"]["nearest"]["positive"]
    right = (labels != truth)[called].sum()
    shares = right / max(1, len(called)), right / max(1, (labels != truth).sum())
    return nearest, len(called) / ROWS, *map(float, shares)


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    heads = "nearest row a positive", "labels wrong", "called wrong", "of these wrong"
    yield "| " + " | ".join((*heads, "of wrong called")) + " |"
    yield "|---|---|---|---|---|"
    for spread in SPREADS:
        for wrong in WRONG:
            nearest, *shares = measured(spread, wrong)
            yield (
                f"| {nearest:.0%} | {wrong:.0%} | " + " | ".join(f"{s:.1%}" for s in shares) + " |"
            )


if __name__ == "__main__":
    print("\n".join(table()))

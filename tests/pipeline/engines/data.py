"""Data sets and runs that the tests of engines share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import miner
from tests.conftest import write_vectors

UNITS = 8
UNIT = 16
"""Anchors in a unit."""


def payload(run: miner.Run) -> dict[str, bytes]:
    """All files of a run but its manifest, metrics and report, which tell of times."""
    files = [path for path in run.path.rglob("*") if path.is_file()]
    named = {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}
    assert named.pop("manifest.json") and named.pop("metrics.prom")
    named.pop("report.html", None)  # of runs in a process of their own
    return named


def write_labelled(path: Path, rows: int = UNIT * UNITS) -> Path:
    """Vectors in 5 classes: 8 units, unless there are more rows."""
    vectors = np.random.default_rng(3).standard_normal((rows, 6)).astype(np.float32)
    return write_vectors(path, vectors, [f"c{n % 5}" for n in range(rows)])


def write_pairs(folder: Path) -> dict[str, str]:
    """40 queries, 300 documents, 3 links each; return the section of a job."""
    rng = np.random.default_rng(4)
    for name, rows in (("q", 40), ("c", 300)):
        vectors = rng.standard_normal((rows, 5)).astype(np.float32)
        table = {"id": range(rows), "embedding": pa.array(list(vectors), pa.list_(pa.float32()))}
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    links = [f"{row},{doc},1" for row in range(40) for doc in rng.integers(0, 300, 3)]
    (folder / "l.csv").write_text("\n".join(["query_id,corpus_id,score", *links]) + "\n")
    names = {"queries": "q.parquet", "corpus": "c.parquet", "links": "l.csv"}
    return {role: str(folder / name) for role, name in names.items()}

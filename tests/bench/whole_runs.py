"""Whole runs compared with the bare float32 product of the same shape.

``python -m tests.bench.whole_runs SHAPE JOB --most N`` writes the shape as a Parquet data set,
multiplies all anchors with all rows, mines the data set in a separate process, and prints one JSON
line. The start-up time (imports, loading compiled loops), measured as the time of the same job on a
small version of the shape, is subtracted. ``--rows N`` scales the shape down. ``--compile`` times
a first run, which compiles, and the next one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from tests.bench.common import blas, report, run_module, use_fastest_blas
from tests.bench.one_run import WORKERS
from tests.bench.shapes import SHAPES, Shape
from tests.conftest import ROOT

JOBS: dict[str, dict[str, Any]] = {
    "all": {},
    "semi-hard": {"strategy": "semi-hard"},
    "hardest": {"strategy": "hardest", "options": {"k": 4}},
}
MARGIN = 0.2
LOOPS = ROOT / "build/bench-loops"
"""The cache of compiled loops, shared by all measurements."""
_SMALL = {"pairs": 2_500}
_SMALL_ROWS, _SMALL_MOST = 6_000, 1_000
"""Size of the run whose time is subtracted as start-up: the smallest that always counts with
compiled loops, and that loads the loops of writing too."""
_COMPILE_ROWS = 4_096
_BLOCK = 256
_SLICE = 4096


class Product:
    """The yardstick: all anchors times all rows in float32, in blocks, on warm pages."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._room = [np.zeros((_BLOCK, len(shape.rows)), np.float32) for _ in range(WORKERS)]

    def __call__(self) -> dict[str, float]:
        """Multiply, and return the seconds."""
        wall, cpu = time.perf_counter(), time.process_time()
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._work, range(WORKERS)))
        taken = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        return {clock: round(seconds, 3) for clock, seconds in taken.items()}

    def _work(self, worker: int) -> None:
        anchors = self._shape.anchors
        for start in range(worker * _BLOCK, len(anchors), _BLOCK * WORKERS):
            part = anchors[start : start + _BLOCK]
            np.matmul(part, self._shape.rows.T, out=self._room[worker][: len(part)])


def write(shape: Shape, folder: Path) -> None:
    """Write a shape as a Parquet data set.

    Ids are row numbers. The ids of documents continue after the ids of queries, because a document
    with the id of a query counts as the query itself and is never its negative.
    """
    folder.mkdir()
    if shape.labels is not None:
        _write_vectors(folder / "data.parquet", shape.rows, {"label": shape.labels})
        return
    assert shape.links is not None
    _write_vectors(folder / "queries.parquet", shape.anchors, {})
    first = len(shape.anchors)
    _write_vectors(folder / "corpus.parquet", shape.rows, {}, first)
    query, document = shape.links.T
    links = pa.table({"query_id": query, "corpus_id": first + document})
    pq.write_table(links, folder / "links.parquet")


def _write_vectors(
    path: Path, vectors: np.ndarray, more: dict[str, np.ndarray], first: int = 0
) -> None:
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    ids = np.arange(first, first + len(vectors))
    pq.write_table(pa.table({"id": ids, "embedding": embedding, **more}), path)


def mined(data: Path, out: Path, select: dict[str, Any], loops: Path = LOOPS) -> dict[str, Any]:
    """Mine in a separate process; return its time and memory."""
    shutil.rmtree(out, ignore_errors=True)
    more = {"NUMBA_CACHE_DIR": str(loops)}
    return run_module("tests.bench.one_run", data, out, json.dumps(select), more=more)


def compiled(data: Path, out: Path, select: dict[str, Any]) -> dict[str, Any]:
    """Mine, and repeat a run that compiled; return the time and memory of the last run."""
    before = -1
    while before != (before := len(list(LOOPS.rglob("*.nbc")))):
        found = mined(data, out, select)
    return found


def by_definition(shape: Shape, anchor: int) -> dict[str, int]:
    """Count one anchor's triplets by the definition."""
    parts = range(0, len(shape.rows), _SLICE)
    a = shape.anchors[anchor].astype(np.float64)
    rows = (shape.rows[start : start + _SLICE].astype(np.float64) for start in parts)
    distance = np.concatenate([np.sqrt(((a - part) ** 2).sum(-1)) for part in rows])
    positive, d_an = shape.positive(anchor), distance[shape.negative(anchor)]
    counts = {"hard": 0, "semi_hard": 0}
    for d_ap in distance[positive]:
        counts["hard"] += int((d_an <= d_ap).sum())
        counts["semi_hard"] += int(((d_an > d_ap) & (d_an < d_ap + MARGIN)).sum())
    return {**counts, "easy": int(positive.sum()) * len(d_an) - sum(counts.values())}


def verify(shape: Shape, out: Path, anchors: int) -> int:
    """Compare a few random anchors of a run with the definition; return their number."""
    table = pq.read_table(out / "latest/census.parquet")
    chosen = np.random.default_rng(4).choice(table.num_rows, anchors, replace=False)
    for found in table.take(chosen).to_pylist():
        anchor = int(found["anchor_id"])
        counts = by_definition(shape, anchor)
        said = {name: found[name] for name in counts}
        assert said == counts, f"anchor {anchor}: {said}, by the definition {counts}"
    return len(chosen)


def over(mine: dict[str, Any], other: dict[str, Any], digits: int = 2) -> dict[str, float]:
    """Return the ratios of CPU seconds and of wall seconds."""
    return {clock: round(mine[clock] / other[clock], digits) for clock in ("cpu", "wall")}


def measure(name: str, job: str, most: int, rows: int | None, folder: Path) -> dict[str, Any]:
    """Measure one job on one shape."""
    description, make = SHAPES[name]
    small_rows = _SMALL.get(name, _SMALL_ROWS)
    write(make(small_rows), folder / "small")
    shape = make(rows) if rows else make()
    write(shape, folder / "whole")
    start = compiled(
        folder / "small", folder / "out", {**JOBS[job], "max_triplets": min(most, _SMALL_MOST)}
    )
    product = Product(shape)
    product()
    bare = product()
    whole = compiled(folder / "whole", folder / "out", {**JOBS[job], "max_triplets": most})
    net = {clock: round(whole[clock] - start[clock], 3) for clock in ("cpu", "wall")}
    facts = {"shape": description, "anchors": len(shape.anchors), "rows": len(shape.rows)}
    facts |= {"job": job, "most": most, "product": bare, "run": net}
    facts |= {"start": {clock: start[clock] for clock in ("cpu", "wall")}}
    facts |= {name: whole[name] for name in ("stages", "peak_bytes", "counts", "written")}
    facts |= {"ratio": over(net, bare), "verified": verify(shape, folder / "out", 3)}
    return facts | {"blas": blas()}


def measure_compiling(folder: Path) -> dict[str, Any]:
    """Measure a first run, which compiles the loops that it needs, and the next run."""
    write(SHAPES["loose30"][1](_COMPILE_ROWS), folder / "data")
    runs = [mined(folder / "data", folder / "out", {}, folder / "loops") for _ in range(2)]
    first, then = ({clock: run[clock] for clock in ("cpu", "wall")} for run in runs)
    taken = {clock: round(first[clock] - then[clock], 3) for clock in first}
    return {"first": first, "then": then, "compiling": taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES, nargs="?", default="mnist")
    parser.add_argument("job", choices=JOBS, nargs="?", default="all")
    parser.add_argument("--most", type=int, default=0, help="most triplets written of each class")
    parser.add_argument(
        "--rows", type=int, help="scale the shape down to this number of rows or queries"
    )
    parser.add_argument("--compile", action="store_true", help="measure compiling instead of a run")
    given = parser.parse_args()
    use_fastest_blas()
    with tempfile.TemporaryDirectory(prefix="mine-bench-") as temporary:
        folder = Path(temporary)
        if given.compile:
            report(measure_compiling(folder))
        else:
            report(measure(given.shape, given.job, given.most, given.rows, folder))


if __name__ == "__main__":
    main()

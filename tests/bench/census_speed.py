"""Count 10,000 x 784 vectors in 10 classes beside the bare float32 product of the same shape.

Run as a process of its own, so that its peak memory is that of the pass: prints one JSON line.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from miner.census import Census, Vectors
from miner.distance import normalize_rows
from miner.engines import open_engine
from miner.mining import Miner, cut_units
from miner.relevance import LabelRelevance, tally
from miner.strategies.all import All
from miner.strategies.selection import Selection

ROUNDS = 5
MEMORY = 512 << 20


def data(rows: int, dim: int, classes: int) -> tuple[np.ndarray, LabelRelevance]:
    """Overlapping clusters on the unit sphere, in the positive orthant like pixels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    centers = rng.standard_normal((classes, dim))
    vectors = np.abs(0.6 * centers[labels] + rng.standard_normal((rows, dim)))
    none = np.full(rows, -1, dtype=np.int64)
    return normalize_rows(vectors), LabelRelevance(labels, none, none)


def bare_product(vectors: np.ndarray, workers: int) -> None:
    """Multiply all rows by all rows in float32, in blocks, on warm pages."""
    block = 256
    room = [np.empty((block, len(vectors)), np.float32) for _ in range(workers)]

    def work(worker: int) -> None:
        for start in range(worker * block, len(vectors), block * workers):
            part = vectors[start : start + block]
            np.matmul(part, vectors.T, out=room[worker][: len(part)])

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def count(
    vectors: np.ndarray, relevance: LabelRelevance, workers: int, kernel: str
) -> dict[str, int]:
    """Count all triplets as a run does, with its default memory."""
    stored = Vectors(vectors, vectors)
    census = Census(stored, relevance, "euclidean", 0.2, kernel=kernel, keep_bytes=MEMORY // 2)
    miner = Miner(census, tally(relevance), Selection(All()), 0, MEMORY // 2 // workers)
    units = cut_units(len(vectors), len(vectors), vectors.shape[1])
    counted = np.concatenate(list(open_engine("threads", workers).map(miner.count, units)))
    return {name: int(counted[name].sum()) for name in ("easy", "semi_hard", "hard")}


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    rows, dim, classes, workers = 10_000, 784, 10, 2
    vectors, relevance = data(rows, dim, classes)
    product = partial(bare_product, vectors, workers)
    counting = partial(count, vectors, relevance, workers, "auto")
    sorting = partial(count, vectors, relevance, workers, "numpy")
    product()
    counts = counting()
    rounds = [(timed(product), timed(counting), timed(sorting)) for _ in range(ROUNDS)]
    ratios = [mine / bare for bare, mine, _ in rounds]
    facts = {
        "valid": sum(counts.values()),
        **counts,
        "product_seconds": round(statistics.median(bare for bare, _, _ in rounds), 3),
        "census_seconds": round(statistics.median(mine for _, mine, _ in rounds), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "ratio": round(statistics.median(ratios), 2),
        "numpy_ratio": round(statistics.median(slow / bare for bare, _, slow in rounds), 2),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()

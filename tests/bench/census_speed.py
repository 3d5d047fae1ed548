"""Count the triplets of a named shape beside the bare float32 product of the same shape.

Run as a process of its own, so that its peak memory is that of the pass: prints one JSON line.
Large shapes count a contiguous share of the anchors, and the product is of the same anchors.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from miner.census.fast.counter import open_screen
from threadpoolctl import threadpool_limits

from miner.census.measure import Vectors
from miner.census.statistics import Wanted, plan_besides
from miner.census.walk.census import Census
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import open_engine
from miner.pipeline.units.layout import cut_units
from miner.pipeline.units.miner import Miner
from miner.selection.selection import Selection
from miner.selection.strategies.all import All
from miner.triplets.relevance import tally
from tests.bench.common import blas, median, peak_bytes, report, rounded, timed
from tests.bench.shapes import SHAPES, Shape

MARGIN = 0.2
NOTHING = Wanted()
TABLES = {"hubs": Wanted(hubs=True), "noise": Wanted(neighbours=10)}
TABLES["all_tables"] = Wanted(hubs=True, confusions=100_000, neighbours=10)
MEMORY = 512 << 20
WORKERS = 2
_BLOCK = 256
_SLICE = 4096


class Product:
    """The yardstick: some anchors times all rows in float32, in blocks, on warm pages."""

    def __init__(self, shape: Shape, anchors: tuple[int, int]) -> None:
        self._shape = shape
        self._anchors = anchors
        self._room = [np.zeros((_BLOCK, len(shape.rows)), np.float32) for _ in range(WORKERS)]

    def __call__(self) -> None:
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._work, range(WORKERS)))

    def _work(self, worker: int) -> None:
        first, end = self._anchors
        for start in range(first + worker * _BLOCK, end, _BLOCK * WORKERS):
            part = self._shape.anchors[start : min(start + _BLOCK, end)]
            np.matmul(part, self._shape.rows.T, out=self._room[worker][: len(part)])


class Counting:
    """The pass of a run with its default memory, over some anchors."""

    def __init__(
        self,
        shape: Shape,
        anchors: tuple[int, int],
        *,
        loss: bool = True,
        fast: bool = True,
        wanted: Wanted = NOTHING,
    ) -> None:
        self._shape = shape
        self._loss, self._fast, self._wanted = loss, fast, wanted
        first, end = anchors
        units = cut_units(end - first, len(shape.rows), shape.rows.shape[1])
        self._units = [(first + start, first + stop) for start, stop in units]
        self._share = (end - first) / len(shape.anchors)
        self.counted = np.empty(0)

    def __call__(self) -> float:
        """Count; return the seconds: those of the preparation in the share of these anchors."""
        prepared: list[Miner] = []
        preparing = timed(lambda: prepared.append(self._prepare()))
        return self._share * preparing + timed(lambda: self._count(prepared[0]))

    def _prepare(self) -> Miner:
        vectors = Vectors(self._shape.anchors, self._shape.rows)
        relevance = self._shape.relevance
        keep = MEMORY // 2
        kernel = "auto" if self._fast else "numpy"
        census = Census(vectors, relevance, "euclidean", MARGIN, keep_bytes=keep, kernel=kernel)
        screen = open_screen(census, loss=self._loss, keep_bytes=keep) if self._fast else None
        selection = Selection(All())
        memory = MEMORY // 2 // WORKERS
        besides = plan_besides(relevance, self._wanted)
        labels = besides.labels
        if labels is not None:  # anchors are counted label by label
            besides = replace(besides, order=np.argsort(labels.anchors, kind="stable"))
        self.order = besides.anchors((0, relevance.anchors))
        return Miner(census, tally(relevance), selection, 0, memory, screen=screen, besides=besides)

    def _count(self, miner: Miner) -> None:
        parts = list(open_engine(EngineJob("threads", WORKERS)).map(self._unit(miner), self._units))
        # Units come in any order: put them back in that of the anchors.
        self.counted = np.concatenate([part for _, part in sorted(parts, key=lambda x: x[0])])

    @staticmethod
    def _unit(miner: Miner) -> Callable[[tuple[int, int]], tuple[int, np.ndarray]]:
        def count(unit: tuple[int, int]) -> tuple[int, np.ndarray]:
            sums = miner.besides.sums(len(miner.census.vectors.rows), unit)
            parts = [miner.count(part, sums) for part in miner.besides.parts(unit, sums)]
            if sums is not None:  # as a job's unit leaves them
                sums.hubs()
                if sums.confusions is not None:
                    sums.confusions.arrays()
            return unit[0], np.concatenate(parts)

        return count


def by_definition(shape: Shape, anchor: int) -> tuple[dict[str, int], float]:
    """Count one anchor's triplets by the definition, and tell which share of rows is in reach."""
    rows = range(0, len(shape.rows), _SLICE)
    a = shape.anchors[anchor].astype(np.float64)
    parts = (shape.rows[start : start + _SLICE].astype(np.float64) for start in rows)
    distance = np.concatenate([np.sqrt(((a - x) ** 2).sum(-1)) for x in parts])
    positive = shape.positive(anchor)
    negative = ~positive
    if shape.labelled:
        negative[anchor] = False
    d_an = distance[negative]
    counts = {"hard": 0, "semi_hard": 0}
    for d_ap in distance[positive]:
        counts["hard"] += int((d_an <= d_ap).sum())
        counts["semi_hard"] += int(((d_an > d_ap) & (d_an < d_ap + MARGIN)).sum())
    easy = int(positive.sum()) * len(d_an) - sum(counts.values())
    return {**counts, "easy": easy}, float((distance < distance[positive].max() + MARGIN).mean())


def verify(
    shape: Shape, counted: np.ndarray, counts_of: np.ndarray, anchors: int
) -> dict[str, float]:
    """Compare a few random anchors with the definition."""
    chosen = np.random.default_rng(4).choice(len(counted), anchors, replace=False)
    reach = []
    for place in chosen[counted["positives"][chosen] > 0]:
        anchor = int(counts_of[place])
        counts, share = by_definition(shape, anchor)
        found = {name: int(counted[name][place]) for name in counts}
        assert found == counts, f"anchor {anchor}: {found}, by the definition {counts}"
        reach.append(share)
    return {"verified": len(reach), "in_reach": round(float(np.mean(reach)), 4)}


def variants(name: str) -> dict[str, dict[str, Any]]:
    """How the pass is run: with the classes alone, without loss, with tables, without numba."""
    found: dict[str, dict[str, Any]] = {"census": {}, "without_loss": {"loss": False}}
    found |= {name: {"wanted": wanted} for name, wanted in TABLES.items()}
    if name == "mnist":
        found["without_numba"] = {"fast": False}
    return found


def measure(name: str, rounds: int, share: float | None, anchors: int) -> dict[str, Any]:
    """Measure one shape."""
    shape = SHAPES[name][1]()
    share = share or shape.share
    count = round(share * len(shape.anchors))
    first = int(np.random.default_rng(5).integers(0, len(shape.anchors) - count + 1))
    mine = (first, first + count)
    passes = {key: Counting(shape, mine, **options) for key, options in variants(name).items()}
    passes["census"]()  # compiles, and warms up
    peak = peak_bytes()
    product = Product(shape, mine)
    product()
    times: dict[str, list[float]] = {key: [] for key in ("product", *passes)}
    for _ in range(rounds):
        times["product"].append(timed(product))
        for key, counting in passes.items():
            times[key].append(counting())
    counted = passes["census"].counted
    order = passes["census"].order
    for key, counting in passes.items():
        for field in ("easy", "semi_hard", "hard"):
            assert (counting.counted[field] == counted[field]).all(), key
    counts = {field: int(counted[field].sum()) for field in ("easy", "semi_hard", "hard")}
    facts = {"shape": SHAPES[name][0], "share": share, "valid": sum(counts.values()), **counts}
    facts |= verify(shape, counted, order[first : first + count], anchors)
    facts |= {"peak_bytes": peak, "blas": blas()}
    facts["seconds"] = {key: median(values) for key, values in times.items()}
    ratios = {key: np.divide(times[key], times["product"]).tolist() for key in passes}
    facts["ratio"] = {key: median(values, 2) for key, values in ratios.items()}
    facts["rounds"] = {key: rounded(values) for key, values in ratios.items()}
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, help="of the anchors, from 0 to 1")
    parser.add_argument("--verify", type=int, default=5, help="anchors compared by the definition")
    given = parser.parse_args()
    report(measure(given.shape, given.rounds, given.share, given.verify))


if __name__ == "__main__":
    main()

"""The exact pass on a GPU beside the bare product on the same GPU, and its counts beside the CPU's.

`python -m tests.bench.gpu` takes under four minutes: it makes its own data, and needs nothing but
this package and PyTorch. For each number of dimensions and each precision it prints

- the share of anchors whose counts equal those of the CPU (it ends with an error unless all do),
- pairs (anchor and row) a second of the bare product: the same block, multiplied and thrown away,
- pairs a second of the pass: counts alone, with the loss, and with the loss and all statistics,
- the share of the product's speed.

`tf32` and `3xbf16` are measured without the loss, for which they are not used. `--device torch:cpu`
tries the script itself on any machine; its times say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from miner.census.device.devices import Device, describe_device, open_device
from miner.census.device.products import multiply, operands
from miner.census.device.roundings import BY_SPEED, ROUNDINGS
from miner.census.measure import Vectors
from miner.census.statistics import StatisticsRequest, plan_statistics
from miner.census.walk.census import Census, CensusRequest
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import LabelRelevance
from miner.triplets.types import Rows

MARGIN, CLASS = 0.2, 10
MEMORY = 1 << 32
LIMIT = 200.0
"""Seconds after which no further measurement begins."""


def clustered(rows: int, dim: int) -> tuple[Vectors, LabelRelevance]:
    """Unit vectors in classes of ten that overlap, as embeddings of text do."""
    rng = np.random.default_rng(dim)
    labels = np.arange(rows) // CLASS
    centers = rng.standard_normal((rows // CLASS + 1, dim), dtype=np.float32)
    vectors = rng.standard_normal((rows, dim), dtype=np.float32)
    vectors += centers[labels]
    unit, none = normalize_rows(vectors), np.full(rows, -1, dtype=np.int64)
    return Vectors(unit, unit), LabelRelevance(labels, none, none)


def walk(census: Census, anchors: Rows, request: CensusRequest) -> np.ndarray:
    """Return the hard, and the hard and semi-hard triplets of each anchor, shape (2, a)."""
    found = np.zeros((2, len(census.vectors.rows)), dtype=np.int64)
    for block in census.blocks(anchors, MEMORY, request):
        for counts, total in ((block.hard, found[0]), (block.non_easy, found[1])):
            total[block.anchors] = np.add.reduceat(counts, block.starts[:-1])
    return found[:, anchors]


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of one call, with the device idle before and after."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def product_speed(vectors: Vectors, name: str, lines: int, device: Device) -> float:
    """Return the pairs a second of a bare product of some anchors with all rows."""
    rounding, on = ROUNDINGS[name], torch.device(device.name)
    step = 1 << 17

    def sent(rows: np.ndarray) -> Any:
        return operands(torch.from_numpy(rows.astype(np.float64)).to(on), rounding)

    own = sent(vectors.rows[:lines])
    tiles = [sent(vectors.rows[at : at + step]) for at in range(0, len(vectors.rows), step)]

    def all_tiles() -> None:
        for tile in tiles:
            multiply(own, tile, rounding)

    all_tiles()
    return lines * len(vectors.rows) / min(seconds(all_tiles, on) for _ in range(2))


def requests(name: str, census: Census, relevance: LabelRelevance) -> Iterator[tuple[str, Any]]:
    """Yield what to count, and its name."""
    yield "counts", lambda: CensusRequest(ranks=False)
    if not ROUNDINGS[name].reduced:
        yield "loss", lambda: CensusRequest(ranks=False, loss=True)
        rows = relevance.rows
        plan = plan_statistics(relevance, StatisticsRequest(True, 100_000, 10))
        yield (
            "statistics",
            lambda: CensusRequest(False, 10, True, plan.sums(rows, (0, rows))),
        )


def measured(vectors: Vectors, relevance: LabelRelevance, name: str, options: Any) -> dict:
    """Measure one precision."""
    device = replace(open_device(options.device, MEMORY), roundings=(name,))
    census = Census(vectors, relevance, "euclidean", MARGIN, device=lambda: device)
    rows, on = len(vectors.rows), torch.device(device.name)
    few = np.linspace(0, rows - 1, options.checked).astype(np.int64)
    cpu = walk(Census(vectors, relevance, "euclidean", MARGIN), few, CensusRequest(ranks=False))
    equal = (walk(census, few, CensusRequest(ranks=False)) == cpu).all(axis=0)
    facts: dict[str, Any] = {"precision": name, "dim": vectors.dim, "equal": float(equal.mean())}
    lines = min(options.lines, rows)
    facts["product"] = product_speed(vectors, name, lines, device)
    for what, request in requests(name, census, relevance):
        once = walk(census, np.arange(min(64, rows)), request())  # starts what is started once
        assert len(once)
        spent = seconds(lambda: walk(census, np.arange(lines), request()), on)  # noqa: B023
        facts[what] = lines * rows / spent
        facts[f"{what}_share"] = facts[what] / facts["product"]
    return facts


def main() -> None:
    """Measure, and print a table and the figures as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dims", default="384,128")
    parser.add_argument("--lines", type=int, default=16_384, help="anchors that are timed")
    parser.add_argument("--checked", type=int, default=64, help="anchors that the CPU counts too")
    parser.add_argument("--precisions", default=",".join(("fp32", "fp64", "3xbf16", "tf32")))
    options = parser.parse_args()
    began, found = time.perf_counter(), []
    print(f"{describe_device(options.device)}, PyTorch {torch.__version__}, {platform.platform()}")
    print(f"{options.rows:,} rows, {options.lines:,} anchors timed, {options.checked} compared")
    for dim in map(int, options.dims.split(",")):
        vectors, relevance = clustered(options.rows, dim)
        for name in options.precisions.split(","):
            if time.perf_counter() - began > LIMIT:
                print(f"  {dim:>4}  {name:<7} left out: time is up")
                continue
            facts = measured(vectors, relevance, name, options)
            found.append(facts)
            times = ", ".join(
                f"{what} {facts[what]:.3g} ({facts[f'{what}_share']:.0%})"
                for what in ("counts", "loss", "statistics")
                if what in facts
            )
            print(
                f"  {dim:>4}  {name:<7} equal {facts['equal']:.0%}, pairs/s: product "
                f"{facts['product']:.3g}, {times}",
                flush=True,
            )
    print(json.dumps({"device": describe_device(options.device), "measured": found}))
    assert set(BY_SPEED) >= {facts["precision"] for facts in found}
    wrong = [facts for facts in found if facts["equal"] < 1]
    if wrong:
        raise SystemExit(f"the device counts otherwise than the CPU: {wrong}")


if __name__ == "__main__":
    main()

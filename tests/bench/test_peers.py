"""Comparison with other miners: time and peak memory of whole processes, and the same triplets."""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miner.selection.strategies.base import STRATEGIES
from tests.bench import peer_pml, peer_st
from tests.bench.common import median, rounded, run_module

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore"),  # warnings of the other libraries
]

HINT = "`make bench` installs the peers"
FLOAT32 = 1e-5
"""Far above the error of a float32 distance of unit vectors, yet negligible."""


def in_turn(module: str, folder: Path, works: list[str], rounds: int) -> dict[str, list[Any]]:
    """Run the processes of both sides alternately, in several rounds."""
    run_module(module, "make", folder)
    found: dict[str, list[Any]] = {work: [] for work in works}
    for left in reversed(range(rounds)):
        for work in works:
            for old in folder.glob("out*"):
                shutil.rmtree(old)
            keep = [] if left else ["keep"]  # results are compared only once
            found[work].append(run_module(module, work, folder, *keep))
    return found


def print_medians(
    found: dict[str, list[Any]], theirs: str = "theirs", key: str = "seconds"
) -> None:
    """Print medians, and the ratio of time and memory in each round."""
    for work, runs in found.items():
        seconds = [run[key if work == theirs else "seconds"] for run in runs]
        peaks = [run["peak_bytes"] / 2**20 for run in runs]
        sys.stdout.write(f"\n  {work:<8} {median(seconds, 1):>6} s {median(peaks, 0):>8,.0f} MiB")
        if work != theirs:
            pairs = list(zip(runs, found[theirs], strict=True))
            times = [mine["seconds"] / other[key] for mine, other in pairs]
            memory = [mine["peak_bytes"] / other["peak_bytes"] for mine, other in pairs]
            sys.stdout.write(
                f": {statistics.median(times):.2f} of their time (rounds: {rounded(times)}), "
                f"{statistics.median(memory):.2f} of their memory; {runs[-1]['timings']}"
            )


def test_every_triplet_of_a_batch(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=HINT)
    pytest.importorskip("pytorch_metric_learning", reason=HINT)
    found = in_turn("tests.bench.peer_pml", tmp_path, ["theirs", "census", "ours"], rounds=2)
    theirs, ours = found["theirs"][-1], found["ours"][-1]
    sys.stdout.write(
        f"\npytorch-metric-learning, {peer_pml.ROWS:,} x 784: {ours['hard']:,} hard, "
        f"{ours['semi_hard']:,} semi-hard; `ours` writes them all, `theirs` holds them in memory"
    )
    print_medians(found)
    written = [run["written_seconds"] for run in found["theirs"]]
    against = [mine["seconds"] / other for mine, other in zip(found["ours"], written, strict=True)]
    sys.stdout.write(
        f"\n  theirs, put to disk as bare numbers too: {median(written, 1)} s; ours "
        f"{statistics.median(against):.2f} of it (rounds: {rounded(against)})"
    )
    warm = run_module("tests.bench.peer_pml", "again", tmp_path)
    faster = [run["again"] / warm["again"] for run in found["theirs"]]
    leaner = theirs["peak_bytes"] / warm["peak_bytes"]
    sys.stdout.write(
        f"\n  once more in a process that has done it before: theirs {theirs['again']:.2f} s, our "
        f"counting pass {warm['again']:.4f} s: {rounded(faster)} times faster, in 1/{leaner:.0f} "
        "of the memory"
    )
    assert all(warm[name] == ours[name] for name in peer_pml.CLASSES)
    for name in peer_pml.CLASSES:
        mine, peer = (np.load(tmp_path / f"{side}-{name}.npy") for side in ("ours", "theirs"))
        assert len(mine) == ours[name] and len(peer) == theirs[name]
        different = _different(mine, peer)
        worst = _farthest_from_a_border(tmp_path, different)
        sys.stdout.write(f"\n  {name}: {len(different)} differ, {worst:.1e} from a border at most")
        assert worst < FLOAT32
    for census, run in zip(found["census"], found["theirs"], strict=True):
        assert census["seconds"] < run["seconds"]
    for mine, run in zip(found["ours"], found["theirs"], strict=True):
        assert mine["peak_bytes"] < run["peak_bytes"] / 5


def _different(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the triplets that only one side has; no side may repeat a triplet."""
    mask = np.zeros(peer_pml.ROWS**3, dtype=np.bool_)
    for side in (ours, theirs):
        before = np.count_nonzero(mask[side])
        mask[side] ^= True
        assert np.count_nonzero(mask[side]) == len(side) - before
    return np.flatnonzero(mask)


def _farthest_from_a_border(folder: Path, triplets: np.ndarray) -> float:
    """Return the largest float64 distance of a triplet from a class border."""
    with np.load(folder / "data.npz") as data:
        vectors = data["embedding"].astype(np.float64)
    pair, negative = np.divmod(triplets, peer_pml.ROWS)
    anchor, positive = np.divmod(pair, peer_pml.ROWS)
    d_ap, d_an = (
        np.sqrt(((vectors[anchor] - vectors[rows]) ** 2).sum(-1)) for rows in (positive, negative)
    )
    gap = d_an - d_ap
    return float(np.minimum(np.abs(gap), np.abs(gap - peer_pml.MARGIN)).max(initial=0.0))


def test_nearest_negatives_of_every_query(tmp_path: Path) -> None:
    for name in ("torch", "sentence_transformers", "datasets"):
        pytest.importorskip(name, reason=HINT)
    able = "hardest" in STRATEGIES.names()
    work = "ours" if able else "census"
    found = in_turn("tests.bench.peer_st", tmp_path, ["theirs", work], rounds=2)
    sys.stdout.write(
        f"\nsentence-transformers with FAISS, {peer_st.ROWS:,} x {peer_st.ROWS:,} x "
        f"{peer_st.DIM}, top {peer_st.DEPTH}, {peer_st.NEGATIVES} negatives a query"
    )
    print_medians(found)
    theirs = np.load(tmp_path / "theirs.npy")
    _compare("theirs with the definition, of 200 queries", tmp_path, theirs, _exact(tmp_path))
    if able:
        ours = np.load(tmp_path / "ours.npy")
        every = dict(enumerate(ours))
        assert (ours >= 0).all(), f"{(ours < 0).sum()} places stayed empty"
        _compare("theirs with ours", tmp_path, theirs, every)
    else:
        sys.stdout.write("\n  there is no strategy `hardest`: our time covers the census only")
    for mine, run in zip(found[work], found["theirs"], strict=True):
        assert mine["peak_bytes"] < run["peak_bytes"]


def _sides(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for name in ("queries", "corpus"):
        with np.load(folder / f"{name}.npz") as data:
            found.append(data["embedding"].astype(np.float64))
    return found[0], found[1]


def _exact(folder: Path) -> dict[int, np.ndarray]:
    """Return the nearest negatives of some queries, by the definition."""
    queries, corpus = _sides(folder)
    found = {}
    for query in np.random.default_rng(7).choice(peer_st.ROWS, 200, replace=False):
        distance = ((queries[query] - corpus) ** 2).sum(-1)
        distance[query] = np.inf  # the query's positive
        few = np.argpartition(distance, peer_st.NEGATIVES)[: peer_st.NEGATIVES]
        found[int(query)] = few[np.argsort(distance[few])]
    return found


def _compare(what: str, folder: Path, theirs: np.ndarray, wanted: dict[int, np.ndarray]) -> None:
    """Print the share of equal negatives; the others must have the same distance in float32."""
    queries, corpus = _sides(folder)
    equal = total = 0
    worst = 0.0
    for query, rows in wanted.items():
        peer = theirs[query]
        equal += len(np.intersect1d(peer, rows))
        total += len(rows)
        if not np.array_equal(peer, rows):
            near = [
                np.sqrt(((queries[query] - corpus[side]) ** 2).sum(-1)) for side in (peer, rows)
            ]
            worst = max(worst, float(np.abs(near[0] - near[1]).max()))
    sys.stdout.write(
        f"\n  {what}: {equal / total:.6%} of the negatives are the same; at one rank, distances "
        f"are {worst:.1e} apart at most"
    )
    assert worst < FLOAT32

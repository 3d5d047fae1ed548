"""Rows written by way of the compiled cells are those of the plain NumPy path, to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.reference import Census
from miner.census.reference_kernel import count_below
from miner.job_sections import SelectJob
from miner.pipeline.passes import share_out
from miner.pipeline.units.miner import Miner
from miner.selection.rank_grid import Sieve
from miner.selection.ranking import Ranking
from miner.selection.selection import load_selection
from miner.triplets.distance import METRICS
from miner.triplets.hardness import MINED, Kept
from miner.triplets.relevance import tally
from tests.hard_data import KINDS, labelled, vectors
from tests.sizes import make_small


def hard_rows(kind: str, rows: int) -> np.ndarray:
    found = vectors(kind, rows, 6, seed=2)
    found[300:340] = found[300]  # a long run of ties
    return found


def census_of(kind: str, metric: Any, margin: float, rows: int = 700, **more: Any) -> Census:
    found = hard_rows(kind, rows)
    return Census(Vectors(found, found), labelled("skewed", rows, 4), metric, margin, **more)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("margin", [0.05, 1e30])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_counts_and_rows_are_those_of_the_reference(kind: str, metric: str, margin: float) -> None:
    census = census_of(kind, metric, margin)
    anchors = np.array([0, 1, 305, 350, 699])
    expected = census.block(anchors, kernel=count_below)
    sieve = Sieve(700)
    block = census.block(anchors, kernel=sieve.count)
    assert block.hard.tolist() == expected.hard.tolist()
    assert block.within.tolist() == expected.within.tolist()
    most = np.maximum.reduceat(block.within, block.starts[:-1])
    lines = np.flatnonzero(most)
    rng = np.random.default_rng(1)
    wanted = [rng.integers(0, most[line], rng.integers(1, 40)) for line in lines]
    starts = np.cumsum([0, *map(len, wanted)])
    ranks = np.concatenate([np.empty(0, dtype=np.int64), *wanted])
    found = sieve.find(block, lines, starts, ranks)
    distances = census.vectors.measure(metric, anchors[lines][found.number], found.rows)
    order = np.lexsort((found.rows, distances, found.run))
    rows = np.where(found.run > 0, 0, found.rows)
    rows[found.run > 0] = found.rows[order][found.run[order] > 0]
    for number, line in enumerate(lines.tolist()):
        if found.sure[number]:
            unique, inverse = np.unique(wanted[number], return_inverse=True)
            truth = Ranking(census, expected, line)
            mine = found.place[starts[number] : starts[number + 1]]
            assert rows[mine].tolist() == truth.rows_at(unique)[inverse].tolist()
    if kind == "random" and margin < 1e30:
        assert found.sure.all()


def written(folder: Path, census: Census, select: SelectJob) -> dict[str, bytes]:
    """What a miner writes of all anchors, in two units."""
    counts = tally(census.relevance)
    miner = Miner(census, counts, load_selection(select), select.seed, 1 << 20)
    units = [(0, 450), (450, 700)]
    counted = [miner.count(unit) for unit in units]
    shares = share_out(np.concatenate(counted), select)
    found = {}
    for unit in units:
        paths: dict[Kept, Path] = {name: folder / f"{name}-{unit[0]}" for name in MINED}
        miner.write(unit, {n: share.part(slice(*unit)) for n, share in shares.items()}, paths)
        found |= {str(path.name): path.read_bytes() for path in paths.values()}
    return found


SELECTS = {
    "capped": SelectJob(max_triplets=3000),
    "anchors": SelectJob(max_triplets=10**9, per_anchor=300),
    "pairs": SelectJob(max_triplets=2000, per_pair=2),
    "uniform": SelectJob(max_triplets=2000, strategy="uniform", options={"k": 5}),
    "filtered": SelectJob(strategy="hardest", min_score=0.1),
}
FEW = ("random", "near_tied")
"""Data on which every selection is tried each time; on other data one is, the rest as slow."""


def cases() -> list[Any]:
    found = []
    for number, kind in enumerate(KINDS):
        for place, name in enumerate(SELECTS):
            often = kind in FEW or place == number % len(SELECTS)
            marks = () if often else (pytest.mark.slow,)
            found.append(pytest.param(kind, SELECTS[name], id=f"{kind}-{name}", marks=marks))
    return found


@pytest.mark.sampled(7)
@pytest.mark.parametrize(("kind", "select"), cases())
def test_the_compiled_path_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, select: SelectJob
) -> None:
    census = census_of(kind, "euclidean", 0.1)
    plain = census_of(kind, "euclidean", 0.1, kernel="numpy")
    make_small(monkeypatch, chunk=1000)
    fast = written(tmp_path, census, select)
    assert fast == written(tmp_path, plain, select)
    assert any(fast.values())

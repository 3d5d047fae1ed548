"""Triplets written from lists of nearest rows are those written by a walk, to the byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.walk.candidate_lists import (
    ENTRY_SUFFIX,
    HEADER_SUFFIX,
    CandidateFiles,
    CandidateLists,
)
from miner.census.walk.census import Census
from miner.job_sections import SelectJob
from miner.pipeline.passes import allocate_quotas
from miner.pipeline.units.miner import UnitMiner
from miner.selection.selection import load_selection
from miner.selection.strategies.base import STRATEGIES
from miner.triplets.distance import METRICS
from miner.triplets.hardness import MINED_CLASSES, OutputFolder
from miner.triplets.relevance import Relevance, tally
from tests.hard_data import KINDS, labelled, linked, vectors
from tests.hard_relevance import multilabel
from tests.sizes import make_small

ROWS, MEMORY = 240, 1 << 20
UNITS = [(0, 90), (90, 240)]

SELECTS = {
    "hardest": SelectJob(strategy="hardest", options={"k": 3}, max_triplets=10**9),
    "hardest, capped": SelectJob(strategy="hardest", options={"k": 3}, max_triplets=700),
    "all": SelectJob(max_triplets=10**9),
    "all, capped": SelectJob(max_triplets=3000),
    "anchors": SelectJob(max_triplets=10**9, per_anchor=40),
    "pairs": SelectJob(max_triplets=10**9, per_pair=2),
    "skipping": SelectJob(strategy="hardest", options={"k": 2}, skip_nearest=3),
    "ranks": SelectJob(strategy="all", ranks=(2, 9), classes=("semi_hard",)),
    "scored": SelectJob(strategy="hardest", min_score=0.1, max_score=0.9, suspects=True),
    "margin": SelectJob(relative_margin=0.05, suspects=True, max_triplets=2000),
    "semi-hard": SelectJob(strategy="semi-hard"),
    "easy-positive": SelectJob(strategy="easy-positive"),
    "batch-hard": SelectJob(strategy="batch-hard"),
    "uniform": SelectJob(strategy="uniform", options={"k": 4}),
    "warp": SelectJob(strategy="warp", options={"k": 4}),
    "simans": SelectJob(strategy="simans", options={"k": 4}),
    "distance-weighted": SelectJob(strategy="distance-weighted", options={"k": 4}),
}


def relevance_of(kind: str, rows: int) -> Relevance:
    if kind == "links":
        return linked(rows, rows, 3, hide=True)
    if kind == "sets":
        return multilabel("many", rows, 3, hide=True)
    return labelled(kind, rows, 3, hide=kind == "even")


def census_of(kind: str, relevance: str, metric: Any = "euclidean", margin: float = 0.1) -> Census:
    rows = vectors(kind, ROWS, 6, seed=5)
    rows[150:170] = rows[150]  # a long run of ties
    anchors = vectors(kind, ROWS, 6, seed=6) if relevance == "links" else rows
    return Census(Vectors(anchors, rows), relevance_of(relevance, ROWS), metric, margin)


def miner_of(census: Census, select: SelectJob, *, writes: bool = True) -> UnitMiner:
    selection = load_selection(select)
    positives = tally(census.relevance)
    return UnitMiner(census, positives, selection, select.seed, MEMORY, writes=writes)


def written(
    folder: Path, miner: UnitMiner, select: SelectJob, counted: np.ndarray, files: Any = None
) -> dict[str, bytes]:
    """What is written of all anchors."""
    folder.mkdir()
    found: dict[str, bytes] = {}
    for unit in UNITS:
        shares = {n: s.part(slice(*unit)) for n, s in allocate_quotas(counted, select).items()}
        paths: dict[OutputFolder, Path] = {name: folder / f"{name}-{unit[0]}" for name in shares}
        miner.write(unit, shares, paths, counted[slice(*unit)], files)
        found |= {str(path.name): path.read_bytes() for path in paths.values()}
    return found


def counted_with_lists(folder: Path, miner: UnitMiner) -> tuple[np.ndarray, CandidateFiles]:
    """Count all units, as `miner.pipeline.units.spec.count_unit` does."""
    parts, names = [], []
    for number, unit in enumerate(UNITS):
        lists: list[CandidateLists] = []
        parts.append(miner.count(unit, None, lists))
        names.append(f"count-{number}")
        np.save(folder / f"{names[-1]}{HEADER_SUFFIX}", lists[0].head)
        np.save(folder / f"{names[-1]}{ENTRY_SUFFIX}", lists[0].entries)
    return np.concatenate(parts), CandidateFiles(folder, names, np.arange(ROWS))


def same_bytes(folder: Path, census: Census, select: SelectJob) -> np.ndarray:
    """Write in both ways; return how many rows were listed of each anchor, -1 for no list."""
    miner = miner_of(census, select)
    expected = np.concatenate([miner.count(unit) for unit in UNITS])
    truth = written(folder / "walked", miner, select, expected)
    counted, files = counted_with_lists(folder, miner)
    assert counted.tolist() == expected.tolist()
    assert truth == written(folder / "listed", miner, select, counted, files)
    return files.read(np.arange(ROWS)).head["held"]


@pytest.mark.sampled(10)
@pytest.mark.parametrize(
    ("select", "relevance"),
    [(select, relevance) for select in SELECTS for relevance in ("links", "skewed")]
    + [
        (select, kind)
        for select in ("hardest", "all, capped")
        for kind in ("even", "giant", "sets")
    ],
)
def test_every_selection_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str, relevance: str
) -> None:
    make_small(monkeypatch, chunk=1000, stretch=900, entries=700)
    assert {job.strategy for job in SELECTS.values()} == set(STRATEGIES.names())
    make_small(monkeypatch, listed=24)
    same_bytes(tmp_path, census_of("random", relevance, margin=0.4), SELECTS[select])


@pytest.mark.sampled(9)
@pytest.mark.parametrize("margin", [0.1, pytest.param(1e30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_hard_data_is_written_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, metric: str, margin: float
) -> None:
    for relevance, select, most in (("links", "hardest", 40), ("skewed", "all, capped", 150)):
        folder = tmp_path / relevance
        folder.mkdir()
        census = census_of(kind, relevance, metric, margin)
        make_small(monkeypatch, listed=most)
        same_bytes(folder, census, SELECTS[select])


@pytest.mark.parametrize("most", [1, 2, 7, 60, 300])
def test_any_length_of_the_lists_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    make_small(monkeypatch, listed=most)
    held = same_bytes(tmp_path, census_of("random", "links", margin=0.5), SELECTS["hardest"])
    assert most < 7 or (held >= 0).any()


def test_room_is_kept_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch, all_listed=300, each_listed=0)
    held = same_bytes(tmp_path, census_of("random", "links", margin=0.3), SELECTS["hardest"])
    assert 0 < held[held > 0].sum() <= 320 and (held < 0).any()


class Barren(Census):
    """A census that walks no more."""

    def blocks(self, *arguments: Any, **more: Any) -> Any:
        raise AssertionError("a whole block was made")


def test_what_is_listed_saves_the_walk(tmp_path: Path) -> None:
    census = census_of("random", "links", margin=0.05)
    select = SELECTS["hardest"]
    miner = miner_of(census, select)
    counted, files = counted_with_lists(tmp_path, miner)
    held = files.read(np.arange(ROWS)).head["held"]
    served = (counted["hard"] + counted["semi_hard"] > 0) & (held >= 0)
    assert served.sum() > 60
    for name in MINED_CLASSES:
        counted[f"slots_{name}"][~served] = 0
    barren = Barren(census.vectors, census.relevance, census.metric, census.margin)
    miner = dataclasses.replace(miner, census=barren)
    assert any(written(tmp_path / "out", miner, select, counted, files).values())


def test_nothing_is_listed_where_nothing_is_written(tmp_path: Path) -> None:
    census = census_of("random", "links", margin=0.05)
    miner = miner_of(census, SELECTS["hardest"], writes=False)
    _, files = counted_with_lists(tmp_path, miner)
    assert (files.read(np.arange(ROWS)).head["held"] == -1).all()

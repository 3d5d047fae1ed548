"""Triplets written from listed rows are those written from whole blocks, to the byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miner.census.candidate_lists import ENTRIES, HEADS, LATER, VAIN, Reach, ReachFiles, ReachRoom
from miner.census.fast.counter import Screen
from miner.census.measure import Vectors
from miner.census.reference import Census
from miner.census.statistics import Besides
from miner.job_sections import SelectJob
from miner.pipeline.passes import share_out
from miner.pipeline.units.candidates import Listing
from miner.pipeline.units.miner import Miner
from miner.selection.listed_block import Lister
from miner.selection.selection import load_selection
from miner.selection.strategies.base import STRATEGIES
from miner.triplets.distance import METRICS
from miner.triplets.hardness import MINED, Kept
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


def plain_miner(census: Census, select: SelectJob) -> Miner:
    return Miner(census, tally(census.relevance), load_selection(select), select.seed, MEMORY)


def listing_miner(
    census: Census, select: SelectJob, most: int, kind: type[Listing] = Listing
) -> Miner:
    screen = Screen(census, loss=False, keep_bytes=1 << 20)
    plain = plain_miner(census, select)
    listing = kind(screen, plain.selection, plain.tally.positives, most, MEMORY)
    besides = Besides(columns=True)  # so that all anchors go through the fast pass
    return dataclasses.replace(plain, screen=screen, listing=listing, besides=besides)


def written(
    folder: Path, miner: Miner, select: SelectJob, counted: np.ndarray, files: Any = None
) -> dict[str, bytes]:
    """What is written of all anchors."""
    folder.mkdir()
    found: dict[str, bytes] = {}
    for unit in UNITS:
        shares = {n: s.part(slice(*unit)) for n, s in share_out(counted, select).items()}
        paths: dict[Kept, Path] = {name: folder / f"{name}-{unit[0]}" for name in shares}
        miner.write(unit, shares, paths, counted[slice(*unit)], files)
        found |= {str(path.name): path.read_bytes() for path in paths.values()}
    return found


def counted_with_lists(folder: Path, miner: Miner) -> tuple[np.ndarray, ReachFiles]:
    """Count all units, as `miner.pipeline.units.task.count_unit` does."""
    parts, names = [], []
    for number, unit in enumerate(UNITS):
        reaches: list[Reach] = []
        parts.append(miner.count(unit, miner.besides.sums(ROWS, unit), reaches))
        reach = reaches[0] if reaches else Reach.unknown(unit[1] - unit[0])
        names.append(f"count-{number}")
        np.save(folder / f"{names[-1]}{HEADS}", reach.head)
        np.save(folder / f"{names[-1]}{ENTRIES}", reach.entries)
    return np.concatenate(parts), ReachFiles(folder, names, np.arange(ROWS))


def same_bytes(folder: Path, census: Census, select: SelectJob, most: int) -> ReachFiles:
    """Write in all ways; return what was listed."""
    plain, listing = plain_miner(census, select), listing_miner(census, select, most)
    expected = np.concatenate([plain.count(unit) for unit in UNITS])
    truth = written(folder / "whole", plain, select, expected)
    counted, files = counted_with_lists(folder, listing)
    assert counted["hard"].tolist() == expected["hard"].tolist()
    assert truth == written(folder / "listed", listing, select, counted, files)
    assert truth == written(folder / "later", listing, select, counted)
    return files


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
    same_bytes(tmp_path, census_of("random", relevance, margin=0.4), SELECTS[select], most=24)


@pytest.mark.sampled(9)
@pytest.mark.parametrize("margin", [0.1, pytest.param(1e30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_hard_data_is_written_the_same(
    tmp_path: Path, kind: str, metric: str, margin: float
) -> None:
    for relevance, select, most in (("links", "hardest", 40), ("skewed", "all, capped", 150)):
        folder = tmp_path / relevance
        folder.mkdir()
        census = census_of(kind, relevance, metric, margin)
        same_bytes(folder, census, SELECTS[select], most)


@pytest.mark.parametrize("most", [1, 2, 7, 60, 300])
def test_any_length_of_the_lists_writes_the_same(tmp_path: Path, most: int) -> None:
    census = census_of("random", "links", margin=0.5)
    files = same_bytes(tmp_path, census, SELECTS["hardest"], most)
    held = files.of(np.arange(ROWS)).head["held"]
    assert held.max() <= 2 * most
    assert most < 7 or (held >= 0).any()


def test_lists_hold_what_is_within_reach_and_keys_are_as_near_as_they_say() -> None:
    census = census_of("random", "skewed", margin=0.3)
    anchors = np.arange(ROWS)
    screen = Screen(census, loss=False, keep_bytes=0)
    full = screen.count(anchors, MEMORY, reach=ReachRoom(ROWS, ROWS * ROWS)).reach
    some = screen.count(anchors, MEMORY, reach=ReachRoom(30, ROWS * ROWS)).reach
    space, rows = census.space, census.space.prepare(census.vectors.rows)
    positives = tally(census.relevance).positives
    for anchor in np.flatnonzero(positives).tolist():
        block = census.block(np.array([anchor]))
        query = space.prepare(census.vectors.anchors[anchor : anchor + 1])
        keys = (space.bias(rows) - query @ rows.T)[0]
        truth = np.flatnonzero(block.keys[0] <= np.maximum(*block.edges.within[[0, -1]]))
        whole, part = full.take(np.array([anchor])), some.take(np.array([anchor]))
        assert whole.head["held"][0] >= 0
        assert set(whole.entries["row"].tolist()) >= set(truth.tolist())
        for reach in (whole, part):
            apart = np.abs(reach.entries["key"] - keys[reach.entries["row"]])
            assert (apart <= reach.head["error"][0]).all()
        if part.head["held"][0] >= 0:
            near = whole.entries["row"][whole.entries["key"] <= part.head["top"][0]]
            assert set(part.entries["row"].tolist()) == set(near.tolist())


def test_room_is_kept_to() -> None:
    census = census_of("random", "links", margin=0.3)
    anchors = np.flatnonzero(tally(census.relevance).positives)
    screen = Screen(census, loss=False, keep_bytes=0)
    reach = screen.count(anchors, MEMORY, reach=ReachRoom(ROWS, 300)).reach
    assert len(reach.entries) <= 300
    assert (reach.head["held"] == LATER).any()
    dense = census_of("random", "links", margin=1e3)
    screen = Screen(dense, loss=False, keep_bytes=0)
    reach = screen.count(anchors, MEMORY, reach=ReachRoom(4, 10**6)).reach
    assert set(reach.head["held"].tolist()) <= {VAIN, LATER}


class Barren(Census):
    """A census of which no block may be made."""

    def block(self, *arguments: Any) -> Any:
        raise AssertionError("a whole block was made")


def barren(census: Census) -> Census:
    return Barren(census.vectors, census.relevance, census.metric, census.margin)


class Tired(Screen):
    """A fast pass that counts nothing more."""

    def count(self, *arguments: Any, **more: Any) -> Any:
        raise AssertionError("anchors were counted")


class Scant(Listing):
    """Has room for a few rows an anchor as units are counted."""

    def room(self, anchors: int) -> ReachRoom:
        return dataclasses.replace(super().room(anchors), entries=8 * anchors)


def test_what_is_listed_saves_the_product(tmp_path: Path) -> None:
    census = census_of("random", "links", margin=0.05)
    select = SELECTS["hardest"]
    miner = listing_miner(census, select, ROWS)
    counted, files = counted_with_lists(tmp_path, miner)
    held = files.of(np.arange(ROWS)).head["held"]
    served = (counted["hard"] + counted["semi_hard"] > 0) & (held >= 0)
    assert served.sum() > 60
    for name in MINED:
        counted[f"slots_{name}"][~served] = 0
    lists = dataclasses.replace(miner.listing, screen=Tired(census, loss=False, keep_bytes=0))
    miner = dataclasses.replace(miner, census=barren(census), listing=lists)
    assert any(written(tmp_path / "out", miner, select, counted, files).values())


def test_pairs_are_counted_as_the_census_does() -> None:
    for kind in KINDS:
        census = census_of(kind, "skewed", margin=0.2)
        screen = Screen(census, loss=False, keep_bytes=0)
        anchors = np.arange(0, ROWS, 7)
        anchors = anchors[tally(census.relevance).positives[anchors] > 1]
        reach = screen.count(anchors, MEMORY, reach=ReachRoom(ROWS, ROWS * ROWS)).reach
        some = np.flatnonzero((reach.head["held"] >= 0) & np.isinf(reach.head["top"]))
        zeros = np.zeros(len(some), dtype=np.int64)
        block = Lister(census, screen.pairs).block(anchors[some], reach.take(some), zeros, zeros)
        if len(some):
            truth = census.block(anchors[some])
            assert block.positives.tolist() == truth.positives.tolist()
            assert block.hard.tolist() == truth.hard.tolist()
            assert block.within.tolist() == truth.within.tolist()
        assert len(some) or kind not in ("random", "duplicated", "tied")


@pytest.mark.parametrize("relevance", ["links", "skewed"])
def test_what_found_no_room_is_listed_as_it_is_written(tmp_path: Path, relevance: str) -> None:
    census = census_of("random", relevance, margin=0.05)
    select = SELECTS["all, capped"]
    miner = listing_miner(census, select, ROWS, Scant)
    counted, files = counted_with_lists(tmp_path, miner)
    wanted = counted["hard"] + counted["semi_hard"] > 0
    later = wanted & (files.of(np.arange(ROWS)).head["held"] == LATER)
    assert 0 < later.sum() < wanted.sum()
    plain = plain_miner(census, select)
    truth = written(tmp_path / "whole", plain, select, counted)
    miner = dataclasses.replace(miner, census=barren(census))
    assert written(tmp_path / "later", miner, select, counted, files) == truth

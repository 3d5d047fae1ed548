"""What `mine plan` says of a selection holds for the run: rows, and whether it counts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.planning.costs import Costs, IndexCosts, Work
from miner.planning.estimate import Stage, cluster, seconds, serial_share, stages
from miner.planning.footprint import disk, hubs, memory
from miner.planning.rehearsal.index import lists_of, scaled
from miner.planning.rehearsal.sample import Part, made_up, part_of
from miner.selection.strategies.base import STRATEGIES
from miner.triplets.hardness import MINED
from miner.triplets.relevance import AnchorSubset, LabelRelevance, LinkRelevance, Relevance
from tests.conftest import Result, write_vectors

ANCHORS, CLASSES = 60, 5
PAIRS = ANCHORS * (ANCHORS // CLASSES - 1)
VALID = PAIRS * (ANCHORS - ANCHORS // CLASSES)

BOUNDS: list[tuple[dict[str, Any], int]] = [
    ({}, VALID),
    ({"classes": ["hard"]}, VALID),
    ({"max_triplets": 100}, 200),
    ({"max_triplets": 0}, 0),
    ({"per_pair": 2}, 4 * PAIRS),
    ({"per_anchor": 2, "classes": ["hard"]}, 2 * ANCHORS),
    ({"ranks": [2, 5]}, 6 * PAIRS),
    ({"per_negative": 1}, 2 * ANCHORS),
    ({"strategy": "hardest", "options": {"k": 3}}, 6 * PAIRS),
    ({"strategy": "hardest", "per_anchor": 4}, 8 * ANCHORS),
    ({"strategy": "semi-hard"}, PAIRS),
    ({"strategy": "semi-hard", "max_triplets": 50}, 50),
    ({"strategy": "batch-hard"}, ANCHORS),
    ({"strategy": "batch-hard", "max_triplets": 10}, 20),
    ({"strategy": "easy-positive"}, ANCHORS),
    ({"strategy": "uniform", "options": {"k": 4}}, 4 * ANCHORS),
    ({"strategy": "warp", "options": {"k": 2}, "classes": ["hard"]}, 2 * PAIRS),
    ({"strategy": "simans"}, 2 * PAIRS),
    ({"strategy": "distance-weighted"}, 2 * PAIRS),
    ({"max_score": 0.1, "suspects": True, "max_triplets": 30}, 90),
]


def job(data: Path, out: Path, **select: Any) -> miner.Job:
    return miner.parse_job(
        {"dataset": {"path": str(data)}, "output": {"path": str(out)}, "select": select}
    )


@pytest.mark.parametrize(("select", "bound"), BOUNDS, ids=str)
def test_the_rows_of_a_selection_are_bounded(
    select: dict[str, Any], bound: int, small: Path, tmp_path: Path
) -> None:
    planned = job(small, tmp_path / "out", **select)
    facts = miner.plan_job(planned)
    assert (facts["valid"], facts["triplets_at_most"]) == (VALID, bound)
    written = miner.mine(planned).manifest["written"]
    assert sum(one["rows"] for one in written.values()) <= bound


def test_every_strategy_keeps_its_bound(tmp_path: Path) -> None:
    """On clusters of different sizes, where some anchors have no positive."""
    rng = np.random.default_rng(2)
    labels: list[object] = [f"c{n}" for n in rng.integers(0, 9, 70)] + ["alone"]
    data = write_vectors(tmp_path / "d.parquet", rng.standard_normal((71, 4)), labels)
    loose = 0
    for row in STRATEGIES.names():
        planned = job(data, tmp_path / row, strategy=row)
        facts = miner.plan_job(planned)
        written = miner.mine(planned).manifest["written"]
        rows = sum(written[name]["rows"] for name in MINED)
        assert 0 < rows <= facts["triplets_at_most"]
        loose += facts["triplets_at_most"] == facts["valid"]
    assert loose == 1  # `all`


def test_the_plan_knows_whether_the_count_is_kept(
    small: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    assert miner.plan_job(job(small, out))["count_reused"] is False
    miner.mine(job(small, out))
    seeded = miner.plan_job(job(small, out, seed=3))
    assert seeded["count_reused"] is True and seeded["seconds"]["count"] < 0.5
    assert miner.plan_job(job(small, out, strategy="hardest"))["count_reused"] is False
    said = cli("plan", "--data", small, "--out", out, "--seed", 3)
    assert "count     kept from an earlier run" in said.out
    (record,) = out.glob(".store/*/counts/*/census.npy")
    record.write_bytes(b"torn")
    assert miner.plan_job(job(small, out, seed=3))["count_reused"] is False


def test_time_grows_with_the_work() -> None:
    sample = IndexCosts(10_000, 100, 8, train=1.0, add=1.0, truth=0.1, tune=0.2, ask=0.1)
    costs = Costs(
        10_000, start=0.1, read=1.0, embed=1e-3, begin=0.5, count=1e-3, search=4e-4, write=1e-6,
        seal=1e-7, audit=1e-3, count_serial=0.1, write_serial=0.8, index=sample,
    )  # fmt: skip
    work = Work(10_000, 10_000, 10_000, 64, 32, 313, 10_000, 10_000, 10**6, 2)

    def spent(workers: int, threads: bool = False, **changes: Any) -> dict[str, float]:
        found = stages(dataclasses.replace(work, **changes), costs, one_process=threads)
        return seconds(found, workers)

    one = spent(1)
    assert one["count"] == pytest.approx(0.5 + 0.6e-3 * 10_000) and "audit" not in one
    assert one["embed"] == pytest.approx(10) and one["write"] == pytest.approx(1)
    rows, anchors = spent(1, rows=20_000), spent(1, anchors=20_000)
    assert rows["count"] == pytest.approx(2 * one["count"])
    assert anchors["count"] == pytest.approx(2 * one["count"] - 0.5)
    two, threads = spent(2), spent(2, threads=True)
    assert two["count"] == pytest.approx(0.5 + 3) and two["seal"] == one["seal"] / 2
    assert two["count"] < threads["count"] < one["count"]
    assert threads["write"] == pytest.approx(0.9) and two["write"] == pytest.approx(0.5)
    assert spent(64)["seal"] == spent(2)["seal"]  # two shards
    assert all(two[name] == one[name] for name in ("start", "read", "embed", "index"))
    assert spent(1, counted=True)["count"] == 0.5
    near = spent(1, audited=400, lists=100)
    grown = spent(1, audited=400, lists=200, rows=40_000)
    assert near["audit"] == pytest.approx(0.4) and grown["audit"] == pytest.approx(1.6)
    # a search is held against 100 + 8 x 100 vectors, then against 200 + 8 x 200
    assert grown["count"] - near["count"] == pytest.approx(4e-4 * 10_000)
    assert near["index"] == pytest.approx(2.4)
    assert grown["index"] == pytest.approx(2 * 4 + 1 * 8 + 0.2 * 4 + 0.2 * 2)


def test_workers_share_what_is_not_done_one_at_a_time() -> None:
    for share in (0.0, 0.25, 1.0):
        stage = Stage(2.0, 10.0, share)
        alone, together = stage.on(1) - 2, stage.on(4) - 2
        assert serial_share(alone, together, 4) == pytest.approx(share)
    assert serial_share(1.0, 3.0, 2) == 1 and serial_share(1.0, 1.0, 1) == 0
    assert Stage(0.0, 8.0, most=2).on(8) == 4
    lines = cluster({"embed": Stage(3600.0), "count": Stage(0.0, 7200.0)}, (1, 4), 0.5)
    assert [line["worker_hours"] for line in lines] == [3.0, 6.0]
    assert [line["cost"] for line in lines] == [1.5, 3.0]
    assert lines[1]["seconds"] == 5400


def test_units_leave_at_most_all_rows_as_hubs() -> None:
    costs = Costs(1000, hub=20.0, seen=0.5, sliced=100, record=10.0, shard=12.0, row=30.0)
    work = Work(2000, 2000, 1000, 8, 10, 200, 1000, 1000, 100, 2)
    assert hubs(work, costs) == pytest.approx(750)
    room = disk(work, costs, cached=True)
    assert room["total"] == sum(size for name, size in room.items() if name != "total")
    assert room["cache"] > room["store"] - 30 * 1000 - 128 * 2000 > 0
    plain = disk(work, dataclasses.replace(costs, hub=0.0), cached=False)
    assert room["staged"] - plain["staged"] == 10 * 750 * 20 and plain["cache"] == 0


def test_lists_of_rows_within_reach_grow_with_the_rows() -> None:
    """As far as they may: the sample has 500 of the 1,000 rows that the job has."""
    costs = Costs(500, record=10.0, shard=12.0, row=30.0)
    work = Work(2000, 2000, 1000, 8, 10, 200, 1000, 1000, 100, 2)
    listed = dataclasses.replace(costs, listed=100.0)
    plain = disk(work, costs, cached=True)["staged"]
    for most, want in ((10**9, 2000 * 100 * work.rows / 500), (5000, 5000), (0, 0)):
        assert disk(work, listed, cached=True, lists=most)["staged"] - plain == want


def test_memory_is_that_of_the_rows_and_of_the_job() -> None:
    def planned(rows: int, *, workers: int = 2, keys: int = 1 << 29, sides: int = 1) -> int:
        work = Work(10**5, 10**5, rows, 128, 100, 1000, rows, rows, 10**6, 2)
        machine = {"workers": workers, "processes": 1, "pairs": 10}
        return memory(work, keys=keys, sides=sides, **machine)

    small, large = planned(10_000), planned(4_000_000)
    assert 300 << 20 < small < 600 << 20
    assert large > 4 * 4_000_000 * 128 + (1 << 28)
    assert planned(10_000, sides=2) - small >= 4 * 10**5 * 128
    assert planned(4_000_000, keys=1 << 31) > large
    assert small < planned(10_000, workers=16) < small + (1 << 30)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if not path.is_symlink())


KINDS: list[dict[str, Any]] = [
    {"max_triplets": 20_000},
    {"strategy": "hardest", "max_triplets": 500},
    {"strategy": "warp", "per_anchor": 5},
    {"max_triplets": 0},
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("select", KINDS, ids=str)
@pytest.mark.parametrize("index", ["Flat", "IVF8,Flat", "HNSW16"])
def test_a_plan_bounds_its_run(index: str, select: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    labels: list[object] = rng.integers(0, 40, 1500).tolist()
    vectors = rng.standard_normal((40, 16))[labels] + 0.7 * rng.standard_normal((1500, 16))
    data = write_vectors(tmp_path / "d.parquet", vectors, labels)
    planned = miner.parse_job(
        {
            "dataset": {"path": str(data)},
            "output": {"path": str(tmp_path / "out")},
            "select": select,
            "index": {"factory": index, "min_recall": 1e-9},
        }
    )
    facts = miner.plan_job(planned)
    assert not (tmp_path / "out").exists()
    spent = facts["seconds"]
    assert all(value >= 0 for value in spent.values()) and spent["count"] > 0
    assert facts["total_seconds"] == pytest.approx(sum(spent.values()), abs=0.1)
    assert ("audit" in spent) == (index != "Flat")
    widest = [line["seconds"] for line in facts["scaling"]]
    assert widest == sorted(widest, reverse=True)
    assert facts["calibration"] == {**facts["calibration"], "rows": 1500, "made_up": 0.0}
    written = miner.mine(planned).manifest["written"]
    rows = sum(one["rows"] for one in written.values())
    assert 0.5 * rows <= facts["triplets_expected"] <= facts["triplets_at_most"]
    assert facts["triplets_expected"] <= 2 * rows + 100
    assert folder_bytes(tmp_path / "out") <= facts["disk_bytes"]


def test_a_plan_says_what_it_costs(small: Path, cli: Callable[..., Result], tmp_path: Path) -> None:
    asked = ("plan", "--data", small, "--out", tmp_path / "out", "--workers", 3)
    facts = json.loads(cli(*asked, "--price-per-hour", "2.5", "--json").out)
    assert facts["engine"]["workers"] == 3 and facts["price_per_hour"] == 2.5
    assert 3 in [line["workers"] for line in facts["scaling"]]
    for line in facts["scaling"]:
        assert line["cost"] == pytest.approx(2.5 * line["worker_hours"], abs=2e-4)
    said = cli(*asked, "--price-per-hour", "2.5").out
    assert "cost" in said and "worker hours" in said and "cost" not in cli(*asked).out
    assert max(map(len, said.splitlines())) <= 80
    refused = cli(*asked, "--price-per-hour", "-1")
    assert refused.code == 2 and "price-per-hour" in refused.err


def part_positives(relevance: Relevance, part: Part) -> None:
    """What is positive in a part is so in the whole."""
    for place, anchor in enumerate(part.anchors[:20].tolist()):
        mine = part.rows[part.relevance.positives(place)]
        whole = relevance.positives(anchor)
        assert np.isin(mine, whole).all()
        if part.whole:
            assert len(mine) == len(whole)


def test_a_part_keeps_the_positives_of_its_anchors() -> None:
    rng, none = np.random.default_rng(3), np.full(5000, -1)
    many = LabelRelevance(rng.integers(0, 500, 5000), none, none)
    few = LabelRelevance(rng.integers(0, 5, 5000), none, none)
    some = AnchorSubset(many, np.arange(0, 5000, 3))
    linked = rng.integers(0, 5000, 1200)
    none, asked = none, np.full(600, -1)
    starts = np.arange(0, 1201, 2)
    linked = np.sort(linked.reshape(-1, 2) // 2 * 2 + [0, 1], axis=1).ravel()
    pairs = LinkRelevance(starts, linked, none, asked, none, asked, asked)
    for relevance, whole in ((many, True), (few, False), (some, True), (pairs, True)):
        part = part_of(relevance, 1000)
        assert part.whole == whole and 800 <= part.relevance.rows <= 1000
        assert part.relevance.anchors == len(part.anchors) > 50
        assert len(part.rows) == part.relevance.rows
        part_positives(relevance, part)
    assert part_of(many, 5000).relevance is many


def test_vectors_are_made_up_within_their_class() -> None:
    rng = np.random.default_rng(4)
    classes = np.repeat(np.arange(30), 20)
    centers = 10 * rng.standard_normal((30, 8))
    true = (centers[classes] + 0.1 * rng.standard_normal((600, 8))).astype(np.float32)
    known = np.flatnonzero(classes < 20)[::2]
    made = made_up(true[known], known, classes, 600, normalize=False)
    assert made.dtype == np.float32 and (made[known] == true[known]).all()
    own = classes < 20
    assert np.abs(made[own] - centers[classes[own]]).max() < 1
    for code in range(20, 30):  # of others: as narrow, elsewhere
        assert np.ptp(made[classes == code], axis=0).max() < 1
    wide = np.std(made.reshape(30, 20, 8).mean(axis=1), axis=0)
    assert wide == pytest.approx(np.std(centers, axis=0), rel=0.4)
    assert len(np.unique(made, axis=0)) == 600
    short = made_up(true[known], known, classes, 600, normalize=True)
    assert np.allclose(np.linalg.norm(short, axis=1)[own == 0], 1, atol=1e-6)


def test_an_index_is_tried_on_fewer_rows() -> None:
    assert scaled("Flat", 10**6, 128, 10**5) == ("Flat", 10**5)
    assert scaled("IVF64,Flat", 4000, 64, 10**6) == ("IVF64,Flat", 4000)
    factory, rows = scaled("OPQ32,IVF4096,PQ32x4fs", 10**6, 128, 10**6)
    lists = lists_of(factory)
    assert factory == f"OPQ32,IVF{lists},PQ32x4fs" and rows < 10**5
    assert lists / 4096 == pytest.approx((rows / 10**6) ** 0.5, rel=0.01)
    assert scaled("HNSW32", 10**6, 128, 10**6)[1] <= 10_000 and lists_of("HNSW32") == 0


def test_a_part_of_a_job_stands_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan on some of the rows expects the triplets of all, by the growth of the rows."""
    rng = np.random.default_rng(6)
    labels: list[object] = np.repeat(np.arange(300), 10).tolist()
    vectors = rng.standard_normal((300, 8))[labels] + 0.5 * rng.standard_normal((3000, 8))
    data = write_vectors(tmp_path / "d.parquet", vectors, labels)
    whole = miner.plan_job(job(data, tmp_path / "out", max_triplets=10**9))
    monkeypatch.setattr("miner.planning.plan._VALUES", 8 * 1000)
    part = miner.plan_job(job(data, tmp_path / "out", max_triplets=10**9))
    assert part["calibration"]["rows"] == 1000 and whole["calibration"]["rows"] == 3000
    assert part["triplets_expected"] == pytest.approx(whole["triplets_expected"], rel=0.3)
    assert part["memory_bytes"] == whole["memory_bytes"]
    assert part["disk"]["store"] == pytest.approx(whole["disk"]["store"], rel=0.01)


@pytest.mark.parametrize("kind", ["labels", "pairs"])
def test_vectors_that_take_long_are_made_up(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan on a quarter of the vectors expects about what one on all of them does."""
    rng = np.random.default_rng(7)
    labels: list[object] = np.repeat(np.arange(120), 10).tolist()
    rows = rng.standard_normal((120, 8))[labels] + 0.4 * rng.standard_normal((1200, 8))
    dataset = {"path": str(write_vectors(tmp_path / "d.parquet", rows, labels))}
    if kind == "pairs":
        linked = rng.integers(0, 1200, 600)
        asking = rows[linked] + 0.3 * rng.standard_normal((600, 8))
        write_vectors(tmp_path / "q.parquet", asking, [0] * 600)
        links = [f"i{query},i{row}" for query, row in enumerate(linked)]
        (tmp_path / "l.csv").write_text("\n".join(["query_id,corpus_id", *links]))
        dataset = {"corpus": dataset["path"], "queries": str(tmp_path / "q.parquet")}
        dataset["links"] = str(tmp_path / "l.csv")
    sections = {
        "dataset": dataset,
        "output": {"path": str(tmp_path / "out")},
        "select": {"max_triplets": 10**9},
    }
    known = miner.plan_job(miner.parse_job(sections))
    monkeypatch.setattr("miner.planning.rehearsal.vectors._SECONDS", 0.0)
    monkeypatch.setattr("miner.planning.rehearsal.vectors._LEAST", 300)
    made = miner.plan_job(miner.parse_job(sections))
    assert known["calibration"]["made_up"] == 0
    assert 0.7 <= made["calibration"]["made_up"] <= 0.8
    ratio = made["triplets_expected"] / known["triplets_expected"]
    assert 0.4 <= ratio <= 2.5

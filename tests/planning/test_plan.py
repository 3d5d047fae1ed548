"""Predictions of `mine plan` hold for the run: rows, embedding, disk, memory, and roughly time."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.planning.footprint import Size, memory
from miner.planning.sample import Sample, sample_rows
from miner.selection.strategies.base import STRATEGIES
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.relevance import (
    AnchorSubset,
    LabelRelevance,
    LinkRelevance,
    MultiLabelRelevance,
    Relevance,
    anchor_rows,
)
from tests.conftest import ROOT, Result, write_vectors
from tests.hard_data import labelled, linked
from tests.hard_relevance import CONSTRAINTS, constrained

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
    assert facts["written_at_most"].keys() == written.keys()
    for name, most in facts["written_at_most"].items():
        assert written[name]["rows"] <= most <= bound


def test_every_strategy_keeps_its_bound(tmp_path: Path) -> None:
    """Bounds hold for clusters of different sizes, where some anchors have no positive."""
    rng = np.random.default_rng(2)
    labels: list[object] = [f"c{n}" for n in rng.integers(0, 9, 70)] + ["alone"]
    data = write_vectors(tmp_path / "d.parquet", rng.standard_normal((71, 4)), labels)
    loose = 0
    for row in STRATEGIES.names():
        planned = job(data, tmp_path / row, strategy=row)
        facts = miner.plan_job(planned)
        written = miner.mine(planned).manifest["written"]
        rows = sum(written[name]["rows"] for name in MINED_CLASSES)
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


def test_what_is_embedded_already_is_not_embedded_again(
    tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan uses the store of the job, or the cache if the data has grown since."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINE_CACHE", "cache")
    lines = [f"text {n % 25},{n % 4}" for n in range(40)]
    path = tmp_path / "d.csv"
    path.write_text("\n".join(["text,label", *lines]))
    planned = job(path, tmp_path / "out")
    first = miner.plan_job(planned)
    assert not Path("cache").exists()
    run = miner.mine(planned)
    assert first["embedding"]["embedded"] == run.manifest["embedding"]["embedded"] == 25
    known = miner.plan_job(planned)
    assert known["embedding"] == {"rows": 40, "embedded": 0} and known["seconds"]["embed"] == 0
    assert known["already_mined"] == run.run_id and known["dataset"] == first["dataset"]
    assert known["disk"]["cache"] == 0 < first["disk"]["cache"]
    said = cli("plan", "--data", path, "--out", tmp_path / "out").out
    assert f"mined already: run {run.run_id}" in said
    path.write_text("\n".join(["text,label", *lines, "a new text,1", "one more,2"]))
    assert miner.plan_job(planned)["embedding"] == {"rows": 42, "embedded": 2}
    assert miner.mine(planned).manifest["embedding"]["reused"] == 40


def test_memory_is_that_of_the_rows_and_of_the_job() -> None:
    def planned(rows: int, *, workers: int = 2, keys: int = 1 << 29, sides: int = 1) -> int:
        size = Size(10**5, rows, 128, 100, 1000, 10**6, sides, exact=True)
        return memory(size, keys=keys, workers=workers, processes=1, pairs=10)

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
    spent, tried = facts["seconds"], facts["calibration"]
    assert all(value >= 0 for value in spent.values())
    if index == "Flat":
        assert spent["count"] > 0 and tried["rows"] == tried["of"] == 1500 >= tried["anchors"] > 0
    else:  # the candidates of an index are unknown before it is built
        assert "count" not in spent and tried["anchors"] == 0
    written = miner.mine(planned).manifest["written"]
    assert sum(one["rows"] for one in written.values()) <= facts["triplets_at_most"]
    assert folder_bytes(tmp_path / "out") <= facts["disk_bytes"]


class Slow:
    """A model that takes two milliseconds for a text."""

    def embed(self, batch: Sequence[str]) -> np.ndarray:
        time.sleep(0.002 * len(batch))
        rows = [np.random.default_rng(len(text)).standard_normal(8) + len(text) for text in batch]
        return np.array(rows, dtype=np.float32)


@pytest.mark.parametrize("kind", ["labels", "pairs"])
def test_a_slow_model_embeds_some_rows(kind: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """The counting time is scaled from the sampled rows, and the plan says so."""
    texts = [f"text {n}{'!' * (n % 90)}" for n in range(1800)]
    path = tmp_path / "d.csv"
    path.write_text(
        "\n".join(["id,text,label", *(f"{n},{t},{n % 90}" for n, t in enumerate(texts))])
    )
    data = ["--data", path]
    if kind == "pairs":
        (tmp_path / "l.csv").write_text(
            "\n".join(["query_id,corpus_id", *(f"{n},{(n + 90) % 1800}" for n in range(1800))])
        )
        files = {"queries": path, "corpus": path, "links": tmp_path / "l.csv"}
        data = [f"--set=dataset.{name}={file}" for name, file in files.items()]
    asked = ("plan", *data, "--model", "tests.planning.test_plan:Slow", "--out", tmp_path / "out")
    facts = json.loads(cli(*asked, "--json").out)
    tried = facts["calibration"]
    assert 500 <= tried["rows"] <= 700 < tried["of"] == 1800
    assert 500 <= tried["embedded"] <= 1400 and tried["anchors"] > 100
    assert 0.002 * facts["embedding"]["embedded"] <= facts["seconds"]["embed"]
    assert facts["seconds"]["count"] > 0 and facts["valid"] > 0


@pytest.mark.slow
def test_the_time_of_the_digits_is_about_right(tmp_path: Path) -> None:
    """The time is right within a factor of ten: other work slows the run, but not the plan."""
    planned = job(ROOT / "sample_data/digits.parquet", tmp_path / "out")
    said = miner.plan_job(planned)["seconds"]
    took = miner.mine(planned).manifest["timings"]
    assert (
        0.1
        <= (said["read"] + said["embed"] + said["count"]) / (took["embed"] + took["count"])
        <= 10
    )


def sample_positives(relevance: Relevance, sample: Sample, anchors: Any, *, whole: bool) -> None:
    """Compare the positives of the sample's anchors with their positives in the whole set."""
    rows = sample.sides[-1]
    for place, anchor in enumerate(anchors[:20].tolist()):
        mine = rows[sample.relevance.positives(place)]
        of_all = relevance.positives(anchor)
        assert np.isin(mine, of_all).all()
        assert len(mine) == len(of_all) or not whole


def test_a_sample_keeps_the_positives_of_its_anchors() -> None:
    rng, none = np.random.default_rng(3), np.full(5000, -1)
    codes = rng.integers(0, 500, 5000)
    many = LabelRelevance(codes, none, none)
    few = LabelRelevance(rng.integers(0, 5, 5000), none, none)
    lists = MultiLabelRelevance(np.arange(5001), codes, none, none)
    some = AnchorSubset(many, np.arange(0, 5000, 3))
    starts, asked = np.arange(0, 1201, 2), np.full(600, -1)
    linked = np.sort(rng.integers(0, 5000, 1200).reshape(-1, 2) // 2 * 2 + [0, 1], axis=1).ravel()
    pairs = LinkRelevance(starts, linked, none, asked, none, asked, asked)
    kinds: tuple[tuple[Relevance, bool], ...]
    kinds = ((many, True), (few, False), (lists, True), (some, True), (pairs, True))
    for relevance, whole in kinds:
        sample = sample_rows(relevance, 1000)
        assert type(sample.relevance) is type(relevance)
        assert 800 <= sample.relevance.rows == len(sample.sides[-1]) <= 1000
        anchors = sample.sides[0]
        if isinstance(relevance, AnchorSubset):
            anchors = np.flatnonzero(np.isin(relevance.chosen, sample.sides[0]))
        assert sample.relevance.anchors == len(anchors) > 50
        sample_positives(relevance, sample, anchors, whole=whole)
        assert sample_rows(relevance, 5000).relevance.rows == 5000


@pytest.mark.parametrize("kinds", CONSTRAINTS, ids="-".join)
def test_a_sample_keeps_constraints_and_ignored_pairs(kinds: tuple[str, ...]) -> None:
    """A row is hidden from an anchor in the sample exactly if it is in the whole data set."""
    ignored = np.unique(np.random.default_rng(1).integers(0, 300 * 2000, 9000))
    items = labelled("skewed", 2000, 5)
    for inner in (
        items,
        AnchorSubset(items, np.arange(0, 2000, 3)),
        dataclasses.replace(linked(300, 2000, 6), ignored=ignored),
    ):
        whole = constrained(inner, 4, *kinds)
        sample = sample_rows(whole, 600)
        rows, anchors = sample.sides[-1], sample.sides[0]
        if not isinstance(inner, LinkRelevance):
            anchors = np.flatnonzero(np.isin(anchor_rows(whole), rows))
        assert len(anchors) == sample.relevance.anchors > 50
        for place in range(0, len(anchors), 7):
            anchor = int(anchors[place])
            for found, expected in (
                (sample.relevance.positives(place), whole.positives(anchor)),
                (sample.relevance.hidden(place), whole.hidden(anchor)),
            ):
                assert rows[np.sort(found)].tolist() == rows[np.isin(rows, expected)].tolist()


def test_options_of_before_are_refused(small: Path, cli: Callable[..., Result]) -> None:
    refused = cli("plan", "--data", small, "--price-per-hour", "1")
    assert refused.code == 2 and "price-per-hour" in refused.err

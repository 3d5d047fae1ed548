"""Selections in whole runs: the same bytes in any setting, hubs, suspects, and the output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.embedding.store import open_store
from miner.errors import UsageError
from miner.inspection.verify.vectors import Truth
from miner.runs.describe import describe_run
from miner.runs.shards import read_shard, shard_facts
from tests.conftest import Result, write_vectors
from tests.sizes import make_small

ROLES = ("anchor_id", "positive_id", "negative_id")
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "hardest", "options": {"k": 3}},
    {"strategy": "uniform", "options": {"k": 6}},
    {"strategy": "distance-weighted", "options": {"k": 2}, "per_anchor": 9},
    {"strategy": "simans", "per_negative": 4, "max_triplets": 150},
    {"strategy": "warp", "options": {"k": 3}, "per_pair": 2},
    {"strategy": "batch-hard"},
    {"relative_margin": 0.05, "suspects": True, "max_triplets": 200, "per_negative": 5},
]


def mine(data: Path, out: Path, engine: dict[str, Any] | None = None, **select: Any) -> miner.Run:
    return miner.mine(
        {
            "dataset": {"path": str(data)},
            "output": {"path": str(out)},
            "engine": engine or {},
            "select": select,
        }
    )


def triplets(run: miner.Run, folder: str) -> list[tuple[str, ...]]:
    table = run.triplets(folder).to_table()
    return list(zip(*(table[role].to_pylist() for role in ROLES), strict=True))


@pytest.fixture
def bigger(tmp_path: Path) -> Path:
    rng = np.random.default_rng(9)
    rows = rng.standard_normal((90, 6)).astype(np.float32)
    rows[20:26] = rows[:6]
    return write_vectors(tmp_path / "bigger.parquet", rows, [f"c{n % 4}" for n in range(90)])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("select", STRATEGIES, ids=lambda keys: keys.get("strategy", "all"))
def test_the_same_bytes_whatever_the_engine(
    select: dict[str, Any], bigger: Path, tmp_path: Path
) -> None:
    engines = (
        {"name": "threads", "workers": 1},
        {"name": "threads", "workers": 3},
        {"name": "processes", "workers": 3},
    )
    seen = set()
    for number, engine in enumerate(engines):
        run = mine(bigger, tmp_path / str(number), engine, **select)
        seen.add(tuple(shard["sha256"] for shard in run.manifest["shards"]))
        assert not miner.verify_run(run, full=True).problems
    assert len(seen) == 1
    assert sum(shard["rows"] for shard in run.manifest["shards"]) >= 90


@pytest.mark.parametrize("chunk", [500, 1 << 18])
def test_no_negative_comes_more_often_than_its_cap(
    chunk: int, bigger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, capped=chunk, held=chunk)
    free = mine(bigger, tmp_path / "free", max_triplets=10**6)
    kept = []
    for most in (1, 9, 10**9):
        run = mine(bigger, tmp_path / "capped", max_triplets=10**6, per_negative=most)
        for folder in ("hard", "semi_hard"):
            whole = triplets(free, folder)
            left = triplets(run, folder)
            seen = Counter(negative for _, _, negative in whole)
            assert Counter(negative for _, _, negative in left) == Counter(
                {negative: min(most, count) for negative, count in seen.items()}
            )
            non_easy = iter(whole)
            assert all(triplet in non_easy for triplet in left)  # the same order
        kept.append(set(left))
    assert kept[0] < kept[1] < kept[2]
    seeded = mine(bigger, tmp_path / "seed", max_triplets=10**6, per_negative=9, seed=1)
    assert set(triplets(seeded, "semi_hard")) != kept[1]


@pytest.mark.slow
def test_which_of_a_hubs_triplets_stay_is_drawn_evenly(bigger: Path, tmp_path: Path) -> None:
    """Chi-square over seeds: each triplet of a negative is kept with the same probability."""

    def hard(**select: Any) -> list[tuple[str, ...]]:
        job = {"dataset": {"path": str(bigger)}, "output": {"path": str(tmp_path)}}
        bare = {"hubs": 0, "confusions": 0, "neighbours": 0, "gaps": 0, "loss": False}
        return triplets(miner.mine({**job, "mining": bare, "select": select}), "hard")

    whole = hard(max_triplets=10**6)
    times = 40
    stayed: Counter[tuple[str, ...]] = Counter()
    for seed in range(times):
        stayed.update(hard(seed=seed, per_negative=6))
    seen = Counter(negative for _, _, negative in whole)
    chance = {t: min(1.0, 6 / seen[t[2]]) for t in whole}
    free = [t for t in whole if chance[t] < 1]
    assert len(free) > 500
    statistic = sum(
        (stayed[t] - times * chance[t]) ** 2 / (times * chance[t] * (1 - chance[t])) for t in free
    )
    assert 0.5 * len(free) < statistic < len(free) + 5 * np.sqrt(2 * len(free))


@pytest.mark.slow
def test_suspects_are_what_the_guard_dropped(bigger: Path, tmp_path: Path) -> None:
    everything = mine(bigger, tmp_path / "a", max_triplets=10**6)
    run = mine(bigger, tmp_path / "b", max_triplets=10**6, relative_margin=0.05, suspects=True)
    suspects = set(triplets(run, "suspects"))
    assert set(triplets(everything, "hard")) <= suspects and not triplets(run, "hard")
    assert set(triplets(run, "semi_hard")) == set(triplets(everything, "semi_hard")) - suspects
    facts = run.manifest["written"]
    whole = {"truncated": False, "sampled": False}
    assert facts["suspects"] == {"rows": len(suspects), "of": len(suspects), **whole}
    assert facts["hard"]["available"] == 0 < facts["hard"]["of"]
    shard = shard_facts(Path(run.part_paths("suspects")[0]))
    assert shard["metadata"]["difficulty"] == "suspect" and not shard["wrong"]
    few = mine(bigger, tmp_path / "c", max_triplets=50, relative_margin=0.05, suspects=True, seed=3)
    assert set(triplets(few, "suspects")) < suspects
    assert few.manifest["written"]["suspects"]["rows"] == 50
    table = few.triplets("suspects").to_table()
    assert sum(table["weight"].to_pylist()) == pytest.approx(len(suspects), rel=1e-5)
    for checked in (run, few):
        assert not miner.verify_run(checked, full=True).problems
    with pytest.raises(UsageError, match="no triplets of class 'suspects'"):
        everything.triplets("suspects")


def test_verify_sees_a_triplet_that_the_filters_would_have_dropped(
    bigger: Path, tmp_path: Path
) -> None:
    caps = {"max_triplets": 500, "suspects": True}
    run = mine(bigger, tmp_path, absolute_margin=0.02, **caps)
    assert not miner.verify_run(run, full=True).problems
    run.manifest["job"]["select"]["absolute_margin"] = 0.06
    store = open_store(run.path.parent.parent / ".store" / run.manifest["store"])
    assert store is not None
    check = Truth(run, store).triplets(True, np.random.default_rng(0))
    assert any("the filters on scores" in problem for problem in check.problems)
    assert any(problem.startswith("semi_hard") for problem in check.problems)
    run.manifest["job"]["select"]["absolute_margin"] = 0.0
    check = Truth(run, store).triplets(True, np.random.default_rng(0))
    assert any(problem.startswith("suspects") for problem in check.problems)


def test_what_falls_short_is_said(bigger: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    run = mine(bigger, tmp_path, strategy="hardest", options={"k": 50}, ranks=[0, 20])
    facts = run.manifest["written"]["hard"]
    pairs = sum(run.census()["positives"].to_pylist())
    assert facts["wanted"] == 50 * pairs > facts["available"] == facts["rows"]
    assert facts["available"] < facts["of"] and facts["truncated"]
    words = describe_run(run)
    missing = 50 * pairs - facts["rows"]
    said = f"hard: {missing:,} of {50 * pairs:,} wanted not found; {facts['available']:,} pass"
    assert said in words
    assert f"{facts['rows']:,} written, by hardest" in words
    plain = describe_run(mine(bigger, tmp_path / "all", max_triplets=10))
    assert "wanted" not in plain and "a uniform sample" in plain
    kept = mine(bigger, tmp_path / "s", max_score=0.5, suspects=True)
    assert "suspects" in describe_run(kept)
    assert cli("show", kept.path).code == 0


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({"strategy": "seminard"}, ["'seminard'", "did you mean 'semi-hard'?"]),
        ({"options": {"k": 2}}, ["select.options.k", "strategy 'all'"]),
        ({"strategy": "hardest", "options": {"kk": 2}}, ["select.options.kk", "mean 'k'?"]),
        ({"strategy": "hardest", "options": {"k": 0}}, ["select.options.k = 0", "between 1"]),
        ({"strategy": "warp", "options": {"k": "2"}}, ["select.options.k", "whole number"]),
        ({"strategy": "simans", "options": {"a": -1.0}}, ["select.options.a", "0 or more"]),
        (
            {"strategy": "easy-positive", "options": {"variant": "epsh"}},
            ["variant", "did you mean 'epshn'?"],
        ),
        ({"classes": ["seminard"]}, ["select.classes", "did you mean 'semi_hard'?"]),
        ({"classes": []}, ["select.classes", "empty"]),
        ({"classes": "hard"}, ["select.classes", "a list"]),
        ({"ranks": [5, 5]}, ["select.ranks", "lo < hi"]),
        ({"ranks": [5]}, ["select.ranks", "[lo, hi]"]),
        ({"ranks": [0.5, 2]}, ["select.ranks", "whole number"]),
        ({"skip_nearest": -1}, ["select.skip_nearest", "0 or more"]),
        ({"per_negative": -1}, ["select.per_negative", "0 or more"]),
        ({"absolute_margin": -0.1}, ["select.absolute_margin", "0 or more"]),
        ({"absolute_margin": float("nan")}, ["select.absolute_margin", "finite"]),
        ({"relative_margin": 1.5}, ["select.relative_margin", "between 0 and 1"]),
        ({"min_score": 0.5, "max_score": 0.4}, ["select.min_score", "above max_score"]),
        ({"suspects": True}, ["select.suspects", "relative_margin"]),
        ({"rescore": "a:b"}, ["select.rescore", "set teacher.model"]),
        ({"rescore_max": 0.5}, ["select.rescore_max", "set teacher.max_score"]),
        ({"strategy": "semi-hard", "classes": ["hard"]}, ["semi-hard", "add 'semi_hard'"]),
        (
            {"strategy": "easy-positive", "options": {"variant": "epshn"}, "classes": ["hard"]},
            ["epshn", "add 'semi_hard'"],
        ),
    ],
)
def test_selections_that_cannot_be_followed(
    select: dict[str, Any], words: list[str], small: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as raised:
        mine(small, tmp_path / "out", **select)
    message = str(raised.value)
    assert all(word in message for word in words), message
    assert message.count("\n") < 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mining", [{"metric": "cosine"}, {"normalize": False}])
def test_distance_weighted_is_for_the_unit_sphere(
    mining: dict[str, Any], small: Path, tmp_path: Path
) -> None:
    job = {
        "dataset": {"path": str(small)},
        "mining": mining,
        "select": {"strategy": "distance-weighted"},
        "output": {"path": str(tmp_path / "out")},
    }
    with pytest.raises(UsageError, match="unit vectors"):
        miner.mine(job)


def test_every_key_of_select_is_part_of_the_identity(small: Path) -> None:
    base = {"dataset": {"path": str(small)}}
    keys: dict[str, Any] = {
        "strategy": "hardest",
        "max_triplets": 5,
        "per_pair": 1,
        "per_anchor": 1,
        "per_negative": 1,
        "seed": 1,
        "options": {"k": 2},
        "classes": ["hard"],
        "absolute_margin": 0.0,
        "relative_margin": 0.0,
        "min_score": 0.0,
        "max_score": 0.0,
        "skip_nearest": 1,
        "ranks": [0, 1],
        "suspects": True,
        "denoise": True,
    }
    default = miner.parse_job(base)
    assert set(keys) == set(default.facts()["select"])
    seen = [default.identity()]
    for key, value in keys.items():
        identity = miner.parse_job(base | {"select": {key: value}}).identity()
        assert identity not in seen
        seen.append(identity)
    same = miner.parse_job(base | {"select": {"classes": ["semi_hard", "hard"]}})
    assert same.identity() == default.identity()


def test_options_on_the_command_line(
    small: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    keys = ["select.options.k=2", 'select.classes=["hard"]', "select.ranks=[0, 9]"]
    settings = [word for key in keys for word in ("--set", key)]
    done = cli("run", "--data", small, "--select", "hardest", "--out", tmp_path / "o", *settings)
    assert done.code == 0, done.err
    run = miner.open_run(tmp_path / "o")
    assert run.manifest["job"]["select"]["options"] == {"k": 2}
    assert run.manifest["written"]["semi_hard"]["rows"] == 0
    part = read_shard(Path(run.part_paths("hard")[0]))
    pairs = Counter(zip(part["anchor_id"], part["positive_id"], strict=True))
    assert 1 <= max(pairs.values()) <= 2
    unset = cli("run", "--data", small, "--set", "select.options=3")
    assert unset.code == 2 and "select.options" in unset.err

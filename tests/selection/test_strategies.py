"""Every strategy and filter agrees with three loops; draws are unbiased; bytes are reproducible."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.job_sections import SelectJob
from miner.pipeline.units.miner import UnitMiner
from miner.selection.selection import Selection, load_selection
from miner.selection.strategies.base import STRATEGIES
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.relevance import tally
from tests.conftest import ROOT
from tests.hard_data import KINDS, labelled, vectors
from tests.select_oracle import Data, Selected, admitted, chosen, data, dropped, select

EVERY = 100
"""Anchors of a unit: all in one, because the same selection is repeated many times."""
FIXED: list[dict[str, Any]] = [
    {"strategy": "all"},
    {"strategy": "hardest"},
    {"strategy": "hardest", "options": {"k": 4}},
    {"strategy": "semi-hard"},
    {"strategy": "semi-hard", "options": {"nth": 4}},
    {"strategy": "batch-hard"},
    {"strategy": "easy-positive"},
    {"strategy": "easy-positive", "options": {"variant": "epshn"}},
]
DRAWN: list[dict[str, Any]] = [
    {"strategy": "simans", "options": {"k": 2, "a": 3.0, "b": -0.1}},
    {"strategy": "warp", "options": {"k": 3}},
    {"strategy": "uniform", "options": {"k": 5}},
    {"strategy": "distance-weighted", "options": {"k": 2}},
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"classes": ("hard",)},
    {"classes": ("semi_hard",)},
    {"absolute_margin": 0.05},
    {"relative_margin": 0.1},
    {"relative_margin": 0.0},
    {"skip_nearest": 3},
    {"ranks": (1, 5)},
    {"max_score": "middle"},
    {"min_score": "middle"},
    {"absolute_margin": 0.01, "relative_margin": 0.02, "skip_nearest": 1, "ranks": (0, 9)},
]


def keys_for(found: Data, strategy: dict[str, Any], filters: dict[str, Any]) -> dict[str, Any]:
    """Replace "middle" by a score that some negative has exactly."""
    pairs = sorted(found.truth.d.items(), key=lambda item: item[1])
    middle = found.score(pairs[len(pairs) // 2][1])
    return strategy | {k: middle if v == "middle" else v for k, v in filters.items()}


def refused(keys: dict[str, Any], found: Data) -> bool:
    """Return whether the job is refused, because the strategy is not defined for it."""
    semi_hard = keys["strategy"] == "semi-hard" or keys.get("options", {}).get("variant") == "epshn"
    return (semi_hard and keys.get("classes") == ("hard",)) or (
        keys["strategy"] == "distance-weighted"
        and not (found.metric == "euclidean" and found.normalized)
    )


def check_order(found: Data, selected: Selected, folder: str) -> None:
    triplets = selected.triplets(folder)
    d = found.truth.d
    assert len(triplets) == len(set(triplets))
    assert triplets == sorted(triplets, key=lambda t: (t[0], t[1], d[t[0], t[2]], t[2]))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "classes",
    [
        "even",
        "skewed",
        "giant",
        "one",
        "singletons",
        "pairs",
        "constrained even",
        "constrained pairs",
    ],
)
def test_strategies_take_what_three_loops_take(classes: str, metric: str) -> None:
    for turn, normalized in enumerate((True, False) if metric != "dot" else (False,)):
        found = data(metric, "random", classes, normalized=normalized, size=24)
        compare_all(found, turn + 2 * list(METRICS).index(metric))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "random"])
def test_strategies_on_data_that_breaks_miners(kind: str, metric: str) -> None:
    for turn, classes in enumerate(("skewed", "pairs")):
        normalized = metric not in ("dot", "sqeuclidean")
        found = data(metric, kind, classes, normalized=normalized, size=20)
        compare_all(found, turn + KINDS.index(kind))


def compare_all(found: Data, turn: int) -> None:
    """Compare every filter with a quarter of the strategies; other turns have the others."""
    for row, filters in enumerate(FILTERS):
        for strategy in (FIXED + DRAWN)[(row + turn) % 4 :: 4]:
            keys = keys_for(found, strategy, filters)
            if not refused(keys, found):
                compare(found, keys)


def compare(found: Data, keys: dict[str, Any]) -> None:
    guards = ("absolute_margin", "relative_margin", "max_score")
    aware = any(key in keys for key in guards)
    with np.errstate(over="ignore"):
        selected = select(found, **keys, suspects=aware)
    left = admitted(found, keys)
    for folder in MINED_CLASSES:
        check_order(found, selected, folder)
        mine = [t for t, name in left.items() if name == folder]
        assert selected.counted[f"available_{folder}"].sum() == len(mine)
        if keys["strategy"] in {one["strategy"] for one in FIXED}:
            assert set(selected.triplets(folder)) == set(chosen(found, keys)[folder]), keys
            assert set(selected.records[folder]["weight"].tolist()) <= {1.0}
        else:
            assert set(selected.triplets(folder)) <= set(mine)
    if keys["strategy"] not in {one["strategy"] for one in FIXED}:
        check_filled(found, keys, selected, left)
    check_wanted(found, keys, selected)
    if aware:
        assert set(selected.triplets("suspects")) == dropped(found, keys)
        check_order(found, selected, "suspects")


def check_filled(
    found: Data, keys: dict[str, Any], selected: Selected, left: dict[Any, str]
) -> None:
    """Check that no slot stays empty if an eligible negative exists for it."""
    k = keys["options"]["k"]
    if keys["strategy"] == "uniform":
        able = Counter(a for a, _, _ in left)
        taken = Counter(a for folder in MINED_CLASSES for a, _, _ in selected.triplets(folder))
        assert taken == Counter({a: min(k, count) for a, count in able.items()})
        return
    most = 1.4 if keys["strategy"] == "distance-weighted" else np.inf
    for folder in MINED_CLASSES:
        able_ = Counter(
            (a, p)
            for (a, p, n), name in left.items()
            if name == folder and found.truth.d[a, n] <= most
        )
        taken_ = Counter((a, p) for a, p, _ in selected.triplets(folder))
        assert taken_ == Counter({pair: min(k, count) for pair, count in able_.items()})
        assert set(selected.records[folder]["weight"].tolist()) <= {1.0}


def check_wanted(found: Data, keys: dict[str, Any], selected: Selected) -> None:
    """Check that the requested triplets depend on anchors and pairs, not on the filters."""
    positives = selected.counted["positives"]
    able = (positives > 0) & (selected.counted["negatives"] > 0)
    pairs, anchors = int(positives[able].sum()), int(able.sum())
    wanted = {name: int(selected.counted[f"wanted_{name}"].sum()) for name in MINED_CLASSES}
    k = keys.get("options", {}).get("k", 1)
    kept = keys.get("classes", MINED_CLASSES)
    match keys["strategy"]:
        case "all":
            left = {n: int(selected.counted[f"available_{n}"].sum()) for n in MINED_CLASSES}
            assert wanted == left
        case "semi-hard":
            assert wanted == {"hard": 0, "semi_hard": pairs}
        case "batch-hard" | "easy-positive":
            assert sum(wanted.values()) == anchors
        case "uniform":
            assert sum(wanted.values()) == k * anchors
        case _:
            assert wanted == {name: k * pairs * (name in kept) for name in MINED_CLASSES}
    rows = {name: len(selected.records[name]) for name in MINED_CLASSES}
    assert all(rows[name] <= wanted[name] for name in MINED_CLASSES)


def frequencies(found: Data, times: int, **keys: Any) -> dict[str, Counter[Any]]:
    """Count how often each triplet of a class is drawn over `seeds` seeds."""
    seen: dict[str, Counter[Any]] = {name: Counter() for name in MINED_CLASSES}
    for seed in range(times):
        selected = select(found, EVERY, **keys, seed=seed)
        for name in MINED_CLASSES:
            seen[name].update(selected.triplets(name))
    return seen


def weights_of(found: Data, keys: dict[str, Any], pair: tuple[int, int], mine: list[int]) -> Any:
    """Return the weights of a pair's negatives by the formulas."""
    a, p = pair
    d = [found.truth.d[a, n] for n in mine]
    if keys["strategy"] == "warp":
        return [1 / (1 + found.ranked(a).index(n)) for n in mine]
    if keys["strategy"] == "simans":
        s_p, s_n = found.score(found.truth.d[a, p]), [found.score(one) for one in d]
        sharp, shift = keys["options"]["a"], keys["options"]["b"]
        return [math.exp(-sharp * (s - s_p - shift) ** 2) for s in s_n]
    dim = found.rows.shape[1]
    x = [max(one, 0.5) for one in d]
    w = [one ** (2 - dim) * (1 - one * one / 4) ** ((3 - dim) / 2) for one in x]
    return [weight if one <= 1.4 else 0.0 for weight, one in zip(w, d, strict=True)]


def inclusion(weights: list[float], k: int) -> list[float]:
    """Return the probability that k successive draws include each item, over all orders."""
    able = [i for i, weight in enumerate(weights) if weight > 0]
    chances = [0.0] * len(weights)
    for order in itertools.permutations(able, min(k, len(able))):
        chance = 1.0
        for place, item in enumerate(order):
            gone = order[:place]
            chance *= weights[item] / sum(w for i, w in enumerate(weights) if i not in gone)
        for item in order:
            chances[item] += chance
    return chances


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "keys",
    [
        {"strategy": "simans", "options": {"k": 2, "a": 30.0, "b": -0.05}},
        {"strategy": "simans", "options": {"k": 1, "a": 4.0, "b": 0.3}},
        {"strategy": "warp", "options": {"k": 2}, "skip_nearest": 1},
        {"strategy": "distance-weighted", "options": {"k": 2}},
    ],
    ids=str,
)
def test_weighted_draws_follow_their_formula(keys: dict[str, Any]) -> None:
    """Chi-square test of the frequency of each triplet against all orders of draws."""
    found = data("euclidean", "random", "even", normalized=True, size=26)
    times = 120
    for folder, drawn in frequencies(found, times, **keys).items():
        check_frequencies(found, folder, drawn, times, keys)


def check_frequencies(
    found: Data, folder: str, drawn: Counter[Any], times: int, keys: dict[str, Any]
) -> None:
    groups: dict[tuple[int, int], list[int]] = {}
    for (a, p, n), name in admitted(found, keys).items():
        if name == folder:
            groups.setdefault((a, p), []).append(n)
    expected = {}
    for pair, mine in groups.items():
        weights = weights_of(found, keys, pair, mine)
        chances = inclusion(weights, keys["options"]["k"])
        expected |= {(*pair, n): chance for n, chance in zip(mine, chances, strict=True)}
    assert set(drawn) <= {triplet for triplet, chance in expected.items() if chance > 0}
    assert all(drawn[t] == times for t, chance in expected.items() if chance > 1 - 1e-9)
    unsure = {t: c for t, c in expected.items() if 0.05 < c < 0.95}
    statistic = sum((drawn[t] - times * c) ** 2 / (times * c * (1 - c)) for t, c in unsure.items())
    assert len(unsure) > 20
    # Draws of a pair exclude each other, so there are fewer degrees of freedom than triplets.
    assert 0.3 * len(unsure) < statistic < len(unsure) + 7 * np.sqrt(2 * len(unsure))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "keys",
    [
        {"options": {"k": 4}},
        {"options": {"k": 9}, "relative_margin": 0.02},
        {"options": {"k": 6}, "per_pair": 1, "per_anchor": 2, "max_triplets": 20},
    ],
    ids=str,
)
def test_uniform_draws_are_uniform_and_their_weights_unbiased(keys: dict[str, Any]) -> None:
    found = data("cosine", "random", "skewed", normalized=True, size=24)
    left = admitted(found, {k: v for k, v in keys.items() if not k.startswith(("per", "max"))})
    times, sums = 150, dict.fromkeys(MINED_CLASSES, 0.0)
    drawn: Counter[Any] = Counter()
    for seed in range(times):
        selected = select(found, EVERY, strategy="uniform", **keys, seed=seed)
        for name in MINED_CLASSES:
            drawn.update(selected.triplets(name))
            sums[name] += float(selected.records[name]["weight"].sum()) / times
    for name in MINED_CLASSES:
        true = Counter(left.values())[name]
        assert sums[name] == pytest.approx(true, rel=0.05, abs=1)
    if "per_pair" in keys:
        return
    totals = Counter(a for a, _, _ in left)
    chance = {t: min(1.0, keys["options"]["k"] / totals[t[0]]) for t in left}
    unsure = {t: c for t, c in chance.items() if c < 1}
    assert set(drawn) <= set(left) and len(unsure) > 50
    assert all(drawn[t] == times for t, c in chance.items() if c == 1)
    statistic = sum((drawn[t] - times * c) ** 2 / (times * c * (1 - c)) for t, c in unsure.items())
    assert 0.5 * len(unsure) < statistic < len(unsure) + 5 * np.sqrt(2 * len(unsure))
    selected = select(found, strategy="uniform", **keys)
    for name in MINED_CLASSES:
        weights = selected.records[name]["weight"].tolist()
        for triplet, weight in zip(selected.triplets(name), weights, strict=True):
            assert weight == pytest.approx(1 / chance[triplet], rel=1e-6)


@pytest.mark.parametrize("strategy", FIXED + DRAWN, ids=str)
def test_caps_cut_what_the_strategy_took(strategy: dict[str, Any]) -> None:
    found = data("euclidean", "tied", "skewed", normalized=True)
    whole = select(found, **strategy)
    capped = select(found, **strategy, per_pair=2, per_anchor=5, max_triplets=40)
    for name in MINED_CLASSES:
        triplets = capped.triplets(name)
        if strategy not in DRAWN:
            assert set(triplets) <= set(whole.triplets(name))
        pairs = Counter((a, p) for a, p, _ in whole.triplets(name))
        able = Counter[int]()
        for (a, _), count in pairs.items():
            able[a] += min(2, count)
        assert max(Counter((a, p) for a, p, _ in triplets).values(), default=0) <= 2
        assert max(Counter(a for a, _, _ in triplets).values(), default=0) <= 5
        assert len(triplets) == min(40, sum(min(5, count) for count in able.values()))
        if strategy in FIXED:
            total = float(capped.records[name]["weight"].sum())
            assert total == pytest.approx(len(whole.triplets(name)), rel=0.5, abs=3)


def test_slots_of_totals_are_those_of_pairs() -> None:
    """If totals decide the slots, the pairs give the same slots."""
    found = data("cosine", "random", "skewed", normalized=True)
    for keys in ({}, {"per_anchor": 4}, {"classes": ("hard",)}, {"classes": ("semi_hard",)}):
        quick = select(found, **keys)
        slow = select(found, **keys, skip_nearest=0, ranks=(0, 10**6))
        assert (quick.counted == slow.counted).all()
        for name in MINED_CLASSES:
            assert (quick.records[name] == slow.records[name]).all()


def test_every_registered_strategy_is_tested() -> None:
    """Every registered strategy has a case in this file."""
    assert {one["strategy"] for one in FIXED + DRAWN} == set(STRATEGIES.names())
    assert {entry.summary for entry in STRATEGIES.entries.values()} != {""}
    page = (ROOT / "miner/docs/choosing.md").read_text()
    for name in STRATEGIES.names():
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("name", ["all", "hardest", "semi-hard", "simans", "warp"])
def test_pairs_side_by_side_give_what_anchors_give_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counting pass has a fast path if the counts of pairs decide the slots."""
    rows = normalize_rows(vectors("tied", 60, 5, seed=1))
    relevance = labelled("skewed", 60, 2, hide=True)
    census = Census(Vectors(rows, rows), relevance, "euclidean", 0.3)
    options = {"k": 2} if name not in ("all", "semi-hard") else {}
    ranked = [{}, {"skip_nearest": 2}, {"ranks": (1, 4)}, {"classes": ("semi_hard",)}]
    scored = [{"relative_margin": 0.1, "suspects": True}, {"max_score": 0.9, "min_score": 0.5}]
    for more in ranked + scored:
        job = SelectJob(strategy=name, options=options, per_pair=3, per_anchor=9, **more)
        miner = UnitMiner(census, tally(relevance), load_selection(job), 0, 1 << 20)
        assert miner.selection.by_pair
        short = miner.count((0, 60))
        with monkeypatch.context() as patch:
            patch.setattr(Selection, "by_pair", False)
            long = miner.count((0, 60))
        assert short.tolist() == long.tolist()
    guarded = load_selection(SelectJob(strategy=name, options=options, max_score=0.5))
    assert not guarded.by_rank

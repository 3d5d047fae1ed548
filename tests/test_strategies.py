"""Every strategy and filter against three loops; draws without a bias; the same bytes always."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from miner.distance import METRICS
from miner.hardness import MINED
from tests.hard_data import KINDS
from tests.select_oracle import Data, Selected, admitted, chosen, data, dropped, select

FIXED: list[dict[str, Any]] = [
    {"strategy": "all"},
    {"strategy": "hardest"},
    {"strategy": "hardest", "options": {"k": 4}},
    {"strategy": "semi-hard"},
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
    """Put a score that some negative has exactly in the place of "middle"."""
    pairs = sorted(found.truth.d.items(), key=lambda item: item[1])
    middle = found.score(pairs[len(pairs) // 2][1])
    return strategy | {k: middle if v == "middle" else v for k, v in filters.items()}


def refused(keys: dict[str, Any], found: Data) -> bool:
    """Whether the job would be refused: a strategy without a meaning there."""
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


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", ["even", "skewed", "giant", "one", "singletons", "pairs"])
def test_strategies_take_what_three_loops_take(classes: str, metric: str) -> None:
    for turn, normalized in enumerate((True, False) if metric != "dot" else (False,)):
        compare_all(data(metric, "random", classes, normalized=normalized, size=24), turn)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "random"])
def test_strategies_on_data_that_breaks_miners(kind: str, metric: str) -> None:
    for turn, classes in enumerate(("skewed", "pairs")):
        normalized = metric not in ("dot", "sqeuclidean")
        compare_all(data(metric, kind, classes, normalized=normalized, size=20), turn)


def compare_all(found: Data, turn: int) -> None:
    """Every filter with half of the strategies: the other half is another turn's."""
    for row, filters in enumerate(FILTERS):
        for strategy in (FIXED + DRAWN)[(row + turn) % 2 :: 2]:
            keys = keys_for(found, strategy, filters)
            if not refused(keys, found):
                compare(found, keys)


def compare(found: Data, keys: dict[str, Any]) -> None:
    guards = ("absolute_margin", "relative_margin", "max_score")
    aware = any(key in keys for key in guards)
    with np.errstate(over="ignore"):
        selected = select(found, **keys, suspects=aware)
    left = admitted(found, keys)
    for folder in MINED:
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
    """No slot stays empty while there is an admissible negative for it."""
    k = keys["options"]["k"]
    if keys["strategy"] == "uniform":
        able = Counter(a for a, _, _ in left)
        taken = Counter(a for folder in MINED for a, _, _ in selected.triplets(folder))
        assert taken == Counter({a: min(k, count) for a, count in able.items()})
        return
    most = 1.4 if keys["strategy"] == "distance-weighted" else np.inf
    for folder in MINED:
        able_ = Counter(
            (a, p)
            for (a, p, n), name in left.items()
            if name == folder and found.truth.d[a, n] <= most
        )
        taken_ = Counter((a, p) for a, p, _ in selected.triplets(folder))
        assert taken_ == Counter({pair: min(k, count) for pair, count in able_.items()})
        assert set(selected.records[folder]["weight"].tolist()) <= {1.0}


def check_wanted(found: Data, keys: dict[str, Any], selected: Selected) -> None:
    """What is wanted hangs on anchors and pairs, not on what the filters left."""
    positives = selected.counted["positives"]
    able = (positives > 0) & (selected.counted["negatives"] > 0)
    pairs, anchors = int(positives[able].sum()), int(able.sum())
    wanted = {name: int(selected.counted[f"wanted_{name}"].sum()) for name in MINED}
    k = keys.get("options", {}).get("k", 1)
    kept = keys.get("classes", MINED)
    match keys["strategy"]:
        case "all":
            left = {n: int(selected.counted[f"available_{n}"].sum()) for n in MINED}
            assert wanted == left
        case "semi-hard":
            assert wanted == {"hard": 0, "semi_hard": pairs}
        case "batch-hard" | "easy-positive":
            assert sum(wanted.values()) == anchors
        case "uniform":
            assert sum(wanted.values()) == k * anchors
        case _:
            assert wanted == {name: k * pairs * (name in kept) for name in MINED}
    rows = {name: len(selected.records[name]) for name in MINED}
    assert all(rows[name] <= wanted[name] for name in MINED)

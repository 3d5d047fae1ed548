"""Hubs, confusions and nearest rows, compared with three nested loops in float64."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from miner.census.column_sums import HUBS, add_up_hubs
from miner.census.confusions import CONFUSED, MostConfused, add_up_confusions
from miner.census.device.devices import Device
from miner.census.measure import Vectors
from miner.census.statistics import StatisticsRequest, plan_statistics
from miner.census.walk.census import Census
from miner.pipeline.units.layout import cut_units
from miner.pipeline.units.miner import UnitMiner
from miner.selection.selection import Selection
from miner.selection.strategies.all import All
from miner.selection.strategies.hardest import Hardest
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.relevance import LabelRelevance, Relevance, tally
from miner.triplets.relevance.labels import row_labels
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.hard_relevance import CONSTRAINTS, constrained, multilabel, subset
from tests.oracle import Truth, enumerate_triplets, negatives
from tests.sizes import make_small

WAYS = (
    *("numpy", "numba", "numba in tiles", "numba in float64"),
    *("torch in float32", "torch in float64"),
)
NEIGHBOURS = 5
MOST = 10**6


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Select a variant of the pass: the kernel, tiles, or float64 keys."""
    name = str(request.param)
    make_small(monkeypatch, few=0 if name.endswith("float64") else 10**6, open=2.0, much=0.0)
    if name.endswith("tiles"):
        make_small(monkeypatch, tile=16, fewest=10**6)
    return name


def counter(way: str) -> dict[str, Any]:
    """What a census of a variant is made with."""
    name, last = way.split()[0], way.split()[-1]
    if name != "torch":
        return {"kernel": name}
    pytest.importorskip("torch")
    device = Device("cpu", 1 << 15, 1 << 20, ("fp64" if last == "float64" else "fp32",))
    return {"device": lambda: device}


def true_hubs(truth: Truth, rows: int) -> np.ndarray:
    """Return each row's hard triplets, semi-hard triplets and hard anchors, shape (3, rows)."""
    found = np.zeros((3, rows), dtype=np.int64)
    for place, name in enumerate(("hard", "semi_hard")):
        for _, _, n in truth.sets[name]:
            found[place, n] += 1
    for _, n in {(a, n) for a, _, n in truth.sets["hard"]}:
        found[2, n] += 1
    return found


def true_confusions(truth: Truth, relevance: Relevance) -> dict[tuple[int, int], tuple[int, int]]:
    labels = row_labels(relevance)
    assert labels is not None
    counts = {
        name: Counter((int(labels.anchors[a]), int(labels.rows[n])) for a, _, n in truth.sets[name])
        for name in ("hard", "semi_hard")
    }
    pairs = {*counts["hard"], *counts["semi_hard"]}
    return {pair: (counts["hard"][pair], counts["semi_hard"][pair]) for pair in pairs}


def true_neighbour(truth: Truth, relevance: Relevance, a: int) -> tuple[int, int, int]:
    """Return another label that most nearest rows have, its count, and their number."""
    labels = row_labels(relevance)
    assert labels is not None
    others = [*negatives(relevance, a), *relevance.positives(a).tolist()]
    near = sorted(others, key=lambda row: (truth.d[a, row], row))[:NEIGHBOURS]
    ((label, votes),) = Counter(int(labels.rows[row]) for row in near).most_common(1)
    if 2 * votes > len(near) and label != labels.anchors[a]:
        return label, votes, len(near)
    return -1, 0, len(near)


def check(
    way: str,
    metric: str,
    margin: float,
    stored: Vectors,
    relevance: Relevance,
    selection: Selection | None = None,
    workers: int = 2,
) -> Truth:
    """Count in `workers` units, add up the units, and compare everything with the oracle."""
    truth = enumerate_triplets(metric, margin, stored.anchors, stored.rows, relevance)
    census = Census(stored, relevance, metric, margin, **counter(way))  # type: ignore[arg-type]
    counts = tally(relevance)
    plan = plan_statistics(relevance, StatisticsRequest(True, MOST, NEIGHBOURS))
    selection = selection or Selection(All())
    miner = UnitMiner(census, counts, selection, 0, 1 << 15, statistics=plan)
    half = relevance.anchors // workers + 1
    counted = np.empty(0)
    hubs, confusions = [], []
    for start in range(0, relevance.anchors, half):
        unit = (start, min(start + half, relevance.anchors))
        sums = plan.sums(relevance.rows, unit)
        assert sums is not None
        part = np.concatenate([miner.count(one, sums) for one in plan.parts(unit, sums)])
        counted = np.concatenate([counted, part]) if start else part
        hubs.append(sums.hubs())
        if sums.confusions is not None:
            confusions.append(sums.confusions.arrays())
    result = np.empty_like(counted)
    result[plan.anchors((0, relevance.anchors))] = counted
    assert result["hard"].tolist() == list(truth.hard.values())
    assert result["semi_hard"].tolist() == list(truth.semi_hard.values())
    assert (add_up_hubs(hubs, relevance.rows) == true_hubs(truth, relevance.rows)).all()
    assert all(part.dtype.names == HUBS for part in hubs)
    if plan.labels is not None:
        assert all(p.dtype.names == CONFUSED for parts in confusions for p in parts.values())
        kept = MostConfused(MOST, plan.ranks)
        units = [(parts["confusion"], parts["ends"]) for parts in confusions]
        add_up_confusions(units, kept, plan.labels.count)
        pairs = kept.pairs().T.tolist()
        found = {(a, n): (hard, semi) for a, n, hard, semi in pairs}
        assert found == true_confusions(truth, relevance) and len(found) == len(pairs) == kept.total
        for a in np.flatnonzero((counts.positives > 0) & (counts.negatives > 0)).tolist():
            mine = tuple(int(result[name][a]) for name in ("neighbour", "votes", "looked"))
            assert mine == true_neighbour(truth, relevance, a)
    return truth


@pytest.mark.parametrize("kinds", CONSTRAINTS, ids="-".join)
def test_statistics_of_constrained_items(way: str, kinds: tuple[str, ...]) -> None:
    rows = vectors("random", 44, 6, seed=2)
    relevance = constrained(labelled("skewed", 44, 5, hide=True), 1, *kinds)
    check(way, "euclidean", 0.5, Vectors(rows, rows), relevance)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_labelled(kind: str, metric: str, way: str) -> None:
    rows = vectors(kind, 40, 6, seed=KINDS.index(kind))
    rows = normalize_rows(rows) if kind not in ("offset", "scales") else rows
    relevance = labelled("skewed", 40, 5, hide=kind in ("random", "tied"))
    for margin in (1e-12, 0.2):
        check(way, metric, margin, Vectors(rows, rows), relevance)


@pytest.mark.parametrize("kind", ["random", "tied", "duplicated"])
def test_pairs(kind: str, way: str) -> None:
    rows, queries = vectors(kind, 50, 7, seed=3), vectors(kind, 20, 7, seed=4)
    queries[:5] = rows[:5]
    for hide in (False, True):
        check(way, "euclidean", 0.2, Vectors(queries, rows), linked(20, 50, 6, hide=hide))


@pytest.mark.parametrize("classes", CLASSES)
def test_degenerate_classes(classes: str, way: str) -> None:
    rows = normalize_rows(vectors("random", 40, 5, seed=1))
    check(way, "euclidean", 0.3, Vectors(rows, rows), labelled(classes, 40, 9))


def test_anchor_subsets_and_sets_of_labels(way: str) -> None:
    rows = normalize_rows(vectors("random", 40, 5, seed=2))
    chosen = subset(labelled("skewed", 40, 2, hide=True), 0.3, 1)
    check(way, "cosine", 0.2, Vectors(rows[chosen.chosen], rows), chosen)
    check(way, "cosine", 0.2, Vectors(rows, rows), multilabel("few", 40, 4, hide=True))


def test_a_strategy_that_needs_pairs_changes_no_statistic(way: str) -> None:
    rows = normalize_rows(vectors("duplicated", 40, 5, seed=2))
    selection = Selection(Hardest(2))
    assert selection.needs_pairs
    check(way, "euclidean", 0.2, Vectors(rows, rows), labelled("even", 40, 3), selection, 3)


@settings(max_examples=60, deadline=None)
@given(
    rows=arrays(
        np.float32,
        st.tuples(st.integers(2, 14), st.integers(1, 4)),
        elements=st.one_of(
            st.sampled_from([0.0, 1.0, -1.0, 0.5, 1000.0]), st.floats(-4, 4, width=16)
        ),
    ),
    codes=st.lists(st.integers(0, 3), min_size=14, max_size=14),
    margin=st.sampled_from([2.0**-40, 0.25, 0.5, 1.0]),
    metric=st.sampled_from(sorted(METRICS)),
    fast=st.booleans(),
)
def test_any_data(
    rows: np.ndarray, codes: list[int], margin: float, metric: str, fast: bool
) -> None:
    none = np.full(len(rows), -1, dtype=np.int64)
    relevance = LabelRelevance(np.array(codes[: len(rows)]), none, none)
    check("numba" if fast else "numpy", metric, margin, Vectors(rows, rows), relevance)


@pytest.mark.parametrize("classes", [6, 300])
def test_kernels_agree_on_larger_data(classes: int, way: str) -> None:
    """Thousands of rows near thresholds that float32 cannot decide."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 2000)
    centers = rng.standard_normal((classes, 16))
    rows = normalize_rows(centers[labels] + rng.standard_normal((2000, 16)))
    rows[1990:] = rows[:10]  # ties
    none = np.full(2000, -1, dtype=np.int64)
    relevance = LabelRelevance(labels, none, none)
    counts = tally(relevance)
    plan = plan_statistics(relevance, StatisticsRequest(True, MOST, 10))
    found = []
    for options, keep in (({"kernel": "numpy"}, 0), (counter(way), 1 << 20)):
        stored = Vectors(rows, rows)
        census = Census(stored, relevance, "euclidean", 0.2, keep_bytes=keep, **options)
        miner = UnitMiner(census, counts, Selection(All()), 0, 1 << 22, statistics=plan)
        units = [cut_units(2000, 2000, 16)[n] for n in (0, 17)]
        for unit in units:
            sums = plan.sums(2000, unit)
            assert sums is not None and sums.confusions is not None
            counted = np.concatenate([miner.count(p, sums) for p in plan.parts(unit, sums)])
            tables = {name: array.tolist() for name, array in sums.confusions.arrays().items()}
            judged = [counted[name].tolist() for name in ("neighbour", "votes", "looked", "hard")]
            found.append((judged, sums.hubs().tolist(), tables))
    assert found[:2] == found[2:]
    assert len(found[0][1]) > 1500 and len(found[0][2]["ends"]) > classes // 40

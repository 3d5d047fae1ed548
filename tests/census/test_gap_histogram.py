"""The histogram of d(a,n) - d(a,p) against loops, by definition and by keys; its sample."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import miner.census.gap_histogram as counting
from miner.census.gap_histogram import Gaps, gap_facts, plan_gaps
from miner.census.measure import Vectors
from miner.census.reference import Census
from miner.census.statistics import Wanted, plan_besides
from miner.triplets.distance import METRICS, Metric, normalize_rows
from miner.triplets.relevance import LabelRelevance, Relevance, tally
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.oracle import negatives


def planned(
    metric: Metric, margin: float, stored: Vectors, relevance: Relevance, most: int = 1000
) -> Gaps:
    census = Census(stored, relevance, metric, margin)
    return plan_gaps(census, tally(relevance), most)


def true_gaps(gaps: Gaps) -> list[int]:
    """Each triplet of the anchors, one after the other."""
    census, edges = gaps.census, gaps.edges
    below, valid = np.zeros(len(edges), dtype=np.int64), 0
    for anchor in gaps.anchors.tolist():
        own = np.array([anchor])
        others = np.array(list(negatives(census.relevance, anchor)))
        positives = census.relevance.positives(anchor)
        d_ap = census.vectors.measure(census.metric, own, positives)
        d_an = census.vectors.measure(census.metric, own, others)[:, None]
        valid += len(d_ap) * len(d_an)
        for p in d_ap:
            low, high = d_an <= p + edges, (d_an < p + edges) | (d_an <= p)
            below += np.where(edges <= 0, low, high).sum(axis=0)
    return np.diff(below, prepend=0, append=valid).tolist()


def check(gaps: Gaps) -> None:
    """Compare both ways with the loops; blocks and units are of any size."""
    everything = true_gaps(gaps)
    total = gaps.census.relevance.anchors
    for loops in {id(loops): loops for loops in (gaps.loops, None)}.values():
        one = dataclasses.replace(gaps, loops=loops)
        units = [
            one.count(np.arange(start, min(start + 17, total))) for start in range(0, total, 17)
        ]
        assert np.sum(units, axis=0).tolist() == everything


@pytest.mark.sampled(12)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_gaps_are_those_of_three_loops(kind: str, metric: Metric) -> None:
    for classes in ("skewed", "giant", "pairs"):
        pairs = classes == "pairs"
        relevance = linked(12, 30, 7, hide=True) if pairs else labelled(classes, 30, 8, hide=True)
        rows = vectors(kind, 30, 6, seed=9)
        anchors = vectors(kind, 12, 6, seed=10) if pairs else rows
        for unit in (False, True) if metric != "dot" else (False,):
            stored = Vectors(*(normalize_rows(side) if unit else side for side in (anchors, rows)))
            stored = stored if pairs else Vectors(stored.rows, stored.rows)
            for margin in (1e-12, 0.2):
                gaps = planned(metric, margin, stored, relevance)
                assert gap_facts(gaps, np.zeros(66))["exact"]
                check(gaps)


@pytest.mark.parametrize("classes", CLASSES)
def test_degenerate_classes(classes: str) -> None:
    rows = normalize_rows(vectors("random", 40, 5, seed=1))
    check(planned("euclidean", 0.3, Vectors(rows, rows), labelled(classes, 40, 9)))


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_gaps_on_edges(metric: Metric) -> None:
    """Whole numbers: each gap is on an edge, and some distances on the border of a cell."""
    rows = np.random.default_rng(3).integers(-2, 3, (60, 2)).astype(np.float32)
    none = np.full(60, -1)
    relevance = LabelRelevance(np.arange(60) % 3, none, none)
    gaps = planned(metric, 1.0, Vectors(rows, rows), relevance)
    check(gaps)


def test_many_negatives_by_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sure is not measured, and no anchor is left to the reference."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, 1500)
    rows = normalize_rows(rng.standard_normal((4, 24))[labels] + rng.standard_normal((1500, 24)))
    none = np.full(1500, -1)
    gaps = planned("euclidean", 0.2, Vectors(rows, rows), LabelRelevance(labels, none, none))
    chosen = np.arange(0, 1500, 50)
    by_definition = dataclasses.replace(gaps, loops=None).count(chosen)
    with monkeypatch.context() as patch:
        patch.setattr(Gaps, "_by_definition", None)
        assert gaps.count(chosen).tolist() == by_definition.tolist()


@pytest.mark.parametrize("bound", ["_VALUES", "_PAIRS", "_TRIPLETS"])
def test_too_large_a_job_is_sampled(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normalize_rows(vectors("random", 300, 5, seed=1))
    relevance = labelled("even", 300, 9)
    stored = Vectors(rows, rows)
    whole = planned("euclidean", 0.3, stored, relevance, most=80)
    assert whole.anchors.tolist() == list(range(300))
    monkeypatch.setattr(counting, bound, 1000)
    gaps = planned("euclidean", 0.3, stored, relevance, most=80)
    counts = gaps.count(np.arange(300))
    facts = gap_facts(gaps, counts)
    assert (facts["anchors"], facts["of"], facts["exact"]) == (80, 300, False)
    assert counts.tolist() == true_gaps(gaps)
    again = plan_besides(gaps.census, tally(relevance), Wanted(gaps=80)).gaps
    assert again is not None and again.anchors.tolist() == gaps.anchors.tolist()
    few = planned("euclidean", 0.3, stored, relevance, most=1000)
    assert len(few.anchors) == 300 and few.of == 300  # so few values are no sample

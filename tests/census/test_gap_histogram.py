"""The histogram of d(a,n) - d(a,p): from a uniform sample, with 0 and the margin as edges."""

from __future__ import annotations

import numpy as np
import pytest

from miner.census.gap_histogram import gap_facts
from miner.census.measure import Vectors
from miner.census.triplet_sample import TripletSample, draw_sample
from miner.triplets.distance import METRICS, Metric
from miner.triplets.relevance import Relevance, tally
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.hard_relevance import multilabel
from tests.oracle import enumerate_triplets, negatives


def drawn(metric: Metric, stored: Vectors, relevance: Relevance, size: int) -> TripletSample:
    counts = tally(relevance)
    able = counts.positives, counts.negatives
    return draw_sample(relevance, stored, metric, able, size=size)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_those_of_three_loops(kind: str, metric: Metric) -> None:
    rows = vectors(kind, 40, 5, seed=KINDS.index(kind))
    kinds = labelled("skewed", 40, 3, hide=True), linked(40, 40, 3), multilabel("few", 40, 3)
    for relevance in kinds:
        truth = enumerate_triplets(metric, 0.3, rows, rows, relevance)
        facts = gap_facts(drawn(metric, Vectors(rows, rows), relevance, 40_000), 0.3)
        edges, until = facts["edges"], np.cumsum([facts["below"], *facts["counts"]])
        assert edges == sorted(edges) and until[-1] + facts["above"] == 40_000
        gaps = np.array(
            [
                truth.d[a, n] - truth.d[a, p]
                for a in range(40)
                for p in relevance.positives(a).tolist()
                for n in negatives(relevance, a)
            ]
        )
        assert (gaps <= 0).sum() == len(truth.sets["hard"])
        for edge, share in ((0.0, (gaps <= 0).mean()), (0.3, (gaps < 0.3).mean())):
            found = until[edges.index(edge)] / 40_000
            assert abs(found - share) < 2.5 * facts["error"]


def test_edges_cover_the_gaps() -> None:
    for widest, margin in ((1e-9, 0.2), (0.7, 0.2), (5e8, 0.2), (3.0, 1e9)):
        zeros = np.zeros(1000, dtype=np.int64)
        d_an = np.linspace(0, widest, 1000)
        facts = gap_facts(TripletSample(zeros, zeros, zeros, np.zeros(1000), d_an), margin)
        edges = np.array(facts["edges"])
        assert {0.0, margin} <= set(facts["edges"]) and facts["below"] == 0
        inside = edges[(edges > 0) & (edges < margin)] if margin > widest else edges[edges > 0]
        assert len(inside) >= 16 and inside.min() < widest


@pytest.mark.parametrize("classes", CLASSES)
def test_anchors_with_few_negatives_are_sampled(classes: str) -> None:
    """If nearly no row is a negative, the negatives are listed."""
    relevance = labelled(classes, 300, 2, hide=True)
    rows = vectors("random", 300, 3, seed=1)
    sample = drawn("euclidean", Vectors(rows, rows), relevance, 3000)
    for a, p, n in zip(sample.anchors, sample.positives, sample.negatives, strict=True):
        assert p in relevance.positives(int(a)) and n not in relevance.positives(int(a))
        assert n not in relevance.hidden(int(a))
    assert len(sample) == (3000 if tally(relevance).valid else 0)

"""Rows by rank: a few of them are found without sorting all, and are the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.reference import Census
from miner.selection.ranking import Ranking
from miner.triplets.distance import METRICS, measure
from tests.hard_data import KINDS, labelled, vectors


@pytest.mark.sampled(14)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_few_ranks_and_all_ranks_agree_with_the_true_order(kind: str, metric: str) -> None:
    rng = np.random.default_rng(3)
    rows = vectors(kind, 700, 6, seed=2)
    rows[300:340] = rows[300]  # a long run of ties
    relevance = labelled("skewed", 700, 4)
    census = Census(Vectors(rows, rows), relevance, metric, 1e30)
    anchors = np.array([0, 1, 350, 699])
    block = census.block(anchors)
    for line, anchor in enumerate(anchors.tolist()):
        no = {*relevance.positives(anchor).tolist(), *relevance.hidden(anchor).tolist()}
        negatives = np.array([row for row in range(700) if row not in no])
        d = measure(metric, rows[anchor : anchor + 1], rows[negatives])
        order = negatives[np.lexsort((negatives, d))]
        reached = len(Ranking(census, block, line).rows_at(np.arange(0)))
        assert reached == 0
        everything = Ranking(census, block, line)._order
        assert (everything == order[: len(everything)]).all()
        for size in (1, 2, 9, 30):
            if size < len(everything):
                ranks = np.sort(rng.choice(len(everything), size, replace=False))
                found = Ranking(census, block, line).rows_at(ranks)
                assert found.tolist() == order[ranks].tolist()
        some = Ranking(census, block, line)
        for rank in (0, len(everything) // 2, len(everything) - 1):
            assert some.rows_at(np.array([rank])).tolist() == [order[rank]]


def test_the_few_are_really_found_without_the_whole_order() -> None:
    rows = vectors("random", 2000, 6, seed=2)
    census = Census(Vectors(rows, rows), labelled("even", 2000, 4), "euclidean", 1e30)
    ranking = Ranking(census, census.block(np.array([5])), 0)
    ranking.rows_at(np.array([3, 700, 1500]))
    assert "_order" not in vars(ranking)

"""Rows by rank follow the true order, for a few and for all ranks, also in long runs of ties."""

from __future__ import annotations

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.triplets.distance import METRICS, measure
from tests.hard_data import KINDS, labelled, vectors
from tests.sizes import make_small


@pytest.mark.sampled(14)
@pytest.mark.parametrize("few", [0, 10**6])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_few_ranks_and_all_ranks_agree_with_the_true_order(
    kind: str, metric: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch, few=few, open=2.0)
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
        everything = block.ordered(line)
        assert (everything == order[: len(everything)]).all()
        for size in (0, 1, 2, 9, 30):
            ranks = rng.choice(len(everything), min(size, len(everything)), replace=False)
            assert block.rows_at(np.full(len(ranks), line), ranks).tolist() == order[ranks].tolist()
        lists = block.nearest(np.where(np.arange(4) == line, min(20, len(everything)), -1))
        assert lists.head["held"][line] >= min(20, len(everything))
        own = census.listed_block(anchors[line : line + 1], lists.take(np.array([line])))
        assert own.ordered(0)[:20].tolist() == order[: min(20, len(everything))].tolist()

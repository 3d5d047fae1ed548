"""The most confused label pairs are kept exactly, for any cut into units and parts."""

from __future__ import annotations

import numpy as np
import pytest

import miner.census.confusions as confusions_module
import miner.census.statistics as statistics_module
from miner.census.confusions import MostConfused, UnitConfusions, add_up_confusions
from miner.census.measure import Vectors
from miner.census.statistics import StatisticsRequest, plan_statistics
from miner.census.walk.census import Census
from miner.pipeline.units.miner import UnitMiner
from miner.selection.selection import Selection
from miner.selection.strategies.all import All
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import LabelRelevance, tally

LABELS = 30


def stream(seed: int, size: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return counts of label pairs, label by label, in several parts; some are subtracted."""
    rng = np.random.default_rng(seed)
    found = []
    for label in np.sort(rng.integers(0, LABELS, size)).tolist():
        others = np.sort(rng.permutation(LABELS)[: rng.integers(1, LABELS)])
        hard = rng.integers(0, 4, len(others))  # few values: many ties
        counts = np.vstack([hard, hard + rng.integers(0, 3, len(others))])
        there = counts[1] > 0
        found.append((label, others[there], counts[:, there]))
        if rng.random() < 0.3:
            found.append((label, others[there], -counts[:, there]))
    return found


def truth(found: list[tuple[int, np.ndarray, np.ndarray]], ranks: np.ndarray) -> list[list[int]]:
    sums = np.zeros((2, LABELS, LABELS), dtype=np.int64)
    for label, others, counts in found:
        sums[:, label, others] += counts
    pairs = [
        [a, n, int(sums[0, a, n]), int(sums[1, a, n] - sums[0, a, n])]
        for a, n in zip(*np.nonzero(sums[1]), strict=True)
    ]
    pairs = [[int(number) for number in pair] for pair in pairs]
    return sorted(pairs, key=lambda pair: (-pair[2], ranks[pair[0]], ranks[pair[1]]))


@pytest.mark.parametrize("most", [1, 7, 150, 10**6])
@pytest.mark.parametrize("seed", range(6))
def test_the_top_pairs_are_kept(seed: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(100 + seed)
    monkeypatch.setattr(confusions_module, "_SPARE", int(rng.integers(0, 60)))
    monkeypatch.setattr(confusions_module, "_HELD", int(rng.integers(1, 200)))
    found, ranks = stream(seed, 60), rng.permutation(LABELS)
    cuts = np.sort(rng.integers(0, len(found), rng.integers(0, 9))).tolist()
    cuts = [cut for cut in cuts if found[cut][2].min() > -1]  # a unit subtracts only what it added
    units = []
    for start, stop in zip([0, *cuts], [*cuts, len(found)], strict=True):
        mine = found[start:stop]
        if not mine:
            continue
        unit = UnitConfusions({mine[0][0], mine[-1][0]}, MostConfused(most, ranks), LABELS)
        for place, (label, others, counts) in enumerate(mine):
            unit.add(np.full(len(others), label), others, counts)
            ahead = mine[place + 1][0] if place + 1 < len(mine) else None
            if rng.random() < 0.5:
                unit.close(ahead)
        unit.close()
        assert unit.held == 0
        units.append(unit.arrays())
    kept = MostConfused(most, ranks)
    add_up_confusions([(u["confusion"], u["ends"]) for u in units], kept, LABELS)
    pairs = truth(found, ranks)
    assert kept.pairs().T.tolist() == pairs[:most]
    assert kept.total == len(pairs)


def test_few_pairs_are_held_with_many_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly every pair of labels has triplets: a unit holds few at a time, and finds all."""
    rng = np.random.default_rng(3)
    count, labels = 1200, 400
    rows = normalize_rows(rng.standard_normal((count, 8)))
    none = np.full(count, -1)
    relevance = LabelRelevance(rng.permutation(count) % labels, none, none)
    census = Census(Vectors(rows, rows), relevance, "euclidean", 0.2)
    counts = tally(relevance)
    found, held = [], []
    close = UnitConfusions.close

    def recorded(self: UnitConfusions, but: int | None = None) -> None:
        held.append(self.held)
        close(self, but)

    monkeypatch.setattr(UnitConfusions, "close", recorded)
    for pairs in (10**9, 4000):
        monkeypatch.setattr(statistics_module, "_PAIRS", pairs)
        monkeypatch.setattr(statistics_module, "_LEAST_PART", 8)
        held.clear()
        plan = plan_statistics(relevance, StatisticsRequest(hubs=True, confusions=500))
        miner = UnitMiner(census, counts, Selection(All()), 0, 1 << 22, statistics=plan)
        units = []
        for unit in ((0, 500), (500, count)):
            sums = plan.sums(count, unit)
            assert sums is not None and sums.confusions is not None
            parts = [miner.count(part, sums) for part in plan.parts(unit, sums)]
            assert sum(map(len, parts)) == unit[1] - unit[0]
            arrays = sums.confusions.arrays()
            assert len(arrays["confusion"]) == 501 and len(arrays["ends"]) <= 2 * labels
            units.append((arrays["confusion"], arrays["ends"]))
        kept = MostConfused(500, plan.ranks)
        add_up_confusions(units, kept, labels)
        found.append((kept.total, kept.pairs().tolist()))
        if pairs == 4000:
            assert max(held) < 16 * labels
    assert found[0] == found[1]
    assert found[0][0] > 0.9 * labels * (labels - 1)


@pytest.mark.parametrize("seed", range(5))
def test_tables_and_sorting_add_up_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 50, int(rng.integers(0, 200))) + 10**12 * seed
    hard = rng.integers(-3, 4, len(codes))
    pairs = np.vstack([codes, hard, hard + rng.integers(-2, 3, len(codes))])
    want = {int(code): pairs[1:, codes == code].sum(axis=1).tolist() for code in np.unique(codes)}
    want = {code: counts for code, counts in want.items() if counts[1]}
    first = int(codes.min(initial=10**12 * seed + 50))
    tabled = confusions_module._tabled(pairs, first, 10**12 * seed + 50 - first)
    for found in (tabled, confusions_module._sorted(pairs)):
        assert found.dtype == np.int64
        assert {int(code): [int(hard), int(non_easy)] for code, hard, non_easy in found.T} == want

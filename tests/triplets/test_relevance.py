"""Positives, hidden rows, and fast counts, compared with one anchor at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from miner.triplets.relevance import (
    REASONS,
    AnchorSubset,
    Buckets,
    Constrained,
    LabelRelevance,
    Relevance,
    load,
    tally,
    without_rows,
)
from tests.hard_data import CLASSES, labelled, linked
from tests.hard_relevance import CONSTRAINTS, SETS, constrained, multilabel


def cases() -> list[Relevance]:
    found: list[Relevance] = [linked(30, 40, 1), linked(30, 40, 2, hide=True)]
    found.append(AnchorSubset(labelled("skewed", 36, 4, hide=True), np.array([0, 7, 8, 30])))
    for seed, kind in enumerate(CLASSES):
        found += [labelled(kind, 36, seed), labelled(kind, 36, seed, hide=True)]
        with_contents = labelled(kind, 36, seed, hide=True)
        none = np.full(36, -1, dtype=np.int64)
        found.append(LabelRelevance(with_contents.labels, with_contents.contents, none))
    left_out = np.array([0, 3, 8, 9, 20, 35])
    found += [without_rows(one, left_out) for one in found[2:6]]
    some = linked(30, 40, 3, hide=True)
    ignored = np.unique(np.random.default_rng(4).integers(0, 30 * 40, 60))
    found += [dataclasses.replace(linked(30, 40, 3), ignored=ignored)]
    found += [dataclasses.replace(some, ignored=ignored)]
    bases = [found[0], found[1], found[2], found[3], labelled("skewed", 36, 5, hide=True)]
    bases += [dataclasses.replace(some, ignored=ignored), multilabel("few", 40, 3, hide=True)]
    found += [constrained(base, 1, *kinds) for base in bases for kinds in CONSTRAINTS]
    return [*found, without_rows(constrained(found[3], 2, "across", "before"), left_out)]


def sets_of_labels() -> list[Relevance]:
    found: list[Relevance] = [
        multilabel(kind, 40, 3, hide=hide) for kind in SETS for hide in (0, 1)
    ]
    return [*found, AnchorSubset(multilabel("few", 40, 4, hide=True), np.array([1, 6, 20]))]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("relevance", cases(), ids=lambda _: "")
def test_sets_are_disjoint_and_counted(relevance: Relevance) -> None:
    counts = tally(relevance)
    hidden = np.zeros(len(REASONS), dtype=int)
    for anchor in range(relevance.anchors):
        positives, parts = relevance.positives(anchor), relevance.exclusions(anchor)
        together = np.concatenate([positives, *parts])
        assert len(set(together.tolist())) == len(together)
        assert counts.positives[anchor] == len(positives)
        assert counts.negatives[anchor] == relevance.rows - len(together)
        hidden += [len(part) for part in parts]
        assert (relevance.exclusion_counts()[anchor] == [len(part) for part in parts]).all()
    assert counts.hidden == dict(zip(REASONS, hidden.tolist(), strict=True))
    again = load(relevance.arrays())
    assert tally(again).valid == counts.valid


@pytest.mark.sampled(12)
@pytest.mark.parametrize("relevance", cases(), ids=lambda _: "")
def test_lists_of_many_anchors_equal_single_ones(relevance: Relevance) -> None:
    anchors = np.random.default_rng(3).permutation(relevance.anchors)[:20]
    lists = relevance.positive_lists(anchors)
    starts, rows = relevance.hidden_lists(anchors)
    for place, anchor in enumerate(anchors.tolist()):
        mine = lists.rows[lists.starts[place] : lists.stops[place]]
        mine = mine[mine != lists.skipped[place]]
        assert mine.tolist() == relevance.positives(anchor).tolist()
        assert lists.counts[place] == len(mine)
        hidden = rows[starts[place] : starts[place + 1]]
        assert hidden.tolist() == sorted(relevance.hidden(anchor).tolist())


@pytest.mark.sampled(16)
@pytest.mark.parametrize("relevance", [*cases(), *sets_of_labels()], ids=lambda _: "")
def test_picks_are_uniform(relevance: Relevance) -> None:
    """Each positive and each negative of an anchor is drawn equally often, and no other row."""
    rng, counts = np.random.default_rng(7), tally(relevance)
    for anchor in range(0, relevance.anchors, 5):
        positives = set(relevance.positives(anchor).tolist())
        hidden = set(relevance.hidden(anchor).tolist())
        negatives = set(range(relevance.rows)) - positives - hidden
        for expected, pick in (
            (positives, relevance.pick_positives),
            (negatives, relevance.pick_negatives),
        ):
            if not expected or not counts.positives[anchor]:
                continue
            rows = pick(np.full(8000, anchor), rng.random(8000))
            found, times = np.unique(rows[rows >= 0], return_counts=True)
            assert set(found.tolist()) == expected
            mean = times.mean()
            assert ((times - mean) ** 2 / mean).sum() < len(times) + 6 * np.sqrt(2 * len(times)) + 9


@pytest.mark.sampled(20)
@pytest.mark.parametrize("kinds", CONSTRAINTS, ids=lambda _: "")
@pytest.mark.parametrize("base", range(4))
def test_constraints_by_their_definition(base: int, kinds: tuple[str, ...]) -> None:
    """Each pair of an anchor and a row is judged by one rule at a time."""
    inner = cases()[base]
    found = constrained(inner, base, *kinds)
    for a in range(found.anchors):
        positives = set(inner.positives(a).tolist())
        negatives = set(range(inner.rows)) - positives - set(inner.hidden(a).tolist())
        assert set(found.positives(a).tolist()) == {r for r in positives if may(found, a, r, True)}
        hidden = set(found.positives(a).tolist()) | set(found.hidden(a).tolist())
        mine = {r for r in negatives if may(found, a, r, False)}
        assert set(range(found.rows)) - hidden == mine


def may(found: Constrained, a: int, r: int, positive: bool) -> bool:
    if found.order[r] > found.anchor_order[a] or a * found.rows + r in found.ignored:
        return False
    if positive:
        pairs = [
            (own[a], codes[r]) for own, codes in zip(found.anchor_across, found.across, strict=True)
        ]
        return all(-1 not in pair and pair[0] != pair[1] for pair in pairs)
    groups = zip(found.anchor_apart, found.apart, strict=True)
    if any(own[a] == codes[r] != -1 for own, codes in groups):
        return False
    return bool(found.anchor_within[a] == found.within[r] != -1)


def test_hidden_lists_of_all_queries_equal_single_ones() -> None:
    """Groups are handled query by query, even a group that no row has."""
    for seed in range(20):
        grouped = linked(30, 40, seed, hide=True)
        none = np.full(30, -1, dtype=np.int64)
        relevance = dataclasses.replace(grouped, query_groups=none)
        slow = dataclasses.replace(relevance, query_groups=none + 100)
        counts, lists = slow.exclusion_counts(), slow.hidden_lists(np.arange(30))
        assert (relevance.exclusion_counts() == counts).all()
        for fast, want in zip(relevance.hidden_lists(np.arange(30)), lists, strict=True):
            assert fast.tolist() == want.tolist()
        assert counts[:, :2].any()


def test_hidden_rows_of_labelled_items_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 2], dtype=np.int64)
    contents = np.array([7, 8, 8, 9, 10], dtype=np.int64)  # rows 1 and 2 hold the same text
    groups = np.array([0, -1, -1, 0, -1], dtype=np.int64)  # rows 0 and 3 are of one group
    relevance = LabelRelevance(labels, contents, groups)
    assert relevance.positives(0).tolist() == [1]
    assert [part.tolist() for part in relevance.exclusions(0)] == [[0], [2], [3], []]
    assert [part.tolist() for part in relevance.exclusions(2)] == [[2], [1], [], []]
    assert [part.tolist() for part in relevance.exclusions(4)] == [[4], [], [], []]


def test_buckets() -> None:
    buckets = Buckets(np.array([2, -1, 0, 2, -1], dtype=np.int64))
    assert [buckets.rows(code).tolist() for code in (-1, 0, 1, 2, 9)] == [[], [2], [], [0, 3], []]
    assert buckets.sizes.tolist() == [1, 0, 2]
    assert Buckets(np.full(3, -1)).rows(0).tolist() == []


def test_constraints_of_rows_without_any_positive_are_counted() -> None:
    relevance = constrained(labelled("singletons", 30, 1), 1, "within")
    counts = relevance.exclusion_counts()
    for anchor in range(30):
        assert counts[anchor].tolist() == [len(part) for part in relevance.exclusions(anchor)]

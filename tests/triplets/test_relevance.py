"""Positives, hidden rows, and fast counts, compared with one anchor at a time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from miner.triplets.relevance import (
    AnchorSubset,
    Buckets,
    LabelRelevance,
    Relevance,
    WithoutRows,
    anchor_rows,
    load,
    tally,
)
from tests.hard_data import CLASSES, labelled, linked
from tests.hard_relevance import SETS, multilabel


def cases() -> list[Relevance]:
    found: list[Relevance] = [linked(30, 40, 1), linked(30, 40, 2, hide=True)]
    found.append(AnchorSubset(labelled("skewed", 36, 4, hide=True), np.array([0, 7, 8, 30])))
    for seed, kind in enumerate(CLASSES):
        found += [labelled(kind, 36, seed), labelled(kind, 36, seed, hide=True)]
        with_contents = labelled(kind, 36, seed, hide=True)
        none = np.full(36, -1, dtype=np.int64)
        found.append(LabelRelevance(with_contents.labels, with_contents.contents, none))
    left_out = np.array([0, 3, 8, 9, 20, 35])
    found += [WithoutRows(one, left_out) for one in found[2:6]]
    return found


def sets_of_labels() -> list[Relevance]:
    found: list[Relevance] = [
        multilabel(kind, 40, 3, hide=hide) for kind in SETS for hide in (0, 1)
    ]
    return [*found, AnchorSubset(multilabel("few", 40, 4, hide=True), np.array([1, 6, 20]))]


@pytest.mark.parametrize("relevance", cases(), ids=lambda _: "")
def test_sets_are_disjoint_and_counted(relevance: Relevance) -> None:
    counts = tally(relevance)
    hidden = np.zeros(3, dtype=int)
    for anchor in range(relevance.anchors):
        positives, parts = relevance.positives(anchor), relevance.exclusions(anchor)
        together = np.concatenate([positives, *parts])
        assert len(set(together.tolist())) == len(together)
        assert counts.positives[anchor] == len(positives)
        assert counts.negatives[anchor] == relevance.rows - len(together)
        hidden += [len(part) for part in parts]
    assert (counts.itself, counts.duplicates, counts.group) == tuple(hidden)
    again = load(relevance.arrays())
    assert tally(again).valid == counts.valid


@pytest.mark.parametrize("relevance", cases(), ids=lambda _: "")
def test_lists_of_many_anchors_equal_single_ones(relevance: Relevance) -> None:
    anchors = np.random.default_rng(3).permutation(relevance.anchors)[:20]
    lists = relevance.positive_lists(anchors)
    starts, rows = relevance.hidden_lists(anchors)
    inner = relevance.inner if isinstance(relevance, WithoutRows) else relevance
    rows_of = anchor_rows(inner)
    together: dict[int, set[frozenset[int]]] = {}
    for anchor, kind in zip(
        anchors.tolist(), relevance.positive_group(anchors).tolist(), strict=True
    ):
        company = frozenset({*relevance.positives(anchor).tolist(), int(rows_of[anchor])})
        together.setdefault(kind, set()).add(company)
    assert all(len(sets) == 1 for sets in together.values())
    for place, anchor in enumerate(anchors.tolist()):
        mine = lists.rows[lists.starts[place] : lists.stops[place]]
        mine = mine[mine != lists.skipped[place]]
        assert mine.tolist() == relevance.positives(anchor).tolist()
        assert lists.counts[place] == len(mine)
        hidden = rows[starts[place] : starts[place + 1]]
        assert hidden.tolist() == sorted(relevance.hidden(anchor).tolist())


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
    assert [part.tolist() for part in relevance.exclusions(0)] == [[0], [2], [3]]
    assert [part.tolist() for part in relevance.exclusions(2)] == [[2], [1], []]
    assert [part.tolist() for part in relevance.exclusions(4)] == [[4], [], []]


def test_buckets() -> None:
    buckets = Buckets(np.array([2, -1, 0, 2, -1], dtype=np.int64))
    assert [buckets.rows(code).tolist() for code in (-1, 0, 1, 2, 9)] == [[], [2], [], [0, 3], []]
    assert buckets.sizes.tolist() == [1, 0, 2]
    assert Buckets(np.full(3, -1)).rows(0).tolist() == []

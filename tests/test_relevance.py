"""Who is a positive, who is hidden, and that the fast counts are those of one by one."""

from __future__ import annotations

import numpy as np
import pytest

from miner.relevance import Buckets, LabelRelevance, Relevance, load, tally
from tests.hard_data import CLASSES, labelled, linked


def cases() -> list[Relevance]:
    found: list[Relevance] = [linked(30, 40, 1), linked(30, 40, 2, hide=True)]
    for seed, kind in enumerate(CLASSES):
        found += [labelled(kind, 36, seed), labelled(kind, 36, seed, hide=True)]
        with_contents = labelled(kind, 36, seed, hide=True)
        none = np.full(36, -1, dtype=np.int64)
        found.append(LabelRelevance(with_contents.labels, with_contents.contents, none))
    return found


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

"""The order of an epoch, for any row groups and any numbers of readers."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miner.errors import UsageError
from miner.training.epoch_order import EpochOrder, Reader

Row = tuple[int, int]

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)
few = st.integers(1, 5)
orders = st.fixed_dictionaries(
    {
        "shuffle": st.booleans(),
        "window": st.integers(1, 60),
        "drop_last": st.booleans(),
    }
)


def read(order: EpochOrder, reader: Reader, done: int = 0) -> list[Row]:
    """What a reader gives: (row group, row in it)."""
    rows = []
    for pieces, chosen in order.windows(reader, done):
        held = [(piece.group, row) for piece in pieces for row in range(piece.start, piece.stop)]
        rows += [held[place] for place in chosen]
    return rows


@settings(max_examples=80, deadline=None)
@given(sizes, few, few, orders, st.integers(0, 3))
def test_every_row_once_over_all_ranks_and_workers(
    groups: list[int], ranks: int, workers: int, rules: dict[str, bool], epoch: int
) -> None:
    order = EpochOrder(np.array(groups), (3, epoch), **rules)  # type: ignore[arg-type]
    every = {(group, row) for group, size in enumerate(groups) for row in range(size)}
    read_by = [
        [read(order, Reader(rank, ranks, worker, workers)) for worker in range(workers)]
        for rank in range(ranks)
    ]
    counts = Counter(row for rank in read_by for worker in rank for row in worker)
    total, over = sum(counts.values()), sum(groups) % ranks
    if rules["drop_last"]:
        assert set(counts) <= every and max(counts.values(), default=1) == 1
        assert total == sum(groups) - over
    else:
        assert set(counts) == every
        assert total == sum(groups) + (ranks - over if over else 0)
        if ranks <= sum(groups):
            assert max(counts.values()) <= 2
    for worker in range(workers):  # so ranks make the same number of batches
        assert len({len(rank[worker]) for rank in read_by}) == 1
    assert sum(map(len, read_by[0])) == order.rank_rows(ranks)


@settings(max_examples=80, deadline=None)
@given(sizes, few, few, orders, st.data())
def test_what_is_left_is_the_end_of_what_would_have_come(
    groups: list[int], ranks: int, workers: int, rules: dict[str, bool], data: st.DataObject
) -> None:
    order = EpochOrder(np.array(groups), (3, 1), **rules)  # type: ignore[arg-type]
    reader = Reader(
        data.draw(st.integers(0, ranks - 1)), ranks, data.draw(st.integers(0, workers - 1)), workers
    )
    whole = read(order, reader)
    done = data.draw(st.integers(0, len(whole)))
    assert read(order, reader, done) == whole[done:]
    again = EpochOrder(np.array(groups), (3, 1), **rules)  # type: ignore[arg-type]
    assert read(again, reader) == whole


def test_epochs_and_seeds_differ_and_rows_are_mixed() -> None:
    rules = {"shuffle": True, "window": 300, "drop_last": False}

    def rows(seed: int, epoch: int) -> list[Row]:
        order = EpochOrder(np.full(20, 50), (seed, epoch), **rules)  # type: ignore[arg-type]
        return read(order, Reader())

    first = rows(0, 0)
    assert len({tuple(rows(*key)) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4
    assert len({group for group, _ in first[:50]}) == 6  # a window holds six row groups
    steps = sum(a[0] == b[0] for a, b in itertools.pairwise(first))
    assert steps < len(first) / 3


def test_without_shuffling_rows_come_as_they_are() -> None:
    order = EpochOrder(np.array([3, 2]), (0, 5), shuffle=False, window=2, drop_last=False)
    assert read(order, Reader()) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


@pytest.mark.parametrize("reader", [(2, 2, 0, 1), (-1, 2, 0, 1), (0, 1, 3, 3)])
def test_a_reader_that_cannot_be(reader: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="count from 0"):
        Reader(*reader)

"""The exact pass equals three nested loops in float64, to the last triplet, on difficult data."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from miner.census.measure import Vectors, load_measure
from miner.census.walk.census import Census, CensusRequest
from miner.census.walk.count_below import ascending
from miner.census.walk.key_space import tile_rows
from miner.census.walk.line_loops import load_line_loops
from miner.census.walk.ranked_block import RankedBlock, pack_entries
from miner.errors import UsageError
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.relevance import LabelRelevance, Relevance, tally
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.hard_relevance import CONSTRAINTS, constrained
from tests.oracle import Truth, enumerate_triplets
from tests.sizes import make_small

KERNELS = ("numba", "numpy")

MARGINS = (1e-12, 0.2, 5.0)


def counted(
    metric: str,
    margin: float,
    stored: Vectors,
    relevance: Relevance,
    *,
    ranks: bool = True,
    **options: object,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the hard and semi-hard triplets of each anchor, and the total loss, from the pass."""
    census = Census(stored, relevance, metric, margin, **options)  # type: ignore[arg-type]
    positives = tally(relevance).positives
    able = np.flatnonzero(positives > 0)
    hard, semi = np.zeros((2, relevance.anchors), dtype=np.int64)
    loss = 0.0
    able = able[census.in_order(able)]
    for block in census.blocks(able, 40_000, CensusRequest(ranks=ranks, loss=True)):
        hard[block.anchors] = np.add.reduceat(block.hard, block.starts[:-1])
        semi[block.anchors] = np.add.reduceat(block.non_easy - block.hard, block.starts[:-1])
        loss += float(block.loss.sum())
        if ranks:
            check_order(census, block)
    return hard, semi, loss


def check_order(census: Census, block: RankedBlock) -> None:
    """Compare the rows at some ranks, and at all ranks, with the true distances."""
    for line, anchor in enumerate(block.anchors.tolist()):
        rows = block.ordered(line)
        d = census.vectors.measure(census.metric, np.array([anchor]), rows)
        assert (np.lexsort((rows, d)) == np.arange(len(rows))).all()
        some = np.arange(len(rows))[:: 1 + len(rows) // 3]
        assert (block.rows_at(np.full(len(some), line), some) == rows[some]).all()


def check(
    metric: str,
    margin: float,
    stored: Vectors,
    relevance: Relevance,
    kernel: str = "auto",
    **options: object,
) -> Truth:
    truth = enumerate_triplets(metric, margin, stored.anchors, stored.rows, relevance)
    options["kernel"] = kernel
    for ranks in (False, True):
        hard, semi, loss = counted(metric, margin, stored, relevance, ranks=ranks, **options)
        assert hard.tolist() == list(truth.hard.values())
        assert semi.tolist() == list(truth.semi_hard.values())
        if abs(truth.loss) > 1e-9:
            assert loss == pytest.approx(truth.loss, rel=1e-6)
    return truth


WAYS = ("wide", "narrow", "narrow tiles")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Select a variant of the pass; the variants differ in speed only."""
    few = 0 if request.param == "wide" else 10**6
    make_small(monkeypatch, few=few, open=2.0, much=0.0, lines=9)
    if request.param == "narrow tiles":
        make_small(monkeypatch, tile=16, fewest=10**6)
    return str(request.param)


@pytest.mark.sampled(16)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_labelled_census_is_the_definition(
    kind: str, metric: str, normalized: bool, kernel: str, way: str
) -> None:
    rows = vectors(kind, 44, 6, seed=KINDS.index(kind))
    rows = normalize_rows(rows) if normalized else rows
    relevance = labelled("skewed", 44, 5, hide=kind in ("random", "tied"))
    for margin in MARGINS:
        check(metric, margin, Vectors(rows, rows), relevance, kernel)


@pytest.mark.sampled(16)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_census_is_the_definition(kind: str, metric: str, way: str) -> None:
    rows, queries = vectors(kind, 50, 7, seed=3), vectors(kind, 20, 7, seed=4)
    queries[:5] = rows[:5]
    for hide in (False, True):
        for margin in MARGINS:
            check(metric, margin, Vectors(queries, rows), linked(20, 50, 6, hide=hide))


@pytest.mark.parametrize("kinds", CONSTRAINTS, ids="-".join)
@pytest.mark.parametrize("kind", ["random", "tied", "duplicated"])
def test_constrained_census_is_the_definition(kind: str, kinds: tuple[str, ...], way: str) -> None:
    rows, queries = vectors(kind, 44, 6, seed=3), vectors(kind, 20, 6, seed=4)
    items = constrained(labelled("skewed", 44, 5, hide=True), 1, *kinds)
    pairs = constrained(linked(20, 44, 6, hide=True), 2, *kinds)
    for margin in MARGINS:
        check("euclidean", margin, Vectors(rows, rows), items)
        check("dot", margin, Vectors(queries, rows), pairs)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", CLASSES)
def test_degenerate_classes(classes: str, metric: str) -> None:
    rows = vectors("random", 40, 5, seed=1)
    truth = check(metric, 0.3, Vectors(rows, rows), labelled(classes, 40, 9))
    if classes in ("singletons", "one"):
        assert not any(truth.hard.values()) and not any(truth.easy.values())


def test_a_large_common_offset_does_not_cancel() -> None:
    """The vectors differ in the last bits of float32, which a plain float32 product would lose."""
    rng = np.random.default_rng(0)
    rows = (4096.0 + rng.integers(0, 8, (60, 16)) * 2.0**-11).astype(np.float32)
    relevance = labelled("even", 60, 2)
    for metric in ("euclidean", "sqeuclidean"):
        truth = check(metric, 1e-3, Vectors(rows, rows), relevance)
        assert any(truth.hard.values()) and any(truth.semi_hard.values())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("far", [10.0, 100.0])
def test_the_loss_of_anchors_that_are_far_from_all_rows(far: float, kernel: str) -> None:
    """A float32 offset of hundreds would be off by more than the differences of distances."""
    rng = np.random.default_rng(0)
    rows = (far + 0.01 * rng.standard_normal((600, 8))).astype(np.float32)
    queries = (0.01 * rng.standard_normal((12, 8))).astype(np.float32)
    check("euclidean", 0.02, Vectors(queries, rows), linked(12, 600, 3), kernel)


def test_borders_of_the_classes() -> None:
    """In one dimension: a tie is hard, d(a,p) + m is easy, and one step below it is semi-hard."""
    below = np.nextafter(np.float32(1.5), np.float32(0))
    rows = np.array([[0.0], [1.0], [1.0], [-1.0], [1.5], [below], [2.0]], dtype=np.float32)
    none = np.full(7, -1, dtype=np.int64)
    relevance = LabelRelevance(np.array([0, 0, 1, 2, 3, 4, 5]), none, none)
    truth = check("euclidean", 0.5, Vectors(rows, rows), relevance)
    assert truth.hard[0] == 2  # both at distance 1
    assert truth.semi_hard[0] == 1  # just below 1.5
    assert truth.easy[0] == 2  # 1.5 and 2


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
    kernel=st.sampled_from(KERNELS),
)
def test_any_data(
    rows: np.ndarray, codes: list[int], margin: float, metric: str, kernel: str
) -> None:
    none = np.full(len(rows), -1, dtype=np.int64)
    relevance = LabelRelevance(np.array(codes[: len(rows)]), none, none)
    check(metric, margin, Vectors(rows, rows), relevance, kernel)


def test_blocks_and_tiles_do_not_change_the_counts() -> None:
    rows, queries = vectors("duplicated", 9000, 12, seed=8), vectors("duplicated", 40, 12, seed=9)
    assert tile_rows(12) < len(rows) // 2
    relevance = linked(40, 9000, 8, hide=True)
    stored = Vectors(queries, rows)
    want = counted("cosine", 0.1, stored, relevance, keep_bytes=1 << 20)
    got = counted("cosine", 0.1, stored, relevance)
    assert (got[0] == want[0]).all() and (got[1] == want[1]).all()


def lines(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return lines of entries with few and many thresholds: entries, firsts, starts, values."""
    rng = np.random.default_rng(seed)
    sizes, counts = rng.integers(0, 500, 12), rng.integers(1, 90, 12)
    sizes[3], counts[4] = 0, 300
    firsts, starts = (np.concatenate([[0], np.cumsum(n)]) for n in (sizes, counts))
    entries = np.round(rng.standard_normal(firsts[-1]), 2)
    for first, stop in itertools.pairwise(firsts.tolist()):
        entries[first:stop].sort()
    values = np.round(rng.standard_normal(starts[-1]), 2)
    values[starts[2] : starts[3]] = 0.25  # all equal
    values[starts[3]] = 1e9  # and one far from the others
    return entries, firsts, starts, values


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [0, 1, 2, 47, 500, 70_000])
def test_lines_of_any_distribution_are_sorted(size: int, kernel: str) -> None:
    rng = np.random.default_rng(size)
    even = rng.standard_normal(size)
    uneven = [np.exp(9 * even), np.repeat(1.0, size), rng.integers(0, 3, size) / 7, -np.sort(even)]
    apart = np.append(even, [1e308, -1e308, np.inf, -np.inf, 5e-324, 0.0])
    parts = [even, np.empty(0), *uneven, apart]
    firsts = np.cumsum([0, *map(len, parts)])
    numbers = np.concatenate(parts)
    load_line_loops(kernel).sort_lines(numbers, firsts)
    for found, part in zip(np.split(numbers, firsts[1:-1]), parts, strict=True):
        assert (found == np.sort(part)).all()


@pytest.mark.parametrize("wide", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_both_kernels_count_entries_between_thresholds(seed: int, wide: float) -> None:
    entries, firsts, starts, values = lines(seed)
    reach = np.full(len(firsts) - 1, wide)
    ends = values - wide, values + wide
    want = [
        [int((own < low).sum()), int((own <= high).sum())]
        for line, own in enumerate(np.split(entries, firsts[1:-1]))
        for low, high in zip(*(end[starts[line] : starts[line + 1]] for end in ends), strict=True)
    ]
    for kernel in KERNELS:
        loops = load_line_loops(kernel)
        order = ascending(starts, values, loops)
        found = loops.between(entries, firsts, starts, order, values, reach)
        assert np.column_stack(found).tolist() == want


def test_both_kernels_add_up_the_same() -> None:
    for seed in range(4):
        entries, firsts, starts, _ = lines(seed)
        rng, bits = np.random.default_rng(seed), 9
        rows = np.concatenate([rng.permutation(500)[:n] for n in np.diff(firsts)])
        entries = pack_entries(entries, rows, bits)
        found = []
        sizes = zip(np.diff(firsts), np.diff(starts), strict=True)
        non_easy = np.concatenate([rng.integers(0, size + 1, count) for size, count in sizes])
        hard = non_easy - non_easy // 2
        for kernel in KERNELS:
            loops, seen = load_line_loops(kernel), np.zeros(500, dtype=np.uint32)
            sums, totals, by_label = (np.zeros(n, dtype=np.int64) for n in (500, (2, 500), (2, 7)))
            bases, losses = np.zeros((2, 12))
            places = np.arange(3, len(entries), 5)
            key_space, known = (np.full(12, 9.0), 2.0, True, False), (places, places * 0.01)
            pairs = (starts, hard, non_easy, (2, 11), key_space, known)
            loops.add_up(entries, firsts, bits, *pairs, sums, seen, bases, losses)
            before = sums.tolist()
            loops.fold(sums, np.arange(500) % 8 - 1, totals, by_label)
            assert not sums.any()
            added = [before, seen.tolist(), totals.tolist(), by_label.tolist()]
            found.append([added, bases, losses])
        assert found[0][0] == found[1][0] and sum(found[0][0][1])
        np.testing.assert_allclose(found[0][1:], found[1][1:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_vanishing_and_enormous_margins(kernel: str) -> None:
    zeros = np.zeros((20, 3), dtype=np.float32)
    rows = vectors("random", 30, 4, seed=5)
    for metric in METRICS:
        for margin in (1e-307, 1e-155, 1e100):
            check(metric, margin, Vectors(zeros, zeros), labelled("even", 20, 1), kernel)
            check(metric, margin, Vectors(rows, rows), labelled("even", 30, 1), kernel)


@pytest.mark.parametrize("load", [load_line_loops, load_measure])
def test_an_unknown_or_missing_implementation_is_an_error(
    load: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="unknown kernel 'numbah': did you mean 'numba'"):
        load("numbah")
    load_measure.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(UsageError, match="numba is not installed"):
        load("numba")
    assert load("auto") is load("numpy")
    load_measure.cache_clear()

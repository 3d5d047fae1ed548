"""The exact pass against three loops in float64: to the last triplet, on data made to break it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from miner.census.block import blocks
from miner.census.key_space import tile_rows
from miner.census.measure import Vectors, load_measure
from miner.census.reference import Census
from miner.census.reference_kernel import load_kernel
from miner.errors import UsageError
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.relevance import LabelRelevance, Relevance, tally
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.oracle import Truth, enumerate_triplets

KERNELS = ("numba", "numpy")

MARGINS = (1e-12, 0.2, 5.0)


def counted(
    metric: str, margin: float, stored: Vectors, relevance: Relevance, **options: object
) -> tuple[np.ndarray, np.ndarray, float]:
    """Hard and semi-hard per anchor, and the summed loss, from the pass under test."""
    census = Census(stored, relevance, metric, margin, **options)  # type: ignore[arg-type]
    positives = tally(relevance).positives
    able = np.flatnonzero(positives > 0)
    hard, semi = np.zeros((2, relevance.anchors), dtype=np.int64)
    loss = 0.0
    for block in blocks(able, positives[able], relevance.rows, 40_000):
        result = census.block(block)
        hard[block] = np.add.reduceat(result.hard, result.starts[:-1])
        semi[block] = np.add.reduceat(result.within - result.hard, result.starts[:-1])
        loss += float(result.loss.sum())
    return hard, semi, loss


def check(
    metric: str, margin: float, stored: Vectors, relevance: Relevance, kernel: str = "auto"
) -> Truth:
    truth = enumerate_triplets(metric, margin, stored.anchors, stored.rows, relevance)
    hard, semi, loss = counted(metric, margin, stored, relevance, kernel=kernel)
    assert hard.tolist() == list(truth.hard.values())
    assert semi.tolist() == list(truth.semi_hard.values())
    if abs(truth.loss) > 1e-9:
        assert loss == pytest.approx(truth.loss, rel=1e-6)
    return truth


@pytest.mark.sampled(16)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_labelled_census_is_the_definition(
    kind: str, metric: str, normalized: bool, kernel: str
) -> None:
    rows = vectors(kind, 44, 6, seed=KINDS.index(kind))
    rows = normalize_rows(rows) if normalized else rows
    relevance = labelled("skewed", 44, 5, hide=kind in ("random", "tied"))
    for margin in MARGINS:
        check(metric, margin, Vectors(rows, rows), relevance, kernel)


@pytest.mark.sampled(16)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_census_is_the_definition(kind: str, metric: str) -> None:
    rows, queries = vectors(kind, 50, 7, seed=3), vectors(kind, 20, 7, seed=4)
    queries[:5] = rows[:5]
    for hide in (False, True):
        for margin in MARGINS:
            check(metric, margin, Vectors(queries, rows), linked(20, 50, 6, hide=hide))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", CLASSES)
def test_degenerate_classes(classes: str, metric: str) -> None:
    rows = vectors("random", 40, 5, seed=1)
    truth = check(metric, 0.3, Vectors(rows, rows), labelled(classes, 40, 9))
    if classes in ("singletons", "one"):
        assert not any(truth.hard.values()) and not any(truth.easy.values())


def test_a_large_common_offset_does_not_cancel() -> None:
    """The vectors differ in the last bits of float32; a plain float32 product sees none of it."""
    rng = np.random.default_rng(0)
    rows = (4096.0 + rng.integers(0, 8, (60, 16)) * 2.0**-11).astype(np.float32)
    relevance = labelled("even", 60, 2)
    for metric in ("euclidean", "sqeuclidean"):
        truth = check(metric, 1e-3, Vectors(rows, rows), relevance)
        assert any(truth.hard.values()) and any(truth.semi_hard.values())


def test_borders_of_the_classes() -> None:
    """On the number line: a tie is hard, d(a,p) + m is easy, and one step below it semi-hard."""
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


def test_blocks_and_tiles_do_not_matter() -> None:
    rows, queries = vectors("duplicated", 9000, 12, seed=8), vectors("duplicated", 40, 12, seed=9)
    assert tile_rows(12) < len(rows) // 2
    relevance = linked(40, 9000, 8, hide=True)
    stored = Vectors(queries, rows)
    want = counted("cosine", 0.1, stored, relevance, keep_bytes=1 << 20)
    got = counted("cosine", 0.1, stored, relevance)
    assert (got[0] == want[0]).all() and (got[1] == want[1]).all()


def test_kernels_agree_where_keys_are_not_near() -> None:
    rng = np.random.default_rng(3)
    keys = rng.standard_normal((9, 500))
    keys[:, ::17] = np.inf
    keys[4] = np.inf
    sizes = rng.integers(1, 90, 9)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    thresholds = rng.standard_normal(starts[-1])
    thresholds[starts[2] : starts[3]] = 0.25  # all in one place
    thresholds[starts[3]] = 1e9  # and one far away
    arguments = (keys, thresholds, starts, np.full(9, 1e-13), np.full(9, 5.0), 2.0, True)
    reference, compiled = (load_kernel(name)(*arguments) for name in ("numpy", "numba"))
    assert (reference.counts == compiled.counts).all()
    assert (reference.near == compiled.near).all()
    np.testing.assert_allclose(compiled.sums, reference.sums, rtol=1e-12)
    loops = [
        (keys[row] < t).sum() for row in range(9) for t in thresholds[starts[row] : starts[row + 1]]
    ]
    assert reference.counts.tolist() == loops


def test_a_key_on_a_threshold_is_reported_as_near() -> None:
    keys = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    thresholds = np.array([1.0 + 1e-9, 0.5, 2.0 - 1e-9])
    starts = np.array([0, 1, 2, 3])
    arguments = (keys, thresholds, starts, np.full(3, 1e-8), np.zeros(3), 1.0, False)
    for name in KERNELS:
        assert load_kernel(name)(*arguments).near.tolist() == [True, False, True]


@pytest.mark.parametrize("kernel", KERNELS)
def test_vanishing_and_enormous_margins(kernel: str) -> None:
    zeros = np.zeros((20, 3), dtype=np.float32)
    rows = vectors("random", 30, 4, seed=5)
    for metric in METRICS:
        for margin in (1e-307, 1e-155, 1e100):
            check(metric, margin, Vectors(zeros, zeros), labelled("even", 20, 1), kernel)
            check(metric, margin, Vectors(rows, rows), labelled("even", 30, 1), kernel)


def test_thresholds_with_an_outlier_or_all_alike_take_no_longer() -> None:
    """Counted in comparisons it was quadratic: a row of 20,000 took seconds."""
    rng = np.random.default_rng(1)
    keys = rng.standard_normal((1, 20_000))
    starts = np.array([0, 20_000])
    for thresholds in (np.full(20_000, 0.5), np.append(rng.standard_normal(19_999), 1e12)):
        arguments = (keys, thresholds, starts, np.array([1e-12]), np.zeros(1), 1.0, False)
        below = load_kernel("numba")(*arguments)
        assert (below.counts == load_kernel("numpy")(*arguments).counts).all()


@pytest.mark.parametrize("load", [load_kernel, load_measure])
def test_an_implementation_that_is_not_there_is_refused(
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

"""The fast counting pass: wherever it is sure, it counts what three loops in float64 count."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

import miner.census.fast.block_pass as blocks
import miner.census.fast.counter as screening
import miner.census.fast.products as products
from miner.census.fast.thresholds import PairBorders
from miner.census.measure import Vectors
from miner.census.reference import Census
from miner.pipeline.units.miner import Miner
from miner.selection.caps import Caps
from miner.selection.selection import Selection
from miner.selection.strategies.all import All
from miner.selection.strategies.hardest import Hardest
from miner.triplets.distance import METRICS, Metric, normalize_rows
from miner.triplets.relevance import AnchorSubset, LabelRelevance, LinkRelevance, Relevance, tally
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.oracle import enumerate_triplets

pytest.importorskip("numba")

MODES = ("tiles", "tiles in float64", "rows", "rows in float64", "crowded rows in float64")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Go each way through the pass: which one is a matter of speed only."""
    for module in (screening, products):
        monkeypatch.setattr(module, "TILE", 16)
    monkeypatch.setattr(products, "_STEP", 16)
    monkeypatch.setattr(products, "_PARTS", ((2, 7), (99, 4)))
    if request.param.startswith("crowded"):
        monkeypatch.setattr(blocks, "_LEAST_DENSE", 8)
        monkeypatch.setattr(blocks, "_MOST_DENSE", 8)
    if request.param.startswith("tiles"):
        monkeypatch.setattr(screening, "_ENOUGH", 10**9)
        monkeypatch.setattr(screening, "_BLOCK", 10**8)
    monkeypatch.setattr(screening, "_OPEN", -1.0 if request.param.endswith("float64") else 2.0)
    return str(request.param)


def screened(
    metric: str, margin: float, stored: Vectors, relevance: Relevance, *, loss: bool = True
) -> tuple[np.ndarray, screening.Screened]:
    census = Census(stored, relevance, metric, margin)  # type: ignore[arg-type]
    screen = screening.open_screen(census, loss=loss, keep_bytes=1 << 16)
    assert screen is not None
    able = np.flatnonzero(tally(relevance).positives > 0)
    return able, screen.count(able, 1 << 16)


def check(metric: str, margin: float, stored: Vectors, relevance: Relevance) -> float:
    """Compare with the oracle; return the share of anchors that were sure."""
    truth = enumerate_triplets(metric, margin, stored.anchors, stored.rows, relevance)
    for loss in (False, True):
        able, found = screened(metric, margin, stored, relevance, loss=loss)
        hard = np.array([truth.hard[a] for a in able], dtype=np.int64)
        semi = np.array([truth.semi_hard[a] for a in able], dtype=np.int64)
        assert (found.hard == hard)[found.sure].all()
        assert (found.within - found.hard == semi)[found.sure].all()
    if len(able) and found.sure.all() and abs(truth.loss) > 1e-9:
        assert float(found.loss.sum()) == pytest.approx(truth.loss, rel=1e-6)
    return float(found.sure.mean()) if len(able) else 1.0


@pytest.mark.sampled(16)
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_labelled(kind: str, metric: str, normalized: bool, mode: str) -> None:
    rows = vectors(kind, 44, 6, seed=KINDS.index(kind))
    rows = normalize_rows(rows) if normalized else rows
    relevance = labelled("skewed", 44, 5, hide=kind in ("random", "tied"))
    shares = [check(metric, m, Vectors(rows, rows), relevance) for m in (1e-12, 0.2, 5.0)]
    if kind == "random" and normalized:
        assert shares[1] == 1.0


@pytest.mark.sampled(16)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind: str, metric: str, mode: str) -> None:
    rows, queries = vectors(kind, 50, 7, seed=3), vectors(kind, 20, 7, seed=4)
    queries[:5] = rows[:5]
    for hide in (False, True):
        check(metric, 0.2, Vectors(queries, rows), linked(20, 50, 6, hide=hide))


@pytest.mark.parametrize("classes", CLASSES)
def test_degenerate_classes(classes: str, mode: str) -> None:
    rows = normalize_rows(vectors("random", 40, 5, seed=1))
    check("euclidean", 0.3, Vectors(rows, rows), labelled(classes, 40, 9))


def test_some_anchors_only(mode: str) -> None:
    rows = normalize_rows(vectors("random", 60, 5, seed=2))
    chosen = np.array([3, 5, 8, 30, 59])
    relevance = AnchorSubset(labelled("skewed", 60, 2, hide=True), chosen)
    assert check("cosine", 0.2, Vectors(rows[chosen], rows), relevance) == 1.0


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
)
def test_any_data(rows: np.ndarray, codes: list[int], margin: float, metric: str) -> None:
    none = np.full(len(rows), -1, dtype=np.int64)
    relevance = LabelRelevance(np.array(codes[: len(rows)]), none, none)
    check(metric, margin, Vectors(rows, rows), relevance)


@pytest.mark.parametrize("classes", [7, 400])
def test_larger_data_against_the_reference(classes: int, mode: str) -> None:
    """Thousands of rows around thresholds that float32 alone cannot tell apart."""
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 3000)
    centers = rng.standard_normal((classes, 24))
    rows = normalize_rows(centers[labels] + rng.standard_normal((3000, 24)))
    none = np.full(3000, -1, dtype=np.int64)
    relevance = LabelRelevance(labels, none, none)
    stored = Vectors(rows, rows)
    census = Census(stored, relevance, "euclidean", 0.2, keep_bytes=1 << 20)
    anchors = np.arange(0, 3000, 43)
    screen = screening.open_screen(census, loss=True, keep_bytes=1 << 20)
    assert screen is not None
    found = screen.count(anchors, 1 << 22)
    want = census.block(anchors)
    assert found.sure.all()
    assert (found.hard == np.add.reduceat(want.hard, want.starts[:-1])).all()
    assert (found.within == np.add.reduceat(want.within, want.starts[:-1])).all()
    few_cells = mode.startswith("crowded")  # whose places are wide, and sums of them less exact
    np.testing.assert_allclose(found.loss, want.loss, rtol=1e-4 if few_cells else 1e-5)
    assert found.loss.sum() == pytest.approx(want.loss.sum(), rel=1e-5 if few_cells else 1e-7)


def test_few_rows_within_reach_have_their_loss_in_float64() -> None:
    """One triplet that is not easy: nothing averages the rounding of float32 out."""
    rng = np.random.default_rng(5)
    rows = normalize_rows(np.concatenate([np.eye(40), np.eye(40)]) + 1e-3)
    rows[3] = normalize_rows(rows[3:4] + 0.7 * rows[4:5] * rng.random())[0]
    labels = np.arange(80) % 40
    none = np.full(80, -1, dtype=np.int64)
    relevance = LabelRelevance(labels, none, none)
    stored = Vectors(rows, rows)
    truth = enumerate_triplets("euclidean", 0.9, rows, rows, relevance)
    assert 0 < sum(truth.hard.values()) + sum(truth.semi_hard.values()) < 60
    able, found = screened("euclidean", 0.9, stored, relevance)
    exact = Census(stored, relevance, "euclidean", 0.9).block(able[found.sure]).loss
    np.testing.assert_allclose(found.loss[found.sure], exact, rtol=1e-12)


def test_what_is_not_sure_is_counted_by_the_reference() -> None:
    """Rows that stand twice, with other labels: ties that no arithmetic can decide."""
    rows = normalize_rows(vectors("duplicated", 200, 8, seed=6))
    relevance = labelled("even", 200, 3)
    stored = Vectors(rows, rows)
    census = Census(stored, relevance, "euclidean", 0.2)
    screen = screening.open_screen(census, loss=True, keep_bytes=1 << 20)
    assert screen is not None
    assert not screen.count(np.arange(200), 1 << 20).sure.all()
    fast = Miner(census, tally(relevance), Selection(All()), 0, 1 << 20, screen=screen).count(
        (0, 200)
    )
    slow = Miner(census, tally(relevance), Selection(All()), 0, 1 << 20).count((0, 200))
    for name in ("easy", "semi_hard", "hard", "slots_hard", "slots_semi_hard"):
        assert (fast[name] == slow[name]).all()
    np.testing.assert_allclose(fast["loss"].sum(), slow["loss"].sum(), rtol=1e-9)


def test_anchors_with_one_pair_are_selected_by_their_totals() -> None:
    """Totals are the counts of the pair: what a strategy takes follows from the fast pass."""
    rows, queries = (normalize_rows(vectors("random", n, 6, seed=n)) for n in (300, 80))
    linked_rows = np.random.default_rng(1).integers(0, 300, 100)
    links = [np.unique(linked_rows[q : q + 1 + (q % 4 == 0)]) for q in range(80)]  # one or two
    none = np.full(300, -1, dtype=np.int64)
    relevance = LinkRelevance(
        np.cumsum([0, *map(len, links)]), np.concatenate(links), none, none[:80], none, none[:80],
        none[:80],
    )  # fmt: skip
    stored = Vectors(queries, rows)
    census = Census(stored, relevance, "euclidean", 0.2)
    screen = screening.open_screen(census, loss=True, keep_bytes=1 << 20)
    selection = Selection(Hardest(k=3), caps=Caps(per_pair=2))
    for used in (screen, None):
        miner = Miner(census, tally(relevance), selection, 0, 1 << 20, screen=used)
        counted = miner.count((0, 80))
        if used is not None:
            fast = counted
    for name in fast.dtype.names:
        if name == "loss":
            np.testing.assert_allclose(fast[name], counted[name], rtol=1e-4)
        else:
            assert (fast[name] == counted[name]).all()
    assert fast["slots_hard"].max() == 4 and fast["wanted_hard"].max() == 6


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("metric", sorted(METRICS))
def test_the_error_of_float32_keys_is_bounded(metric: Metric, kept: bool) -> None:
    """Each key, as the pass multiplies it, is within its bound; and the bound is no fiction."""
    worst = 0.0
    for kind, dim in (("random", 6), ("offset", 40), ("random", 300), ("tied", 300)):
        rows = vectors(kind, 500, dim, seed=dim)
        relevance = labelled("even", 500, 1)
        stored = Vectors(rows, rows)
        census = Census(stored, relevance, metric, 0.2)
        scale = PairBorders(stored, relevance, census.space, 0.2).scale
        multiplying = products.Products(census, (1 << 30) * kept, scale)
        queries = census.space.prepare(rows[:50])
        wide = census.space.prepare(rows)
        bias = census.space.bias(wide)
        ((_, out),) = multiplying.tiles(queries.astype(np.float32), 128, 500)
        keys = bias.astype(np.float32) - out
        true = bias - queries @ wide.T
        error = multiplying.error(np.sqrt((queries * queries).sum(-1)), 128)
        share = (np.abs(keys - true) / error[:, None]).max()
        assert share <= 1.0
        worst = max(worst, share)
    assert worst > 1e-3

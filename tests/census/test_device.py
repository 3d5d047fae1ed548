"""The exact pass in PyTorch equals three nested loops in float64; here on PyTorch's CPU device."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from miner.census.device.devices import Device
from miner.census.measure import Vectors
from miner.census.statistics import StatisticsRequest, plan_statistics
from miner.census.walk.census import Census, CensusRequest
from miner.errors import EngineError
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.relevance import LabelRelevance, Relevance, tally
from tests.census.test_census import MARGINS, check
from tests.hard_data import CLASSES, KINDS, labelled, linked, vectors
from tests.hard_relevance import CONSTRAINTS, constrained
from tests.oracle import enumerate_triplets
from tests.sizes import make_small

torch = pytest.importorskip("torch")
rows = importlib.import_module("miner.census.device.rows")  # needs PyTorch

Opening = Callable[[], Device]
EXACT = ("fp32", "fp64")
REDUCED = ("tf32", "3xbf16")


def on_torch(*roundings: str, memory: int = 1 << 16, room: int = 1 << 20) -> Opening:
    """Open PyTorch's CPU device, with memory for a few anchors."""
    return lambda: Device("cpu", memory, room, roundings)


@pytest.fixture(autouse=True)
def all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count with float32 keys, and directly, however many keys that leaves undecided."""
    make_small(monkeypatch, open=2.0)


@pytest.mark.sampled(16)
@pytest.mark.parametrize("rounding", EXACT)
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_labelled_census_is_the_definition(
    kind: str, metric: str, normalized: bool, rounding: str
) -> None:
    rows = vectors(kind, 44, 6, seed=KINDS.index(kind))
    rows = normalize_rows(rows) if normalized else rows
    relevance = labelled("skewed", 44, 5, hide=kind in ("random", "tied"))
    for margin in MARGINS:
        check(metric, margin, Vectors(rows, rows), relevance, device=on_torch(rounding))


@pytest.mark.sampled(16)
@pytest.mark.parametrize("rounding", EXACT)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_census_is_the_definition(kind: str, metric: str, rounding: str) -> None:
    rows, queries = vectors(kind, 50, 7, seed=3), vectors(kind, 20, 7, seed=4)
    queries[:5] = rows[:5]
    for hide, margin in itertools.product((False, True), MARGINS):
        relevance = linked(20, 50, 6, hide=hide)
        check(metric, margin, Vectors(queries, rows), relevance, device=on_torch(rounding))


@pytest.mark.sampled(8)
@pytest.mark.parametrize("rounding", EXACT)
@pytest.mark.parametrize("kinds", CONSTRAINTS, ids="-".join)
@pytest.mark.parametrize("kind", ["random", "tied", "duplicated"])
def test_constrained_census_is_the_definition(
    kind: str, kinds: tuple[str, ...], rounding: str
) -> None:
    rows, queries = vectors(kind, 44, 6, seed=3), vectors(kind, 20, 6, seed=4)
    items = constrained(labelled("skewed", 44, 5, hide=True), 1, *kinds)
    pairs = constrained(linked(20, 44, 6, hide=True), 2, *kinds)
    for margin in MARGINS:
        check("euclidean", margin, Vectors(rows, rows), items, device=on_torch(rounding))
        check("dot", margin, Vectors(queries, rows), pairs, device=on_torch(rounding))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", CLASSES)
def test_degenerate_classes(classes: str, metric: str) -> None:
    rows = normalize_rows(vectors("duplicated", 40, 5, seed=1))
    check(metric, 0.2, Vectors(rows, rows), labelled(classes, 40, 2), device=on_torch())


@pytest.mark.parametrize("rounding", EXACT)
def test_vanishing_and_enormous_margins(rounding: str) -> None:
    zeros = np.zeros((20, 3), dtype=np.float32)
    rows = vectors("scales", 30, 3, seed=2)
    for metric, margin in itertools.product(METRICS, (1e-307, 1e-155, 1e30, 1e100)):
        device = on_torch(rounding)
        check(metric, margin, Vectors(zeros, zeros), labelled("even", 20, 1), device=device)
        check(metric, margin, Vectors(rows, rows), labelled("even", 30, 1), device=device)


@settings(max_examples=40, deadline=None)
@given(
    rows=arrays(np.float32, (14, 3), elements=st.floats(-4, 4, width=16)),
    codes=st.lists(st.integers(0, 3), min_size=14, max_size=14),
    margin=st.sampled_from([1e-9, 0.1, 1.0, 3.0]),
    metric=st.sampled_from(sorted(METRICS)),
    rounding=st.sampled_from(EXACT),
)
def test_any_data(
    rows: np.ndarray, codes: list[int], margin: float, metric: str, rounding: str
) -> None:
    none = np.full(14, -1, dtype=np.int64)
    relevance = LabelRelevance(np.array(codes), none, none)
    check(metric, margin, Vectors(rows, rows), relevance, device=on_torch(rounding))


def counts(
    stored: Vectors,
    relevance: Relevance,
    device: Opening | None,
    *,
    metric: Any = "euclidean",
    margin: float = 0.2,
    loss: bool = False,
) -> tuple[list[int], list[int], int]:
    """The hard and the semi-hard triplets of each anchor, and the number of blocks."""
    census = Census(stored, relevance, metric, margin, device=device)
    able = np.flatnonzero(tally(relevance).positives > 0)
    able = able[census.in_order(able)]
    found, blocks = np.zeros((2, relevance.anchors), dtype=np.int64), 0
    for block in census.blocks(able, 1 << 20, CensusRequest(ranks=False, loss=loss)):
        found[0, block.anchors] = np.add.reduceat(block.hard, block.starts[:-1])
        found[1, block.anchors] = np.add.reduceat(block.non_easy, block.starts[:-1])
        blocks += 1
    return found[0].tolist(), (found[1] - found[0]).tolist(), blocks


@pytest.mark.sampled(8)
@pytest.mark.parametrize("rounding", REDUCED)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_reduced_precision_counts_the_same(kind: str, metric: str, rounding: str) -> None:
    rows = vectors(kind, 44, 6, seed=KINDS.index(kind))
    relevance = labelled("skewed", 44, 5, hide=kind in ("random", "tied"))
    for margin in MARGINS:
        truth = enumerate_triplets(metric, margin, rows, rows, relevance)
        options = {"metric": metric, "margin": margin}
        hard, semi, _ = counts(Vectors(rows, rows), relevance, on_torch(rounding), **options)
        assert hard == list(truth.hard.values()) and semi == list(truth.semi_hard.values())


def clustered(rows: int = 600, classes: int = 40) -> tuple[Vectors, Relevance]:
    """Unit vectors around centres, with a few ties."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, classes, rows)
    found = rng.standard_normal((classes, 16))[labels] + rng.standard_normal((rows, 16))
    found[-8:] = found[:8]
    none = np.full(rows, -1, dtype=np.int64)
    unit = normalize_rows(found.astype(np.float32))
    return Vectors(unit, unit), LabelRelevance(labels, none, none)


def chosen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the rounding of each product."""
    names: list[str] = []
    multiply = rows.multiply

    def noted(own: Any, other: Any, rounding: Any) -> Any:
        names.append(rounding.name)
        return multiply(own, other, rounding)

    monkeypatch.setattr(rows, "multiply", noted)
    return names


def test_the_first_rounding_that_suits_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are summed from float32 or float64 keys alone."""
    stored, relevance = clustered(300, 20)
    names = chosen(monkeypatch)
    order = ("tf32", "3xbf16", "fp32", "fp64")
    for share, loss, wanted in (
        (1.0, False, "tf32"),
        (0.1, False, "3xbf16"),
        (0.1, True, "fp32"),
        (0.0, False, "fp64"),
    ):
        make_small(monkeypatch, open=share)
        names.clear()
        counts(stored, relevance, on_torch(*order), loss=loss)
        assert set(names) == {wanted}


def test_blocks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, relevance = clustered(200, 14)
    truth = counts(stored, relevance, None)
    many = set()
    make_small(monkeypatch, device_tile=8 * 16 * 50)
    every = (*EXACT, *REDUCED)
    for memory, room, roundings in (
        (1, 0, ("fp32",)),
        (1 << 16, 0, every),
        (1 << 19, 1 << 14, every),
        (1 << 30, 1 << 30, every),
    ):
        for rounding in roundings:
            device = on_torch(rounding, memory=memory, room=room)
            found = counts(stored, relevance, device)
            assert found[:2] == truth[:2]
            many.add(found[2])
    assert min(many) < 5 and max(many) == 200


def test_a_block_is_halved_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, relevance = clustered()
    truth, plain, most = counts(stored, relevance, None), rows.DeviceRows.keys, [20]

    def keys(self: Any, queries: Any, rounding: Any) -> Any:
        if len(queries) > most[0]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        return plain(self, queries, rounding)

    monkeypatch.setattr(rows.DeviceRows, "keys", keys)
    found = counts(stored, relevance, on_torch("fp32", memory=1 << 24))
    assert found[:2] == truth[:2] and 30 <= found[2] <= 80
    most[0] = 0
    with pytest.raises(EngineError, match=r"too little memory for one anchor and 600 rows \(CUDA"):
        counts(stored, relevance, on_torch("fp32"))


def test_a_block_that_is_repeated_adds_its_sums_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory may run out after the counts, while the nearest rows are listed."""
    stored, relevance = clustered(120, 9)
    walk, failed = importlib.import_module("miner.census.device.walk"), []
    plain = walk.list_entries
    plan = plan_statistics(relevance, StatisticsRequest(True, 10**6, 5))
    found = []

    def list_entries(keys: Any, *given: Any, **more: Any) -> Any:
        if len(keys) > 9:
            failed.append(len(keys))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return plain(keys, *given, **more)

    monkeypatch.setattr(walk, "list_entries", list_entries)
    for device in (None, on_torch("fp32", memory=1 << 22)):
        census = Census(stored, relevance, "euclidean", 0.2, device=device)
        sums = plan.sums(120, (0, 120))
        assert sums is not None and sums.confusions is not None
        request = CensusRequest(ranks=False, neighbours=5, loss=True, sums=sums)
        for block in census.blocks(plan.anchors((0, 120)), 1 << 20, request):
            assert (block.sizes >= 5).all()
        sums.confusions.close()
        tables = {name: table.tolist() for name, table in sums.confusions.arrays().items()}
        found.append((sums.hubs().tolist(), tables))
    assert found[0] == found[1] and len(failed) >= 3


def test_equally_near_rows_take_no_more_memory_than_there_is() -> None:
    """All rows tie, so that all are listed as the nearest ones: of few anchors at once."""
    rows = np.ones((300, 4), dtype=np.float32)
    rows[::50] = 0
    stored, relevance = Vectors(rows, rows), labelled("even", 300, 3)
    census = Census(stored, relevance, "euclidean", 0.2, device=on_torch("fp64", memory=1 << 22))
    entries, seen = [], 0
    for block in census.blocks(np.arange(300), 1 << 17, CensusRequest(ranks=False, neighbours=5)):
        entries.append(len(block.entries))
        seen += len(block.anchors)
    assert seen == 300 and max(entries) <= (1 << 17) // 16


def test_candidate_lists_are_made_of_a_few_anchors_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored, relevance = clustered(200, 14)
    found = []
    for most in (1 << 22, 50):
        make_small(monkeypatch, at_once=most)
        census = Census(stored, relevance, "euclidean", 0.2, device=on_torch(memory=1 << 24))
        able = census.in_order(np.flatnonzero(tally(relevance).positives > 0))
        for block in census.blocks(able, 1 << 20, CensusRequest(ranks=False)):
            depths = np.minimum(np.arange(len(block.anchors)) % 7 - 1, block.hard.min())
            lists = block.nearest(depths)
            found.append([lists.head.tolist(), lists.entries.tolist()])
    half = len(found) // 2
    assert found[:half] == found[half:] and any(head for head, _ in found)


def test_rows_that_do_not_fit_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is full when the rows are sent ends nothing."""
    stored, relevance = clustered()
    plain = rows.DeviceRows._sent

    def sent(self: Any, rows: Any) -> Any:
        if len(rows) == 600:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return plain(self, rows)

    monkeypatch.setattr(rows.DeviceRows, "_sent", sent)
    make_small(monkeypatch, device_tile=8 * 16 * 100)
    assert counts(stored, relevance, on_torch())[:2] == counts(stored, relevance, None)[:2]

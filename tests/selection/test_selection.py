"""Written triplets: all of them without a cap, uniform and weighted samples with a cap."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.selection.caps import Caps, allocate
from miner.selection.draws import draw_distinct, draw_distinct_per_anchor
from miner.selection.strategies.base import seed_sequence
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.relevance import LabelRelevance, LinkRelevance, Relevance
from tests.conftest import write_vectors
from tests.hard_data import KINDS, labelled, linked, vectors
from tests.oracle import Truth, enumerate_triplets
from tests.sizes import make_small

MINED_CLASSES = ("semi_hard", "hard")


def mine_labelled(folder: Path, rows: np.ndarray, relevance: LabelRelevance, **job: Any) -> Any:
    folder.mkdir(exist_ok=True)
    names = [f"c{code}" for code in relevance.labels]
    group = [None if code < 0 else int(code) for code in relevance.groups]
    write_vectors(folder / "data.parquet", rows, names, group=group)
    dataset = {"path": str(folder / "data.parquet"), "group": "group"}
    return miner.mine({"dataset": dataset, "output": {"path": str(folder / "out")}, **job})


def mine_pairs(
    folder: Path, queries: np.ndarray, rows: np.ndarray, relevance: LinkRelevance, **job: Any
) -> Any:
    for name, data in (("queries", queries), ("corpus", rows)):
        ids = [f"{name[0]}{row}" for row in range(len(data))]
        embedding = pa.array(list(data), pa.list_(pa.float32()))
        pq.write_table(pa.table({"id": ids, "embedding": embedding}), folder / f"{name}.parquet")
    links = [
        {"query_id": f"q{q}", "corpus_id": f"c{row}", "score": 1}
        for q in range(len(queries))
        for row in relevance.positives(q)
    ]
    pq.write_table(pa.Table.from_pylist(links), folder / "links.parquet")
    dataset = {name: str(folder / f"{name}.parquet") for name in ("queries", "corpus", "links")}
    return miner.mine({"dataset": dataset, "output": {"path": str(folder / "out")}, **job})


def row_numbers(table: Any, column: str) -> list[int]:
    return [int(identity[1:]) for identity in table[column].to_pylist()]


def check_sets(run: Any, truth: Truth) -> None:
    """The written sets are the true triplets, each once, with their true distances."""
    for name in MINED_CLASSES:
        table = run.triplets(name).to_table()
        roles = (row_numbers(table, f"{role}_id") for role in ("anchor", "positive", "negative"))
        triplets = list(zip(*roles, strict=True))
        assert len(triplets) == len(set(triplets))
        assert set(triplets) == truth.sets[name]
        assert triplets == sorted(triplets, key=lambda t: (t[0], t[1], truth.d[t[0], t[2]], t[2]))
        with np.errstate(over="ignore"):
            assert table["d_ap"].to_pylist() == [np.float32(truth.d[a, p]) for a, p, _ in triplets]
            assert table["d_an"].to_pylist() == [np.float32(truth.d[a, n]) for a, _, n in triplets]
        assert set(table["weight"].to_pylist()) <= {1.0}


def check_census(run: Any, truth: Truth, relevance: Relevance) -> None:
    census = run.census().to_pydict()
    for name in ("easy", "semi_hard", "hard"):
        assert census[name] == list(getattr(truth, name).values())
        assert run.manifest["census"][name] == sum(census[name])
    positives = [len(relevance.positives(a)) for a in range(relevance.anchors)]
    assert census["positives"] == positives
    non_easy = sum(census["hard"]) + sum(census["semi_hard"])
    if non_easy and abs(truth.loss) > 1e-9:
        assert run.manifest["census"]["mean_loss"] == pytest.approx(truth.loss / non_easy, rel=1e-6)


@pytest.mark.sampled(10)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_labelled_sets_are_the_oracles(tmp_path: Path, kind: str, metric: str) -> None:
    rows = vectors(kind, 40, 6, seed=11)
    relevance = labelled("skewed", 40, 12)
    none = np.full(40, -1, dtype=np.int64)
    groups = np.arange(40, dtype=np.int64) // 3
    relevance = LabelRelevance(relevance.labels, none, groups)
    for normalize in (False, True) if metric != "dot" else (False,):
        mining = {"metric": metric, "margin": 0.3, "normalize": normalize}
        run = mine_labelled(tmp_path / f"n{normalize}", rows, relevance, mining=mining)
        stored = normalize_rows(rows) if normalize else rows
        truth = enumerate_triplets(metric, 0.3, stored, stored, relevance)
        check_census(run, truth, relevance)
        check_sets(run, truth)


def test_anchors_with_more_triplets_than_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, relevance, truth = small_truth()
    for chunk in (1, 7, 1000):
        make_small(monkeypatch, chunk=chunk)
        check_sets(mine_labelled(tmp_path / str(chunk), rows, relevance), truth)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["random", "tied", "near_tied", "offset", "duplicated"])
def test_pairs_sets_are_the_oracles(tmp_path: Path, kind: str, metric: str) -> None:
    rows, queries = vectors(kind, 60, 5, seed=13), vectors(kind, 25, 5, seed=14)
    queries[:6] = rows[:6]
    relevance = linked(25, 60, 15)
    mining = {"metric": metric, "margin": 0.3, "normalize": False}
    run = mine_pairs(tmp_path, queries, rows, relevance, mining=mining)
    truth = enumerate_triplets(metric, 0.3, queries, rows, relevance)
    check_census(run, truth, relevance)
    check_sets(run, truth)


def small_truth(**select: Any) -> tuple[np.ndarray, LabelRelevance, Truth]:
    rows = normalize_rows(vectors("tied", 30, 5, seed=21))
    relevance = labelled("even", 30, 22)
    return rows, relevance, enumerate_triplets("euclidean", 0.2, rows, rows, relevance)


def sample(folder: Path, rows: np.ndarray, relevance: LabelRelevance, **select: Any) -> Any:
    """Mine only the shards, without the tables that accompany the census."""
    bare = {"hubs": 0, "confusions": 0, "neighbours": 0, "gaps": 0}
    return mine_labelled(folder, rows, relevance, select=select, mining=bare)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "caps",
    [
        {"max_triplets": 200},
        {"max_triplets": 200, "per_pair": 2},
        {"max_triplets": 150, "per_anchor": 9, "per_pair": 4},
        {"per_anchor": 5},
        {"per_pair": 1},
    ],
)
def test_samples_are_uniform_and_weights_unbiased(tmp_path: Path, caps: dict[str, int]) -> None:
    """Over many seeds, each triplet is drawn as often as its weight says (chi-square)."""
    rows, relevance, truth = small_truth()
    seeds = 40
    drawn: Counter[tuple[int, int, int]] = Counter()
    chances: dict[tuple[int, int, int], float] = {}
    totals = []
    for seed in range(seeds):
        run = sample(tmp_path, rows, relevance, seed=seed, **caps)
        table = run.triplets("hard").to_table()
        roles = (row_numbers(table, f"{role}_id") for role in ("anchor", "positive", "negative"))
        triplets = list(zip(*roles, strict=True))
        assert len(set(triplets)) == len(triplets) and set(triplets) <= truth.sets["hard"]
        weights = table["weight"].to_pylist()
        for triplet, weight in zip(triplets, weights, strict=True):
            drawn[triplet] += 1
            assert chances.setdefault(triplet, 1 / weight) == 1 / weight
        totals.append(sum(weights))
    everything = len(truth.sets["hard"])
    assert np.mean(totals) == pytest.approx(everything, rel=0.01)
    assert len(drawn) > 0.9 * everything
    statistic = sum(
        (drawn[t] - seeds * p) ** 2 / (seeds * p * (1 - p)) for t, p in chances.items() if p < 1
    )
    free = sum(p < 1 for p in chances.values())
    # Draws without replacement under fixed totals vary less than independent ones, never more.
    assert statistic < free + 5 * np.sqrt(2 * free)
    assert statistic > 0.5 * free


def test_caps_hold_and_what_is_written_is_said(tmp_path: Path) -> None:
    rows, relevance, truth = small_truth()
    run = sample(tmp_path, rows, relevance, per_pair=3, per_anchor=10, max_triplets=120)
    for name in MINED_CLASSES:
        table = run.triplets(name).to_table()
        anchors, positives = row_numbers(table, "anchor_id"), row_numbers(table, "positive_id")
        assert max(Counter(anchors).values()) <= 10
        assert max(Counter(zip(anchors, positives, strict=True)).values()) <= 3
        facts = run.manifest["written"][name]
        everything = len(truth.sets[name])
        found = {"of": everything, "wanted": everything, "available": everything}
        assert facts == {"rows": len(table), "truncated": True, "sampled": True, **found}
        assert len(table) == 120


def test_no_triplets_on_request(tmp_path: Path) -> None:
    rows, relevance, truth = small_truth()
    run = sample(tmp_path, rows, relevance, max_triplets=0)
    assert run.manifest["census"]["hard"] == len(truth.sets["hard"])
    for name in MINED_CLASSES:
        assert run.triplets(name).count_rows() == 0
        assert run.manifest["written"][name]["truncated"]


def test_another_seed_draws_other_triplets_and_the_same_seed_the_same(tmp_path: Path) -> None:
    rows, relevance, _ = small_truth()
    tables = [
        sample(tmp_path / str(n), rows, relevance, max_triplets=90, seed=seed)
        .triplets("hard")
        .to_table()
        for n, seed in enumerate((1, 1, 2))
    ]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


@pytest.mark.parametrize(("total", "take"), [(9, 9), (9, 0), (1, 1), (9, 1), (9, 4), (9, 7)])
def test_draw_distinct_gives_every_subset_the_same_chance(total: int, take: int) -> None:
    rng = np.random.default_rng(5)
    drawn = Counter(tuple(draw_distinct(rng, total, take).tolist()) for _ in range(4000))
    subsets = 1
    for n in range(take):
        subsets = subsets * (total - n) // (n + 1)
    assert all(len(set(subset)) == take and sorted(subset) == [*subset] for subset in drawn)
    assert len(drawn) == subsets
    expected = 4000 / subsets
    statistic = sum((seen - expected) ** 2 / expected for seen in drawn.values())
    assert statistic < subsets - 1 + 5 * np.sqrt(2 * subsets)


@pytest.mark.parametrize(("total", "take"), [(9, 9), (9, 0), (1, 1), (9, 1), (9, 4), (9, 7)])
def test_draws_of_many_give_every_subset_the_same_chance(total: int, take: int) -> None:
    count = 4000
    totals, takes = np.full(count, total), np.full(count, take)
    found = draw_distinct_per_anchor(seed_sequence(3, 1), np.arange(count), totals, takes)
    lines = (found - np.repeat(np.arange(count) * total, take)).reshape(count, take)
    drawn = Counter(map(tuple, lines.tolist()))
    subsets = math.comb(total, take)
    assert all(len(set(subset)) == take and sorted(subset) == [*subset] for subset in drawn)
    assert all(0 <= number < total for subset in drawn for number in subset)
    expected = count / subsets
    statistic = sum((seen - expected) ** 2 / expected for seen in drawn.values())
    assert len(drawn) == subsets and statistic < subsets - 1 + 5 * np.sqrt(2 * subsets)
    # The draws of two anchors are independent, and so are the draws of two seeds.
    if take == 1:
        again = (
            draw_distinct_per_anchor(seed_sequence(4, 1), np.arange(count), totals, takes) % total
        )
        for left, right in ((lines[:-1, 0], lines[1:, 0]), (lines[:-1, 0], again[:-1])):
            pairs = np.bincount(left * total + right, minlength=total * total)
            mean = (count - 1) / total**2
            assert ((pairs - mean) ** 2 / mean).sum() < total**2 + 5 * np.sqrt(2 * total**2)


def test_a_draw_depends_on_its_anchor_only() -> None:
    rng = np.random.default_rng(1)
    anchors, totals = rng.permutation(500), rng.integers(1, 40, 500)
    takes = rng.integers(0, totals + 1)
    whole = draw_distinct_per_anchor(seed_sequence(7, 2), anchors, totals, takes)
    whole -= np.repeat(np.cumsum(totals) - totals, takes)
    for line, part in enumerate(np.split(whole, np.cumsum(takes)[:-1])):
        one = slice(line, line + 1)
        alone = draw_distinct_per_anchor(seed_sequence(7, 2), anchors[one], totals[one], takes[one])
        assert alone.tolist() == part.tolist() and len(part) == takes[line]


def test_allocation_is_proportional_and_exact() -> None:
    counts = np.array([0, 5, 0, 1000, 3, 10**12, 7], dtype=np.int64)
    assert allocate(counts[:5], 2000, (0,)) is not None
    assert allocate(counts[:5], 1008, (0,)).tolist() == counts[:5].tolist()
    for seed in range(50):
        share = allocate(counts, 1000, (seed,))
        exact = counts * (1000 / counts.sum())
        assert share.sum() == 1000
        assert (np.abs(share - exact) < 1).all() and (share <= counts).all()
    small = np.array([3, 1, 4, 1, 5], dtype=np.int64)
    mean = np.mean([allocate(small, 6, (seed,)) for seed in range(4000)], axis=0)
    np.testing.assert_allclose(mean, small * 6 / 14, atol=0.03)


def test_totals_beyond_64_bits_are_shared_out() -> None:
    counts = np.full(40, 2**62, dtype=np.int64)
    share = allocate(counts, 1_000_000, (3,))
    assert share.sum() == 1_000_000 and share.min() >= 24_999 and share.max() <= 25_001


def test_the_caps_order_by_pair_and_rank() -> None:
    counts = np.array([3, 0, 5, 2], dtype=np.int64)
    picks = Caps().choose(counts, 10, np.random.default_rng(0))
    assert picks.pair.tolist() == [0, 0, 0, 2, 2, 2, 2, 2, 3, 3]
    assert picks.rank.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1]
    capped = Caps(per_pair=2).choose(counts, 6, np.random.default_rng(0))
    assert capped.pair.tolist() == [0, 0, 2, 2, 3, 3]
    order = list(zip(capped.pair.tolist(), capped.rank.tolist(), strict=True))
    assert order == sorted(order)
    assert capped.weight.tolist() == [1.5, 1.5, 2.5, 2.5, 1.0, 1.0]


def test_no_two_draws_share_their_seed() -> None:
    """As plain entropy, the seeds of a class and of its first anchor would give the same stream."""
    places = [(code,) for code in range(2)]
    places += [(code, anchor) for code in range(2) for anchor in range(50)]
    states = {
        tuple(seed_sequence(seed, *place).generate_state(4).tolist())
        for seed in range(20)
        for place in places
    }
    assert len(states) == 20 * len(places)

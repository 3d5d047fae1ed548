"""Sets of labels, and subsets of rows as anchors: the relevance by definition; the whole pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from miner.datasets.column_store import write_column
from miner.indexes.flat import FlatIndex
from miner.indexes.nearest_positive import nearest_share
from miner.job_sections import SelectJob
from miner.pipeline.passes import allocate_quotas
from miner.pipeline.units.layout import ANCHOR_COUNTS, cut_units
from miner.pipeline.units.records import TRIPLET
from miner.pipeline.units.spec import UnitSpec, count_unit, open_unit_miner, write_unit
from miner.storage.json_files import write_json
from miner.triplets.distance import METRICS
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.relevance import (
    AnchorSubset,
    LabelRelevance,
    MultiLabelRelevance,
    Relevance,
    load,
    tally,
)
from tests.hard_data import CLASSES, KINDS, labelled, vectors
from tests.hard_relevance import SETS, multilabel, one_label_each, subset
from tests.oracle import enumerate_triplets


def by_definition(rel: MultiLabelRelevance, a: int) -> tuple[set[int], list[set[int]]]:
    """Return the positives and the hidden rows of one row, by comparing it with every other row."""
    sets = [set(rel.labels[i:j].tolist()) for i, j in zip(rel.starts, rel.starts[1:], strict=False)]
    contents, groups = rel.contents.tolist(), rel.groups.tolist()
    positives = {r for r in range(len(sets)) if r != a and sets[r] & sets[a]}
    said = {contents[r] for r in (*positives, a)} - {-1}
    others = set(range(len(sets))) - positives - {a}
    duplicates = {r for r in others if contents[r] in said}
    group = {r for r in others - duplicates if groups[r] >= 0 and groups[r] == groups[a]}
    return positives, [{a}, duplicates, group, set()]


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("kind", SETS)
def test_sets_of_labels_by_definition(kind: str, hide: bool) -> None:
    for seed in range(4):
        relevance = multilabel(kind, 45, seed, hide=hide)
        counts = relevance.exclusion_counts()
        for anchor in range(relevance.anchors):
            positives, hidden = by_definition(relevance, anchor)
            assert relevance.positives(anchor).tolist() == sorted(positives)
            parts = relevance.exclusions(anchor)
            assert [part.tolist() for part in parts] == [sorted(part) for part in hidden]
            assert relevance.hidden(anchor).dtype == np.int64
            assert relevance.positive_counts[anchor] == len(positives)
            assert counts[anchor].tolist() == [len(part) for part in hidden]
        assert relevance.sizes.tolist() == np.bincount(relevance.labels).tolist()


@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("kind", CLASSES)
def test_one_label_each_equals_the_labelled_relevance(kind: str, hide: bool) -> None:
    one = labelled(kind, 50, 4, hide=hide)
    same = one_label_each(one)
    for anchor in range(50):
        assert same.positives(anchor).tolist() == one.positives(anchor).tolist()
        for mine, theirs in zip(same.exclusions(anchor), one.exclusions(anchor), strict=True):
            assert mine.tolist() == theirs.tolist() and mine.dtype == theirs.dtype
    assert same.positive_counts.tolist() == one.positive_counts.tolist()
    assert same.exclusion_counts().tolist() == one.exclusion_counts().tolist()


def every_kind() -> Iterator[Relevance]:
    for seed, kind in enumerate(SETS):
        yield multilabel(kind, 40, seed, hide=True)
    for share in (0.05, 0.5, 1.0):  # few and many anchors are counted in different ways
        yield subset(labelled("skewed", 40, 3, hide=True), share, 1)
        yield subset(multilabel("few", 40, 3, hide=True), share, 2)


@pytest.mark.parametrize("relevance", list(every_kind()), ids=lambda _: "")
def test_arrays_rebuild_the_relevance(relevance: Relevance, tmp_path: Path) -> None:
    np.savez(tmp_path / "relevance.npz", allow_pickle=False, **relevance.arrays())
    with np.load(tmp_path / "relevance.npz") as arrays:
        again = load(dict(arrays))
    assert type(again) is type(relevance)
    assert (again.anchors, again.rows) == (relevance.anchors, relevance.rows)
    counts = tally(relevance)
    assert tally(again).valid == counts.valid
    for anchor in range(relevance.anchors):
        known, hidden = relevance.positives(anchor), relevance.hidden(anchor)
        assert again.positives(anchor).tolist() == known.tolist()
        assert again.hidden(anchor).tolist() == hidden.tolist()
        assert counts.positives[anchor] == len(known)
        assert counts.negatives[anchor] == relevance.rows - len(known) - len(hidden)
    totals = np.array(
        [[len(part) for part in relevance.exclusions(a)] for a in range(relevance.anchors)]
    ).sum(axis=0)
    assert list(counts.hidden.values()) == totals.tolist()


def test_chosen_rows_keep_their_positives() -> None:
    inner = labelled("even", 20, 1, hide=True)
    chosen = AnchorSubset(inner, np.array([3, 4, 17]))
    assert (chosen.anchors, chosen.rows) == (3, 20)
    for anchor, row in enumerate((3, 4, 17)):
        assert chosen.positives(anchor).tolist() == inner.positives(row).tolist()
        assert chosen.exclusions(anchor)[0].tolist() == [row]
        assert row in chosen.hidden(anchor)


def test_many_rows_are_counted_at_once() -> None:
    """100,000 rows with one or two labels each: each set of labels is counted once."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 3, 100_000)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    first = rng.integers(0, 30, len(sizes))
    labels = np.repeat(first, sizes)
    labels[starts[1:][sizes == 2] - 1] += 30
    none = np.full(len(sizes), -1, dtype=np.int64)
    counts = tally(MultiLabelRelevance(starts, labels, none, none))
    # The first label decides: the second is the first plus 30, so it never joins two classes.
    assert (counts.positives == np.bincount(first)[first] - 1).all()
    assert (counts.negatives == len(sizes) - 1 - counts.positives).all()


def stored(folder: Path, rows: np.ndarray, relevance: Relevance) -> Path:
    """Write a store like the embedding pass; for a subset, the chosen rows and all rows."""
    folder.mkdir(exist_ok=True)
    ids = np.array([f"i{row}" for row in range(len(rows))])
    sides = [(rows, ids)]
    if isinstance(relevance, AnchorSubset):
        sides.insert(0, (rows[relevance.chosen], ids[relevance.chosen]))
    for number, (data, names) in enumerate(sides):
        data.astype("<f4").tofile(folder / f"vectors-{number}.f32")
        write_column(folder / f"ids-{number}.arrow", pa.array(names))
    np.savez(folder / "relevance.npz", allow_pickle=False, **relevance.arrays())
    facts = {"dim": rows.shape[1], "rows": [len(data) for data, _ in sides]}
    write_json(folder / "store.json", facts)
    return folder


def mined(folder: Path, spec: UnitSpec, anchors: int, rows: int) -> tuple[Any, dict[str, Any]]:
    """Count and write all units through the files that workers exchange."""
    units = cut_units(anchors, rows, 6)
    counted = []
    for number, unit in enumerate(units):
        count_unit(spec, folder / f"{number}.npy", unit)
        counted.append(np.load(folder / f"{number}.npy"))
    census = np.concatenate(counted)
    assert census.dtype == ANCHOR_COUNTS
    shares = allocate_quotas(census, spec.select)
    found: dict[str, list[Any]] = {name: [] for name in MINED_CLASSES}
    for number, unit in enumerate(units):
        paths = {name: folder / f"{number}-{name}.bin" for name in MINED_CLASSES}
        write_unit(spec, unit, {n: s.part(slice(*unit)) for n, s in shares.items()}, paths)
        for name, path in paths.items():
            found[name].append(np.fromfile(path, TRIPLET))
    return census, {name: np.concatenate(parts) for name, parts in found.items()}


def check_store(folder: Path, metric: Any, rows: np.ndarray, relevance: Relevance) -> None:
    """Compare the whole pass over a store with three loops: counts, sets, distances."""
    own = isinstance(relevance, AnchorSubset)
    asked = rows[relevance.chosen] if isinstance(relevance, AnchorSubset) else rows
    truth = enumerate_triplets(metric, 0.3, asked, rows, relevance)
    spec = UnitSpec(str(stored(folder, rows, relevance)), metric, 0.3, SelectJob(), 20_000, 0)
    assert open_unit_miner(spec).census.vectors.anchors.shape == asked.shape
    assert (
        open_unit_miner(spec).census.vectors.anchors is open_unit_miner(spec).census.vectors.rows
    ) != own
    census, triplets = mined(folder, spec, relevance.anchors, relevance.rows)
    for name in ("easy", "semi_hard", "hard"):
        assert census[name].tolist() == list(getattr(truth, name).values())
    for name in MINED_CLASSES:
        table = triplets[name]
        roles = ("anchor", "positive", "negative")
        keys = list(zip(*(table[role].tolist() for role in roles), strict=True))
        assert len(keys) == len(set(keys))
        assert set(keys) == truth.sets[name]
        with np.errstate(over="ignore"):
            assert table["d_an"].tolist() == [np.float32(truth.d[a, n]) for a, _, n in keys]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pass_over_sets_of_labels(kind: str, metric: str, tmp_path: Path) -> None:
    rows = vectors(kind, 36, 6, seed=5)
    for seed, sets in enumerate(("few", "skewed")):
        relevance = multilabel(sets, 36, seed, hide=kind in ("random", "duplicated"))
        check_store(tmp_path / sets, metric, rows, relevance)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pass_over_chosen_anchors(kind: str, metric: str, tmp_path: Path) -> None:
    rows = vectors(kind, 36, 6, seed=6)
    hide = kind in ("random", "duplicated")
    one = subset(labelled("skewed", 36, 2, hide=hide), 0.4, 1)
    several = subset(multilabel("few", 36, 2, hide=hide), 0.4, 2)
    check_store(tmp_path / "one", metric, rows, one)
    check_store(tmp_path / "several", metric, rows, several)


@pytest.mark.parametrize("kind", SETS)
def test_degenerate_sets_of_labels(kind: str, tmp_path: Path) -> None:
    rows = vectors("random", 30, 6, seed=7)
    inner = multilabel(kind, 30, 8)
    check_store(tmp_path / "all", "cosine", rows, inner)
    check_store(tmp_path / "some", "cosine", rows, subset(inner, 0.3, 4))
    if kind in ("all_alike", "apart"):
        assert tally(inner).valid == 0


def test_chosen_anchors_have_the_counts_of_the_full_census(tmp_path: Path) -> None:
    """The counts of a subset equal the records of the same anchors in the full census."""
    rows = vectors("duplicated", 80, 6, seed=9)
    inner = labelled("skewed", 80, 9, hide=True)
    chosen = subset(inner, 0.4, 9)
    counted = []
    for name, relevance in (("all", inner), ("some", chosen)):
        spec = UnitSpec(
            str(stored(tmp_path / name, rows, relevance)), "euclidean", 0.2, SelectJob(), 10**6, 0
        )
        counted.append(mined(tmp_path / name, spec, relevance.anchors, 80)[0])
    whole, some = counted
    for field in ("positives", "negatives", "easy", "semi_hard", "hard"):
        assert some[field].tolist() == whole[field][chosen.chosen].tolist()
    np.testing.assert_allclose(some["loss"], whole["loss"][chosen.chosen], rtol=1e-9)


def test_the_nearest_row_of_a_chosen_anchor_is_not_itself() -> None:
    rows = np.array([[0.0], [0.1], [5.0], [5.05], [9.0]], dtype=np.float32)
    none = np.full(5, -1, dtype=np.int64)
    chosen = AnchorSubset(LabelRelevance(np.array([0, 0, 1, 2, 1]), none, none), np.array([1, 2]))
    index = FlatIndex("euclidean", 1)
    index.add(rows)
    # Row 0 is nearest to row 1 and a positive; row 3 is nearest to row 2 and a negative.
    assert nearest_share(index, rows[chosen.chosen], chosen, 0) == {"anchors": 2, "positive": 0.5}

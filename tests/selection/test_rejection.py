"""Rejection samples: of the right class, distinct, uniform, independent of how they are drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.job_sections import SelectJob
from miner.pipeline.passes import allocate_quotas
from miner.pipeline.units.miner import UnitMiner
from miner.pipeline.units.records import TRIPLET
from miner.selection.rejection import DrawnTriplets, DrawRequest, RejectionSampler
from miner.selection.selection import load_selection
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.relevance import Relevance, tally
from tests.hard_data import KINDS, labelled, linked, vectors
from tests.hard_relevance import constrained, multilabel, subset
from tests.oracle import Truth, enumerate_triplets
from tests.sizes import make_small

MARGIN = 0.3

RELEVANCES: dict[str, Relevance] = {
    "labels": labelled("skewed", 40, 12),
    "labels, hidden": labelled("even", 40, 12, hide=True),
    "giant label": labelled("giant", 40, 12),
    "links": linked(30, 40, 15),
    "links, hidden": linked(30, 40, 15, hide=True),
    "sets of labels": multilabel("few", 40, 3),
    "sets of labels, hidden": multilabel("few", 40, 3, hide=True),
    "subset": subset(labelled("skewed", 40, 12, hide=True), 0.4, 3),
    "constrained": constrained(labelled("even", 40, 12, hide=True), 1, "across", "within"),
    "constrained links": constrained(linked(30, 40, 15, hide=True), 2, "apart", "before"),
}

Case = tuple[RejectionSampler, Truth]


def case(
    relevance: Relevance, kind: str = "random", metric: Any = "euclidean", seed: int = 0
) -> Case:
    """Return a sampler for rows of one kind under a relevance, and the true triplets."""
    rows = vectors(kind, relevance.rows, 6, seed=11)
    rows = normalize_rows(rows) if kind == "random" else rows
    anchors = rows
    if hasattr(relevance, "chosen"):
        anchors = rows[relevance.chosen]
    elif relevance.anchors != relevance.rows:
        anchors = vectors(kind, relevance.anchors, 6, seed=14)
    truth = enumerate_triplets(metric, MARGIN, anchors, rows, relevance)
    return RejectionSampler(Vectors(anchors, rows), relevance, metric, MARGIN, seed), truth


def counts(relevance: Relevance, truth: Truth) -> dict[Any, np.ndarray]:
    return {
        name: np.array([getattr(truth, name)[a] for a in range(relevance.anchors)])
        for name in MINED_CLASSES
    }


def asked(relevance: Relevance, truth: Truth, share: float = 0.5) -> DrawRequest:
    """Return a request for a share of each anchor's triplets, with estimates from exact counts."""
    found, counted = counts(relevance, truth), tally(relevance)
    valid = counted.positives * counted.negatives
    return DrawRequest(
        np.arange(relevance.anchors),
        {name: np.floor(share * count).astype(np.int64) for name, count in found.items()},
        {name: valid / np.maximum(count, 1) for name, count in found.items()},
    )


def listed(drawn: DrawnTriplets, anchors: np.ndarray) -> list[tuple[int, int, int]]:
    columns = (anchors[drawn.line], drawn.positive, drawn.negative)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def check(drawn: dict[Any, DrawnTriplets], wanted: DrawRequest, truth: Truth) -> None:
    """Check class, distinctness, distances, counts and order of the drawn triplets."""
    for name in MINED_CLASSES:
        one, d = drawn[name], truth.d
        triplets = listed(one, wanted.anchors)
        assert len(set(triplets)) == len(triplets) and set(triplets) <= truth.sets[name]
        assert np.bincount(one.line, minlength=len(wanted.anchors)).tolist() == (
            wanted.takes[name].tolist()
        )
        assert triplets == sorted(triplets, key=lambda t: (t[0], t[1], d[t[0], t[2]], t[2]))
        assert one.d_ap.tolist() == [d[a, p] for a, p, _ in triplets]
        assert one.d_an.tolist() == [d[a, n] for a, _, n in triplets]


def same(left: dict[Any, DrawnTriplets], right: dict[Any, DrawnTriplets]) -> bool:
    return all(
        getattr(left[name], column.name).tolist() == getattr(right[name], column.name).tolist()
        for name in MINED_CLASSES
        for column in dataclasses.fields(DrawnTriplets)
    )


@pytest.mark.sampled(12)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_of_its_class_and_distinct(kind: str, metric: str) -> None:
    """Draws work up to the last triplet, also with ties, near-ties and duplicates."""
    with np.errstate(over="ignore", invalid="ignore"):
        rejection, truth = case(labelled("skewed", 40, 12), kind, metric)
        for share in (0.1, 0.5, 1.0):
            wanted = asked(rejection.relevance, truth, share)
            check(rejection.draw(wanted), wanted, truth)


@pytest.mark.parametrize("name", RELEVANCES)
def test_all_kinds_of_relevance_are_drawn_from(name: str) -> None:
    relevance = RELEVANCES[name]
    for kind in ("tied", "random"):
        rejection, truth = case(relevance, kind)
        wanted = asked(relevance, truth)
        check(rejection.draw(wanted), wanted, truth)


@pytest.mark.parametrize("name", RELEVANCES)
def test_every_triplet_is_as_likely(name: str) -> None:
    """Over many seeds, the triplets of an anchor are drawn equally often (chi-square)."""
    relevance, runs = RELEVANCES[name], 150
    rejection, truth = case(relevance, "tied")
    wanted = asked(relevance, truth, 0.3)
    places = {
        name: {t: i for i, t in enumerate(sorted(truth.sets[name]))} for name in MINED_CLASSES
    }
    times = {name: np.zeros(len(places[name])) for name in MINED_CLASSES}
    for seed in range(runs):
        drawn = dataclasses.replace(rejection, seed=seed).draw(wanted)
        for kind, one in drawn.items():
            times[kind][[places[kind][t] for t in listed(one, wanted.anchors)]] += 1
    for kind, count in counts(relevance, truth).items():
        anchors = np.array([t[0] for t in places[kind]], dtype=np.int64)
        chance = (wanted.takes[kind] / np.maximum(count, 1))[anchors]
        some = chance > 0
        mean = runs * chance[some]
        statistic = ((times[kind][some] - mean) ** 2 / (mean * (1 - chance[some]))).sum()
        free = int(some.sum())
        # Draws of a fixed number vary less than independent ones, never more.
        assert free and statistic < free + 5 * np.sqrt(2 * free)
        assert statistic > 0.6 * free - 5 * np.sqrt(2 * free)


def test_every_subset_is_as_likely() -> None:
    """If two hard triplets of an anchor are drawn, all pairs of triplets are equally frequent."""
    relevance = labelled("skewed", 40, 12)
    rejection, truth = case(relevance)
    anchor = min((count, a) for a, count in truth.hard.items() if count >= 3)[1]
    nothing = np.zeros(1, dtype=np.int64)
    wanted = DrawRequest(
        np.array([anchor]),
        {"hard": nothing + 2, "semi_hard": nothing},
        {"hard": np.array([20.0]), "semi_hard": np.array([1.0])},
    )
    size, runs = truth.hard[anchor], 3000
    found: dict[tuple[Any, ...], int] = {}
    for seed in range(runs):
        drawn = dataclasses.replace(rejection, seed=seed).draw(wanted)
        subset = tuple(sorted(listed(drawn["hard"], wanted.anchors)))
        found[subset] = found.get(subset, 0) + 1
    subsets = size * (size - 1) // 2
    mean = runs / subsets
    assert len(found) == subsets
    statistic = sum((times - mean) ** 2 / mean for times in found.values())
    assert statistic < subsets + 5 * np.sqrt(2 * subsets)


@pytest.mark.parametrize("name", RELEVANCES)
def test_what_is_drawn_hangs_on_seed_and_anchor_alone(name: str) -> None:
    """The sample does not depend on trials per round, estimates, loops, or other anchors."""
    relevance = RELEVANCES[name]
    rejection, truth = case(relevance, "tied", seed=5)
    wanted = asked(relevance, truth)
    whole = rejection.draw(wanted)
    for trials in (9, 1000):
        assert same(dataclasses.replace(rejection, trials=trials).draw(wanted), whole)
    wild = {
        name: np.full(len(wanted.anchors), rate)
        for name, rate in zip(MINED_CLASSES, (1.0, 90.0), strict=True)
    }
    assert same(rejection.draw(dataclasses.replace(wanted, rates=wild)), whole)
    numpy = Vectors(rejection.vectors.anchors, rejection.vectors.rows, "numpy")
    assert same(dataclasses.replace(rejection, vectors=numpy).draw(wanted), whole)
    assert not same(dataclasses.replace(rejection, seed=6).draw(wanted), whole)
    for line in range(0, len(wanted.anchors), 3):
        alone = rejection.draw(wanted.part(slice(line, line + 1)))
        for kind in MINED_CLASSES:
            mine = whole[kind].line == line
            assert alone[kind].negative.tolist() == whole[kind].negative[mine].tolist()
            assert alone[kind].positive.tolist() == whole[kind].positive[mine].tolist()


def test_a_class_takes_its_first_triplets_whatever_the_other_takes() -> None:
    rejection, truth = case(labelled("skewed", 40, 12))
    both = asked(rejection.relevance, truth)
    for kind in MINED_CLASSES:
        takes = {name: take * (name == kind) for name, take in both.takes.items()}
        one = rejection.draw(dataclasses.replace(both, takes=takes))
        assert one[kind].negative.tolist() == rejection.draw(both)[kind].negative.tolist()


def test_few_anchors_of_many_rows_are_drawn_at_once() -> None:
    """A triplet among four billion rows needs all 64 bits of a number."""
    rejection, _ = case(labelled("skewed", 40, 12))
    assert rejection.max_anchors == (2**64 - 1) // 1600

    class Rows:
        rows = 2**32 - 1

    assert dataclasses.replace(rejection, relevance=Rows()).max_anchors == 1


def written(
    rejection: RejectionSampler, folder: Path, *, unit: int = 9, memory: int = 30_000, **select: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Count, divide the cap and write in units of `unit` anchors; return records and counts."""
    job = SelectJob(**{"max_triplets": 400, **select})
    given = (rejection.vectors, rejection.relevance, rejection.metric, MARGIN)
    miner = UnitMiner(
        Census(*given), tally(rejection.relevance), load_selection(job), job.seed, memory, False
    )
    total = rejection.relevance.anchors
    units = [(start, min(start + unit, total)) for start in range(0, total, unit)]
    counted = np.concatenate([miner.count(one) for one in units])
    shares = allocate_quotas(counted, job)
    records: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for one in units:
        paths = {name: folder / f"{name}.bin" for name in shares}
        parts = {name: share.part(slice(*one)) for name, share in shares.items()}
        miner.write(one, parts, paths, counted[slice(*one)])
        for name, path in paths.items():
            records[name].append(np.fromfile(path, TRIPLET))
    return {name: np.concatenate(parts) for name, parts in records.items()}, counted


@pytest.mark.parametrize("name", RELEVANCES)
def test_units_mix_drawn_anchors_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Files are sorted and correct, whichever anchors are drawn, and for any limit on memory."""
    rejection, truth = case(RELEVANCES[name], "tied")
    for cost in (0, 3, 16):
        make_small(monkeypatch, trial=cost, stretch=1 << 18)
        found, _ = written(rejection, tmp_path)
        for kind in MINED_CLASSES:
            one, d = found[kind], truth.d
            triplets = list(zip(*(one[x].tolist() for x in TRIPLET.names[:3]), strict=True))
            assert len(triplets) == min(400, len(truth.sets[kind]))
            assert len(set(triplets)) == len(triplets) and set(triplets) <= truth.sets[kind]
            assert triplets == sorted(triplets, key=lambda t: (t[0], t[1], d[t[0], t[2]], t[2]))
            assert one["d_an"].tolist() == [np.float32(d[a, n]) for a, _, n in triplets]
            assert one["d_ap"].tolist() == [np.float32(d[a, p]) for a, p, _ in triplets]
        for stretch in (1, 50):
            make_small(monkeypatch, stretch=stretch)
            again, _ = written(rejection, tmp_path, unit=40)
            assert all(again[kind].tobytes() == found[kind].tobytes() for kind in MINED_CLASSES)


@pytest.mark.parametrize("caps", [{}, {"per_anchor": 12}, {"classes": ("hard",)}])
def test_weighted_sums_estimate_all_triplets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caps: dict[str, Any]
) -> None:
    """Weighted samples of several seeds estimate the sum of the distances of all hard triplets."""
    make_small(monkeypatch, trial=0)
    rejection, truth = case(RELEVANCES["labels"], "random")
    total = sum(truth.d[a, n] for a, _, n in truth.sets["hard"])
    sums = []
    for seed in range(40):
        found, _ = written(rejection, tmp_path, seed=seed, max_triplets=150, **caps)
        sums.append((found["hard"]["weight"] * found["hard"]["d_an"]).sum(dtype=np.float64))
        assert len(found["semi_hard"]) == (0 if "classes" in caps else 150)
    assert abs(np.mean(sums) - total) < 4 * np.std(sums) / np.sqrt(40)
    assert np.std(sums) < 0.1 * total


def test_what_needs_pairs_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters on ranks or scores, caps on pairs and other strategies use blocks, not draws."""
    make_small(monkeypatch, trial=0)
    rejection, _ = case(RELEVANCES["labels"])
    drawn: list[Any] = []
    monkeypatch.setattr(RejectionSampler, "draw", lambda *given: drawn.append(given))
    for keys in ({"per_pair": 2}, {"ranks": (0, 9)}, {"min_score": 0.1}, {"strategy": "hardest"}):
        written(rejection, tmp_path, **keys)
    assert not drawn


@pytest.mark.parametrize("name", ["labels, hidden", "links", "sets of labels"])
def test_uniform_is_the_same_sample_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Totals decide the number of an anchor's triplets per class; blocks and draws agree on it."""
    rejection, truth = case(RELEVANCES[name], "tied")
    keys: dict[str, Any] = {"strategy": "uniform", "options": {"k": 7}, "max_triplets": 10**6}
    for classes in (MINED_CLASSES, ("semi_hard",), ("hard", "semi_hard")):
        make_small(monkeypatch, trial=10**6)
        whole, counted = written(rejection, tmp_path, classes=classes, **keys)
        make_small(monkeypatch, trial=0)
        drawn, again = written(rejection, tmp_path, classes=classes, **keys)
        assert counted.tobytes() == again.tobytes()
        for kind in MINED_CLASSES:
            for column in ("anchor", "weight"):
                assert drawn[kind][column].tolist() == whole[kind][column].tolist()
            columns = (drawn[kind][x].tolist() for x in TRIPLET.names[:3])
            triplets = set(zip(*columns, strict=True))
            assert len(triplets) == len(drawn[kind]) and triplets <= truth.sets[kind]
        assert len(drawn["semi_hard"]) and len(drawn["hard"]) == counted["slots_hard"].sum()
        assert drawn["semi_hard"].tobytes() != whole["semi_hard"].tobytes()


@pytest.mark.parametrize("trial", [0, 10**6])
def test_uniform_takes_either_class_as_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: int
) -> None:
    """Over many seeds, every triplet of an anchor is equally frequent, regardless of its class."""
    make_small(monkeypatch, trial=trial)
    relevance, runs, k = labelled("skewed", 40, 12), 120, 30
    rejection, truth = case(relevance)
    places = {t: i for i, t in enumerate(sorted(truth.sets["hard"] | truth.sets["semi_hard"]))}
    times, sums = np.zeros(len(places)), np.zeros(2)
    keys: dict[str, Any] = {"strategy": "uniform", "options": {"k": k}, "max_triplets": 10**6}
    for seed in range(runs):
        found, _ = written(rejection, tmp_path, seed=seed, unit=40, **keys)
        for place, kind in enumerate(MINED_CLASSES):
            columns = (found[kind][x].tolist() for x in TRIPLET.names[:3])
            times[[places[t] for t in zip(*columns, strict=True)]] += 1
            sums[place] += found[kind]["weight"].sum(dtype=np.float64) / runs
    anchors = np.array([t[0] for t in places])
    chance = np.minimum(1, k / np.bincount(anchors)[anchors])
    some = chance < 1
    assert (times[~some] == runs).all()
    mean = runs * chance[some]
    statistic = ((times[some] - mean) ** 2 / (mean * (1 - chance[some]))).sum()
    free = int(some.sum())
    assert 0.6 * free < statistic < free + 5 * np.sqrt(2 * free)
    for total, kind in zip(sums, MINED_CLASSES, strict=True):
        assert total == pytest.approx(len(truth.sets[kind]), rel=0.03)

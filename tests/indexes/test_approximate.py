"""Approximate indexes: written triplets are correct, and the share of missed ones is stated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.errors import GateError, UsageError
from miner.indexes.base import Index, build_index, open_index
from miner.indexes.flat import nearest_rows
from miner.indexes.tuning import choose_factory, tune
from miner.inspection.verify.run import verify_run
from miner.pipeline.audit import audit_sample, estimate, measure_recall
from miner.pipeline.units.approximate import IndexCandidates
from miner.pipeline.units.layout import ANCHOR_COUNTS
from miner.triplets.distance import METRICS, normalize_rows
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.relevance import Relevance
from tests.hard_data import KINDS, labelled, linked, vectors
from tests.operating import events, named
from tests.oracle import distance, enumerate_triplets, negatives

FACTORIES = ("Flat", "IVF8,Flat", "HNSW8", "IVF4,PQ4x4fs,RFlat", "SQ8", "PCA4,IVF4,Flat")


class PartialIndex:
    """An index that finds a random part of all rows, in any order."""

    exact = False

    def __init__(self, rows: int, share: float) -> None:
        self._rows, self._share = rows, share
        self._rng = np.random.default_rng(3)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        found = np.full((len(queries), k), -1, dtype=np.int64)
        for line in found:
            some = self._rng.permutation(self._rows)[: min(k, int(self._share * self._rows))]
            line[: len(some)] = some
        return found

    def scored(self, queries: np.ndarray, k: int) -> tuple[None, np.ndarray]:
        self.found = self.search(queries, k)
        return None, self.found


@pytest.mark.sampled(18)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["labelled", "links"])
def test_nominees_are_counted_and_ranked_by_the_definition(
    kind: str, metric: str, who: str
) -> None:
    rows = vectors(kind, 60, 5, seed=2)
    if who == "labelled":
        relevance: Relevance = labelled("skewed", 60, seed=2, hide=True)
        queries = rows
    else:
        queries = vectors(kind, 25, 5, seed=9)
        relevance = linked(25, 60, seed=2)
    with np.errstate(all="ignore"):
        census = Census(Vectors(queries, rows), relevance, metric, 0.3)  # type: ignore[arg-type]
        index = PartialIndex(60, 0.6)
        nominees = IndexCandidates(census, index, 20)  # type: ignore[arg-type]
        anchors = np.flatnonzero(relevance.positive_counts > 0)
        block = nominees.search(anchors)
    loss = 0.0
    for line, anchor in enumerate(anchors.tolist()):
        valid = set(negatives(relevance, anchor))
        mine = [row for row in index.found[line].tolist() if row in valid][:20]
        d = {row: distance(metric, queries[anchor], rows[row]) for row in range(60)}
        mine.sort(key=lambda row: (d[row], row))
        count = len(mine)
        assert block.rows[line, :count].tolist() == mine
        assert (block.rows[line, count:] == -1).all()
        pairs = range(block.starts[line], block.starts[line + 1])
        assert block.positives[pairs].tolist() == relevance.positives(anchor).tolist()
        for pair in pairs:
            own = d[int(block.positives[pair])]
            hard = sum(d[row] <= own for row in mine)
            semi = sum(own < d[row] < own + 0.3 for row in mine)
            assert (block.hard[pair], block.non_easy[pair] - block.hard[pair]) == (hard, semi)
            loss += sum(0.3 + own - d[row] for row in mine[: hard + semi])
        found = block.ordered(line)
        assert found.tolist() == mine[: len(found)]
    if 0 < abs(loss) < 1e20:
        assert block.loss.sum() == pytest.approx(loss, rel=1e-6, abs=1e-6)
    # The lists for the writing pass give the same block again.
    again = nominees.block(anchors, block.lists())
    assert again.hard.tolist() == block.hard.tolist()
    assert again.non_easy.tolist() == block.non_easy.tolist()


@pytest.mark.sampled(12)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factory", ["Flat", "IVF1,Flat", "HNSW64", "SQ8"])
def test_what_an_index_says_is_far_loses_no_triplet(factory: str, kind: str, metric: str) -> None:
    rows = vectors(kind, 60, 5, seed=4)
    relevance = labelled("skewed", 60, seed=4, hide=True)
    anchors = np.flatnonzero(relevance.positive_counts > 0)
    with np.errstate(all="ignore"):
        census = Census(Vectors(rows, rows), relevance, metric, 0.3)  # type: ignore[arg-type]
        if kind == "huge" and factory in ("IVF1,Flat", "SQ8") and metric != "cosine":
            with pytest.raises(UsageError, match="scale or normalise them"):
                build_index(factory, metric, 5, [rows], lambda most: rows)  # type: ignore[arg-type]
            return
        index = build_index(factory, metric, 5, [rows], lambda most: rows)  # type: ignore[arg-type]
        nominees = IndexCandidates(census, index, 60)
        found = nominees.search(anchors)
        everything = index.search(rows[anchors], 60)
    for line, anchor in enumerate(anchors.tolist()):
        there = set(negatives(relevance, anchor)) & set(everything[line].tolist())
        d = {row: distance(metric, rows[anchor], rows[row]) for row in range(60)}
        for pair in range(found.starts[line], found.starts[line + 1]):
            own = d[int(found.positives[pair])]
            hard = sum(d[row] <= own for row in there)
            within = sum(d[row] <= own or d[row] < own + 0.3 for row in there)
            assert (found.hard[pair], found.non_easy[pair]) == (hard, within)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("factory", FACTORIES)
def test_every_index_finds_saves_and_opens(factory: str, metric: str, tmp_path: Path) -> None:
    rows = normalize_rows(vectors("random", 3000, 8, seed=1))
    index: Index = build_index(
        factory, metric, 8, [rows[:1000], rows[1000:]], lambda most: rows[:most]
    )  # type: ignore[arg-type]
    truth = nearest_rows(metric, rows[:50], [rows[:1700], rows[1700:]], 5)  # type: ignore[arg-type]
    for line in range(50):
        d = np.array([distance(metric, rows[line], row) for row in rows])
        assert d[truth[line]] == pytest.approx(np.sort(d)[:5], abs=1e-5)
    aim = 0.1 if factory.startswith("PCA") else 0.6
    tuned = tune(index, rows[:50], truth, aim)
    assert tuned.reached and tuned.recall >= aim
    found = index.search(rows[:50], 5)
    assert found.shape == (50, 5) and found.dtype == np.int64
    if not index.exact:
        index.save(tmp_path / "index.faiss")
        opened = open_index(factory, metric, tmp_path / "index.faiss")  # type: ignore[arg-type]
        opened.set_parameters(tuned.settings)
        assert (opened.search(rows[:50], 5) == found).mean() > 0.99


class TwoParameters(PartialIndex):
    """An index that finds the first rows, as many as its settings allow."""

    def search_parameters(self) -> dict[str, list[float]]:
        return {"a": [1, 2, 4], "b": [1, 3]}

    def set_parameters(self, settings: dict[str, float]) -> None:
        self.settings = settings

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        good = min(k, int(self.settings["a"] + 2 * self.settings["b"]))
        return np.tile(np.where(np.arange(k) < good, np.arange(k), -1), (len(queries), 1))


def test_tuning_raises_the_best_parameter_until_the_target() -> None:
    index: Any = TwoParameters(10, 1.0)
    queries, truth = np.zeros((4, 2), np.float32), np.tile(np.arange(10), (4, 1))
    assert tune(index, queries, truth, 0.3).settings == {"a": 1, "b": 1}
    assert tune(index, queries, truth, 0.7).settings == {"a": 1, "b": 3}
    most = tune(index, queries, truth, 1.0)
    assert most.settings == index.settings == {"a": 4, "b": 3} and most.reached
    assert not tune(index, queries, np.tile(np.arange(20), (4, 1)), 1.0).reached


def test_auto_is_exact_if_there_is_time() -> None:
    roomy = {"minutes": 60.0, "memory": 1 << 30}
    assert choose_factory(100_000, 100_000, 128, **roomy) == "Flat"  # type: ignore[arg-type]
    assert choose_factory(10**6, 10**6, 128, **roomy) == "Flat"  # type: ignore[arg-type]
    big = choose_factory(3 * 10**6, 3 * 10**6, 64, **roomy)  # type: ignore[arg-type]
    assert big == "IVF8192,Flat"
    assert choose_factory(5 * 10**6, 5 * 10**6, 128, **roomy) == "IVF8192,SQ8"  # type: ignore[arg-type]
    assert choose_factory(10**8, 10**8, 128, **roomy).endswith("PQ64x4fs")  # type: ignore[arg-type]
    assert choose_factory(1000, 1000, 7, minutes=0.0, memory=0).endswith("PQ7x4fs")


def clusters(path: Path, rows: int = 4000, dim: int = 16) -> Path:
    """Write labelled clusters, some of them near each other."""
    rng = np.random.default_rng(4)
    label = np.arange(rows) % (rows // 8)
    near = rng.standard_normal((rows // 80, dim))
    centers = near[rng.integers(0, len(near), rows // 8)]
    centers = centers + 0.5 * rng.standard_normal((rows // 8, dim))
    points = normalize_rows((centers[label] + 0.3 * rng.standard_normal((rows, dim))).astype("f4"))
    np.savez(path, embedding=points, label=label)
    return path


def job(data: Path, out: Path, **sections: Any) -> dict[str, Any]:
    index = {"factory": "IVF64,Flat", "audit": 100, "min_recall": 0.5}
    return {
        "dataset": {"path": str(data)},
        "mining": {"margin": 0.1},
        "select": {"max_triplets": 5000},
        "output": {"path": str(out)},
        **sections,
        "index": {**index, **sections.get("index", {})},
    }


def tables(run: miner.Run) -> dict[str, list[Any]]:
    return {name: run.triplets(name).to_table().to_pylist() for name in MINED_CLASSES}


def test_all_nominees_give_the_exact_run(tmp_path: Path) -> None:
    """An index that finds every row misses no triplet."""
    data = clusters(tmp_path / "data.npz", rows=1200)
    whole = {"factory": "SQfp16", "candidates": 1200, "audit": 2000}
    found = miner.mine(job(data, tmp_path / "found", index=whole))
    exact = miner.mine(job(data, tmp_path / "exact", index={"factory": "Flat"}))
    assert tables(found) == tables(exact)
    for name in MINED_CLASSES:
        assert found.manifest["census"][name] == exact.manifest["census"][name] > 0
        assert found.manifest["index"]["recall"][name]["recall"] == 1.0
    assert found.manifest["census"]["valid"] == exact.manifest["census"]["valid"]
    assert found.manifest["census"]["exact"] is False and found.manifest["index"]["exact"] is False
    assert exact.manifest["index"]["exact"] is True
    assert found.manifest["census"]["mean_loss"] == pytest.approx(
        exact.manifest["census"]["mean_loss"], rel=1e-6
    )


def test_written_triplets_are_correct_and_recall_is_stated(
    tmp_path: Path, cli: Callable[..., Any]
) -> None:
    data = clusters(tmp_path / "data.npz")
    few = {"candidates": 12, "min_recall": 0.01}
    run = miner.mine(job(data, tmp_path / "out", index=few, select={"max_triplets": 10**6}))
    assert verify_run(run).problems == []
    with np.load(data) as arrays:
        rows, label = arrays["embedding"], arrays["label"]
    none = np.full(len(rows), -1)
    truth = dict.fromkeys(MINED_CLASSES, 0)
    exact = miner.mine(job(data, tmp_path / "exact", index={"factory": "Flat"}))
    census, recall = run.manifest["census"], run.manifest["index"]["recall"]
    for name in MINED_CLASSES:
        truth[name] = exact.manifest["census"][name]
        share = census["found"][name] / truth[name]
        low, high = recall[name]["interval"]
        assert low - 0.05 <= share <= high + 0.05
        assert census["interval"][name][0] * 0.9 <= truth[name] <= census["interval"][name][1] * 1.1
        triplets = run.triplets(name).to_table()
        assert triplets.num_rows == census["found"][name] == run.manifest["written"][name]["rows"]
        a, p, n = (triplets[f"{role}_id"].to_numpy() for role in ("anchor", "positive", "negative"))
        d_ap, d_an = (np.sqrt(((rows[a].astype(float) - rows[x]) ** 2).sum(-1)) for x in (p, n))
        assert (label[a] == label[p]).all() and (label[a] != label[n]).all() and len(none)
        hard = d_an <= d_ap
        assert (hard if name == "hard" else ~hard & (d_an < d_ap + 0.1)).all()
        assert len(set(zip(a.tolist(), p.tolist(), n.tolist(), strict=True))) == len(a)
    assert census["found"]["semi_hard"] < truth["semi_hard"]
    shown = cli("show", tmp_path / "out" / "latest")
    assert "estimates, from those that the index found" in shown.out
    assert "IVF64,Flat, 12 candidates per anchor" in shown.out
    assert "found (95 %" in shown.out


def test_too_low_recall_is_exit_5_and_keeps_the_counts(
    tmp_path: Path, cli: Callable[..., Any]
) -> None:
    data, out = clusters(tmp_path / "data.npz", rows=2000), tmp_path / "out"
    options = ["--data", data, "--margin", 0.3, "--index", "IVF16,Flat", "--out", out]
    options += ["--log-format", "json", "--set", "index.candidates=3"]
    failed = cli("run", *options)
    assert failed.code == 5
    assert "less than index.min_recall = 0.95" in failed.err
    assert "finished work is kept" in failed.err
    assert not (out / "latest").exists() and not list((out / "runs").glob("*"))
    done = cli("run", *options, "--set", "index.min_recall=0.0001")
    assert done.code == 0
    for result, busy in ((failed, True), (done, False)):  # the second run counts nothing again
        lines = events(result.err)
        assert bool(named(lines, "unit_done", stage="counting")) is busy
        assert bool(named(lines, "progress", stage="auditing")) is busy
    assert cli("verify", out / "latest").code == 0


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "select", [{}, {"strategy": "hardest", "options": {"k": 2}}, {"strategy": "batch-hard"},
               {"relative_margin": 0.05}, {"strategy": "distance-weighted", "per_anchor": 5}],
    ids=str,
)  # fmt: skip
def test_the_same_bytes_for_any_workers(tmp_path: Path, select: dict[str, Any]) -> None:
    data = clusters(tmp_path / "data.npz", rows=1600)
    found = []
    for name, workers in (("threads", 1), ("threads", 2), ("processes", 2)):
        given = job(
            data, tmp_path / f"{name}-{workers}",
            select={"max_triplets": 3000, **select}, engine={"name": name, "workers": workers},
        )  # fmt: skip
        run = miner.mine(given)
        files = [*run.manifest["shards"], *run.manifest["files"]]
        sums = {file["path"]: file["sha256"] for file in files}
        del sums["metrics.prom"]  # it contains times
        found.append(json.dumps(sums))
    assert found[0] == found[1] == found[2]


def test_strategies_select_from_the_found_triplets(tmp_path: Path) -> None:
    data = clusters(tmp_path / "data.npz", rows=1600)
    every = miner.mine(job(data, tmp_path / "all", select={"max_triplets": 10**6}))
    k = {"strategy": "hardest", "options": {"k": 2}, "max_triplets": 10**6}
    nearest = miner.mine(job(data, tmp_path / "hardest", select=k))
    for name in MINED_CLASSES:
        wanted: dict[Any, list[Any]] = {}
        for row in every.triplets(name).to_table().to_pylist():
            wanted.setdefault((row["anchor_id"], row["positive_id"]), []).append(
                (row["d_an"], row["negative_id"])
            )
        chosen: dict[Any, list[Any]] = {}
        for row in nearest.triplets(name).to_table().to_pylist():
            chosen.setdefault((row["anchor_id"], row["positive_id"]), []).append(
                (row["d_an"], row["negative_id"])
            )
        assert chosen == {pair: sorted(found)[:2] for pair, found in wanted.items()}


def test_recall_intervals_cover_the_truth() -> None:
    """About 95 % of the intervals of many samples contain the true recall."""
    rng = np.random.default_rng(0)
    anchors = 20_000
    there = rng.geometric(0.05, anchors) * (rng.random(anchors) < 0.5)
    found = rng.binomial(there, rng.beta(18, 2, anchors))
    truth, counted = np.zeros((2, anchors), dtype=ANCHOR_COUNTS)
    truth["hard"], counted["hard"] = there, found
    share, covered = found.sum() / there.sum(), 0
    for seed in range(200):
        sample = audit_sample(np.arange(anchors), 300, seed)
        recall = measure_recall(counted[sample], truth[sample], seed)["hard"]
        covered += recall.low <= share <= recall.high
        assert recall.anchors <= 300 and 0 < recall.low < recall.value < recall.high < 1
    assert 180 <= covered <= 198


def test_intervals_of_perfect_and_empty_samples() -> None:
    truth = np.zeros(60, dtype=ANCHOR_COUNTS)
    nothing = measure_recall(truth, truth, 0)["hard"]
    assert (nothing.value, nothing.low, nothing.high) == (1.0, 0.0, 1.0)
    truth["hard"] = 4
    perfect = measure_recall(truth, truth, 0)["hard"]
    assert (perfect.value, perfect.low, perfect.high) == (1.0, 0.95, 1.0)
    assert estimate(100, perfect, 1000) == (100, [100, 105])
    assert estimate(100, nothing, 1000) == (100, [100, 1000])


def test_all_candidates_give_the_counts_of_the_definition() -> None:
    rows = vectors("random", 30, 4, seed=0)
    relevance = labelled("even", 30, seed=0)
    census = Census(Vectors(rows, rows), relevance, "euclidean", 0.3)
    block = IndexCandidates(census, PartialIndex(30, 1.0), 30).search(np.arange(30))  # type: ignore[arg-type]
    truth = enumerate_triplets("euclidean", 0.3, rows, rows, relevance)
    hard = np.add.reduceat(block.hard, block.starts[:-1])
    assert hard.tolist() == [truth.hard[anchor] for anchor in range(30)]


@pytest.mark.slow
def test_plan_includes_the_index(tmp_path: Path, cli: Callable[..., Any]) -> None:
    data = clusters(tmp_path / "data.npz", rows=4000)
    plan = ["plan", "--data", data, "--out", tmp_path / "out"]
    exact = json.loads(cli(*plan, "--json").out)
    found = json.loads(cli(*plan, "--index", "IVF64,Flat", "--json").out)
    graph = json.loads(cli(*plan, "--index", "HNSW16", "--json").out)
    auto = ["--index", "auto", "--set", "index.budget_minutes=0.0", "--json"]
    chosen = json.loads(cli(*plan, *auto).out)
    assert exact["index"] == "Flat" and exact["seconds"]["count"] > 0
    assert found["index"] == "IVF64,Flat" and chosen["index"] == "IVF32,Flat"
    for approximate in (found, chosen, graph):
        assert "count" not in approximate["seconds"]  # the plan builds no index
    assert (
        "only the candidates of IVF64,Flat will be classified"
        in cli(*plan, "--index", "IVF64,Flat").out
    )


def test_unusable_indexes_are_errors(tmp_path: Path, cli: Callable[..., Any]) -> None:
    data = clusters(tmp_path / "data.npz", rows=800)
    for index, words in {
        "IVF64,PQ7": "multiple of the number of subquantizers",
        "IVF5000,Flat": "cannot be trained on 800 rows",
        "flat": "did you mean 'Flat'?",
    }.items():
        done = cli("run", "--data", data, "--index", index, "--out", tmp_path / "out")
        assert done.code == 2 and words in done.err and done.err.count("\n") <= 6
    bad = cli("run", "--data", data, "--set", "index.min_recall=1.5", "--out", tmp_path / "out")
    assert bad.code == 2 and "index.min_recall = 1.5" in bad.err
    assert issubclass(GateError, Exception)

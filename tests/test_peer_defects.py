"""Defects that other miners have had, each looked for here through the public doors."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner

MARGIN = 0.3


def mine(folder: Path, dataset: dict[str, str], metric: str, **select: Any) -> miner.Run:
    return miner.mine(
        {
            "select": select,
            "dataset": dataset,
            "model": {"name": "precomputed"},
            "mining": {"margin": MARGIN, "metric": metric},
            "output": {"path": str(folder / "out")},
        }
    )


def distances(metric: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """All distances by the definition, in float64, of the stored rows."""

    def stored(rows: np.ndarray) -> np.ndarray:
        wide = rows.astype(np.float64)
        return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype("f4").astype("f8")

    left, right = stored(left), stored(right)
    if metric == "euclidean":
        return np.sqrt(((left[:, None] - right[None]) ** 2).sum(-1))
    cosines = (left[:, None] * right[None]).sum(-1)
    sizes = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)[None]
    return 1 - cosines / sizes


def classes(
    found: np.ndarray, positives: Sequence[set[int]], hidden: Sequence[set[int]]
) -> dict[str, set[tuple[int, int, int]]]:
    """Classify every triplet, one by one."""
    result: dict[str, set[tuple[int, int, int]]] = {"hard": set(), "semi_hard": set()}
    for a, n in product(range(len(found)), range(found.shape[1])):
        if n in positives[a] or n in hidden[a]:
            continue
        for p in positives[a]:
            if found[a, n] <= found[a, p]:
                result["hard"].add((a, p, n))
            elif found[a, n] < found[a, p] + MARGIN:
                result["semi_hard"].add((a, p, n))
    return result


def written(run: miner.Run, name: Any) -> set[tuple[int, int, int]]:
    columns = ["anchor_id", "positive_id", "negative_id"]
    return {tuple(row.values()) for row in run.triplets(name).to_table(columns=columns).to_pylist()}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(3))
def test_each_query_is_compared_with_its_own_positives(
    metric: str, seed: int, tmp_path: Path
) -> None:
    """Positive scores laid out flat, one for a query, shift when queries have several.

    And a branch for the cosine that no test enters: every metric goes the whole way here.
    """
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((9, 4)).astype("f4")
    corpus = rng.standard_normal((40, 4)).astype("f4")
    counts = [1, 5, 0, 3, 1, 7, 2, 1, 4]
    positives = [set(rng.choice(40, count, replace=False).tolist()) for count in counts]
    links = [(q, row) for q, rows in enumerate(positives) for row in sorted(rows)]
    kind = pa.list_(pa.float32())
    for name, part in (("q", queries), ("c", corpus)):
        table = {"id": np.arange(len(part)) + (100 if name == "q" else 0)}
        pq.write_table(
            pa.table({**table, "embedding": pa.array(list(part), kind)}),
            tmp_path / f"{name}.parquet",
        )
    rng.shuffle(links)
    text = "".join(f"{q + 100},{row}\n" for q, row in links)
    (tmp_path / "l.csv").write_text("query_id,corpus_id\n" + text)
    names = {"queries": "q.parquet", "corpus": "c.parquet", "links": "l.csv"}
    run = mine(tmp_path, {key: str(tmp_path / name) for key, name in names.items()}, metric)
    truth = classes(distances(metric, queries, corpus), positives, [set()] * 9)
    for name, rows in truth.items():
        assert rows
        assert written(run, name) == {(a + 100, p, n) for a, p, n in rows}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("anchors", ["", "chosen = 1"])
def test_an_anchor_is_never_its_own_negative_nor_positive(
    metric: str, anchors: str, tmp_path: Path
) -> None:
    """Dropping the nearest row as 'the anchor itself' goes wrong when another has its vector."""
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((30, 3)).astype("f4")
    vectors[10:20] = vectors[:10]  # each anchor has a twin, mostly under another label
    labels = rng.integers(0, 3, 30)
    chosen = rng.integers(0, 2, 30)
    table = {
        "id": np.arange(30),
        "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
        "label": labels,
        "chosen": chosen,
    }
    pq.write_table(pa.table(table), tmp_path / "d.parquet")
    more = {"anchors": anchors} if anchors else {}
    run = mine(tmp_path, {"path": str(tmp_path / "d.parquet"), **more}, metric)
    same = [set(np.flatnonzero(labels == label).tolist()) - {n} for n, label in enumerate(labels)]
    truth = classes(distances(metric, vectors, vectors), same, [{n} for n in range(30)])
    kept = set(np.flatnonzero(chosen).tolist()) if anchors else set(range(30))
    for name, rows in truth.items():
        assert written(run, name) == {row for row in rows if row[0] in kept}
    twins = [(a, n) for a, _, n in truth["hard"] if abs(a - n) == 10]
    assert twins  # a twin of another label is the hardest negative there is


QUERY = 1000
"""Ids of queries begin here: the document of a query's own id would be no negative of it."""


def pairs_of_texts(folder: Path, queries: int, documents: int, *, seed: int) -> dict[str, Any]:
    """Queries and documents on one side of the sphere, so that nearly all are within reach."""
    rng = np.random.default_rng(seed)
    kind = pa.list_(pa.float32())
    found: dict[str, Any] = {}
    for name, count in (("queries", queries), ("corpus", documents)):
        vectors = (rng.standard_normal((count, 6)) + 1).astype("f4")
        ids = np.arange(count) + (QUERY if name == "queries" else 0)
        table = pa.table({"id": ids, "embedding": pa.array(list(vectors), kind)})
        pq.write_table(table, folder / f"{name}.parquet")
        found[name] = str(folder / f"{name}.parquet")
        found[f"{name}_vectors"] = vectors
    found["positives"] = [
        set(rng.choice(documents, 1 + q % 3, replace=False).tolist()) for q in range(queries)
    ]
    linked = [(q, row) for q, rows in enumerate(found["positives"]) for row in sorted(rows)]
    rows = [f"{q + QUERY},{row}\n" for q, row in linked]
    (folder / "links.csv").write_text("query_id,corpus_id\n" + "".join(rows))
    found["links"] = str(folder / "links.csv")
    return found


@pytest.mark.parametrize("k", [3, 200])
def test_a_filter_never_starves_a_strategy(k: int, tmp_path: Path) -> None:
    """Top k, then the margin: slots stay empty while nearly the whole corpus is admissible.

    And what a margin rejected is never written all the same, whatever is short.
    """
    found = pairs_of_texts(tmp_path, 40, 300, seed=1)
    dataset = {name: found[name] for name in ("queries", "corpus", "links")}
    x = 0.05
    keys = {"relative_margin": x, "skip_nearest": 5}
    run = mine(tmp_path, dataset, "cosine", strategy="hardest", options={"k": k}, **keys)
    d = distances("cosine", found["queries_vectors"], found["corpus_vectors"])
    slots = filled = naive = 0
    rows = {(a - QUERY, p, n) for a, p, n in written(run, "semi_hard")}
    taken = Counter((a, p) for a, p, _ in rows)
    for a, positives in enumerate(found["positives"]):
        order = [n for n in np.lexsort((np.arange(300), d[a])).tolist() if n not in positives]
        for p in positives:
            s_p, s_n = 1 - d[a, p], 1 - d[a]
            able = [
                n
                for n in order[5:]
                if s_n[n] < s_p - x * abs(s_p) and d[a, p] < d[a, n] < d[a, p] + MARGIN
            ]
            slots += min(k, len(able))
            filled += taken[a, p]
            naive += len(set(able) & set(order[:k]))
            assert {n for q, r, n in rows if (q, r) == (a, p)} == set(able[:k])
    assert filled == slots > naive
    assert run.manifest["written"]["semi_hard"]["rows"] == slots
    wanted = run.manifest["written"]["semi_hard"]["wanted"]
    assert wanted == k * sum(map(len, found["positives"]))
    assert not written(run, "hard")


def test_a_relative_margin_is_right_for_negative_scores(tmp_path: Path) -> None:
    """``0.95 * s`` of a negative score lies above it, and would keep what is more similar."""
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((60, 3)).astype("f4")
    labels = rng.integers(0, 3, 60)
    table = {
        "id": np.arange(60),
        "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
        "label": labels,
    }
    pq.write_table(pa.table(table), tmp_path / "d.parquet")
    x = 0.1
    run = mine(tmp_path, {"path": str(tmp_path / "d.parquet")}, "cosine", relative_margin=x)
    d = distances("cosine", vectors, vectors)
    rows = written(run, "semi_hard")
    below_zero = [(a, p, n) for a, p, n in rows if d[a, p] > 1]
    assert below_zero  # positives with a negative score
    for a, p, n in rows:
        assert 1 - d[a, n] < (1 - d[a, p]) - x * abs(1 - d[a, p])
    same = [set(np.flatnonzero(labels == label).tolist()) - {n} for n, label in enumerate(labels)]
    truth = classes(d, same, [{n} for n in range(60)])["semi_hard"]
    assert rows == {
        (a, p, n) for a, p, n in truth if 1 - d[a, n] < (1 - d[a, p]) - x * abs(1 - d[a, p])
    }


STRATEGIES = ("hardest", "uniform", "simans")
SHORT = """
import sys, miner
folder, out, *names = sys.argv[1:]
dataset = {n: f"{folder}/{n}.parquet" for n in ("queries", "corpus")}
for name in names:
    run = miner.mine({
        "dataset": dataset | {"links": f"{folder}/links.csv"},
        "model": {"name": "precomputed"},
        "mining": {"margin": 0.3},
        "select": {"strategy": name, "options": {"k": 400}, "max_score": 0.8, "per_negative": 9},
        "output": {"path": f"{out}/{name}", "report": False},
    })
    print(name, [shard["sha256"] for shard in run.manifest["shards"]])
"""


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Pairs with fewer negatives than are asked for, mined under three hash seeds: one result."""
    folder = tmp_path_factory.mktemp("short")
    found = pairs_of_texts(folder, 12, 60, seed=3)
    printed = set()
    for hash_seed in ("0", "1", "77"):
        command = [sys.executable, "-c", SHORT, str(folder), str(folder / hash_seed), *STRATEGIES]
        done = subprocess.run(
            command, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        printed.add(done.stdout)
    assert len(printed) == 1
    return folder / "77", found


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_short_is_not_filled_up(name: str, short: tuple[Path, dict[str, Any]]) -> None:
    """Fillers drawn at random repeat rows, and a set's order hangs on the hash seed."""
    folder, found = short
    run = miner.open_run(folder / name)
    d = distances("euclidean", found["queries_vectors"], found["corpus_vectors"])
    truth = classes(d, found["positives"], [set()] * 12)
    for difficulty, everything in truth.items():
        names = ["anchor_id", "positive_id", "negative_id"]
        table = run.triplets(difficulty).to_table(columns=names)
        found_rows = (tuple(row.values()) for row in table.to_pylist())
        rows = [(a - QUERY, p, n) for a, p, n in found_rows]
        assert rows and len(rows) == len(set(rows))
        able = {(a, p, n) for a, p, n in everything if 1 - d[a, n] ** 2 / 2 <= 0.8}
        assert set(rows) <= able
        seen = Counter(n for _, _, n in able)
        assert Counter(n for _, _, n in rows) == Counter(
            {n: min(9, count) for n, count in seen.items()}
        )
        facts = run.manifest["written"][difficulty]
        assert facts["rows"] == len(rows) and facts["available"] == len(able)
        assert facts["wanted"] >= facts["available"]


@pytest.mark.parametrize("key", ["strategy", "classes"])
def test_a_misspelt_name_means_nothing_else(key: str, tmp_path: Path) -> None:
    """It is an error that names the nearest, not a silent 'all'."""
    found = pairs_of_texts(tmp_path, 4, 20, seed=5)
    dataset = {name: found[name] for name in ("queries", "corpus", "links")}
    value = "seminard" if key == "strategy" else ["seminard"]
    with pytest.raises(miner.MineError, match=r"'seminard'.*did you mean 'semi.hard'\?"):
        mine(tmp_path, dataset, "cosine", **{key: value})
    assert not (tmp_path / "out").exists()

"""Defects that other miners have had, each looked for here through the public doors."""

from __future__ import annotations

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


def mine(folder: Path, dataset: dict[str, str], metric: str) -> miner.Run:
    return miner.mine(
        {
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

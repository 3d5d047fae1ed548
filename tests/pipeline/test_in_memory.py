"""`miner.select` gives the triplets of a run of the same vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, UsageError

CASES: list[dict[str, Any]] = [
    {},
    {"strategy": "hardest", "options": {"k": 3}},
    {"strategy": "hardest", "relative_margin": 0.05, "suspects": True},
    {"strategy": "all", "max_triplets": 500, "seed": 3},
    {"strategy": "warp", "per_anchor": 4},
    {"strategy": "semi-hard", "classes": ["semi_hard"], "min_score": 0.1},
]


def made(rows: int = 150, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
    """Vectors of overlapping classes with one label missing in ten."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 12, rows)
    vectors = rng.standard_normal((12, 8))[labels] + rng.standard_normal((rows, 8))
    names = [f"class {code}" if rng.random() > 0.1 else None for code in labels]
    return vectors.astype(np.float32), names


def mined(
    folder: Path, vectors: np.ndarray, labels: list[Any], select: dict[str, Any], **mining: Any
) -> pa.Table:
    """The shards of a run as one table with a column `difficulty`."""
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    ids = pa.array(range(len(vectors)))
    data = pa.table({"id": ids, "label": labels, "embedding": embedding})
    pq.write_table(data, folder / "data.parquet")
    run = miner.mine(
        {
            "dataset": {"path": str(folder / "data.parquet")},
            "mining": mining,
            "select": {"strategy": "semi-hard", **select},
            "output": {"path": str(folder / "out"), "report": False},
        }
    )
    parts = []
    for name in ("semi_hard", "hard", *(["suspects"] if select.get("suspects") else [])):
        part = run.triplets(name).to_table().replace_schema_metadata(None)
        names = pa.array([name.removesuffix("s")] * part.num_rows, pa.string())
        parts.append(part.append_column("difficulty", names))
    return pa.concat_tables(parts)


@pytest.mark.parametrize("select", CASES, ids=lambda one: one.get("strategy", "default"))
def test_it_is_what_a_run_writes(select: dict[str, Any], tmp_path: Path) -> None:
    vectors, labels = made()
    found = miner.select(vectors, labels, margin=0.3, **select)
    wanted = mined(tmp_path, vectors, labels, select, margin=0.3)
    assert found.num_rows > 0
    assert found.equals(wanted)


@pytest.mark.parametrize("metric", ["sqeuclidean", "cosine", "dot"])
def test_metrics_are_those_of_a_run(metric: Any, tmp_path: Path) -> None:
    vectors, labels = made(seed=1)
    found = miner.select(vectors, labels, metric=metric)
    assert found.equals(mined(tmp_path, vectors, labels, {}, metric=metric))


def test_labels_may_be_an_array() -> None:
    vectors, _ = made()
    labels = np.arange(len(vectors)) % 7
    assert miner.select(vectors, labels).equals(miner.select(vectors.tolist(), labels.tolist()))


def test_without_positives_there_is_nothing() -> None:
    vectors, _ = made(5)
    for labels in (range(5), [None] * 5, ["one"] * 5):
        assert miner.select(vectors, list(labels)).num_rows == 0


def test_what_is_wrong_is_said() -> None:
    vectors, labels = made(20)
    with pytest.raises(DataError, match="20 vectors and 19 labels"):
        miner.select(vectors, labels[:-1])
    with pytest.raises(DataError, match=r"shape \(n, d\), not \(160,\)"):
        miner.select(vectors.ravel(), labels)
    labels[3], vectors[3, 1] = "a", np.nan
    with pytest.raises(DataError, match="the vector of row 3 is not finite"):
        miner.select(vectors, labels)
    with pytest.raises(UsageError, match="per_negative needs a run"):
        miner.select(vectors, labels, per_negative=3)
    with pytest.raises(UsageError, match="no_such"):
        miner.select(vectors, labels, no_such=3)
    with pytest.raises(UsageError, match="margin"):
        miner.select(vectors, labels, margin=-1)


def test_the_public_names_are_listed() -> None:
    assert dir(miner) == sorted([*miner.__all__, "__version__"])


def test_what_people_try_first_is_answered() -> None:
    vectors, labels = made(20)
    with pytest.raises(DataError, match=r"labels must have the shape \(n,\), not \(20, 1\)"):
        miner.select(vectors, np.array(labels)[:, None])
    with pytest.raises(UsageError, match=r"given as options=\{'k': ...\}"):
        miner.select(vectors, labels, strategy="hardest", k=2)


def test_tensors_that_need_gradients_are_taken() -> None:
    torch = pytest.importorskip("torch")
    vectors, _ = made(20)
    found = miner.select(torch.tensor(vectors, requires_grad=True), torch.arange(20) % 4)
    assert found.equals(miner.select(vectors, np.arange(20) % 4))

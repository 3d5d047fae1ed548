"""`miner.mine` of tables, data frames and arrays: the triplets of the same rows in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, UsageError
from tests.conftest import Result
from tests.durable import Crash, at_rename, crash

VECTORS = np.random.default_rng(8).standard_normal((40, 5)).astype(np.float32)
LABELS = [f"c{n % 4}" for n in range(40)]
COLUMNS = {"embedding": list(VECTORS), "label": LABELS}


def triplets(run: miner.Run) -> list[Any]:
    names = ("hard", "semi_hard")
    return [run.triplets(name).to_table().to_pylist() for name in names]


def sections(tmp_path: Path, name: str = "out") -> dict[str, Any]:
    return {"output": {"path": str(tmp_path / name)}, "mining": {"margin": 0.3}}


def pandas_frame() -> Any:
    frame = pytest.importorskip("pandas").DataFrame(COLUMNS)
    frame.index = [f"row {n}" for n in range(40)]
    return frame


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame({**COLUMNS, "embedding": VECTORS.tolist()})


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "table": lambda: {"data": pa.table({**COLUMNS, "embedding": VECTORS.tolist()})},
    "pandas": lambda: {"data": pandas_frame()},
    "polars": lambda: {"data": polars_frame()},
    "mapping": lambda: {"data": {**COLUMNS, "embedding": VECTORS.tolist()}},
    "arrays": lambda: {"vectors": VECTORS, "labels": np.array(LABELS)},
    "float64 and a list": lambda: {"vectors": VECTORS.astype(np.float64), "labels": LABELS},
}


@pytest.mark.parametrize("kind", GIVEN)
def test_rows_in_memory_give_the_triplets_of_a_file(kind: str, tmp_path: Path) -> None:
    data = tmp_path / "rows.parquet"
    pq.write_table(pa.table({**COLUMNS, "embedding": VECTORS.tolist()}), data)
    of_file = miner.mine({**sections(tmp_path, "file"), "dataset": {"path": str(data)}})
    run = miner.mine(sections(tmp_path), **GIVEN[kind]())
    assert triplets(run) == triplets(of_file)
    assert run.manifest["census"] == of_file.manifest["census"]
    path = Path(run.manifest["job"]["dataset"]["path"])
    assert path.parent == tmp_path / "out/.data" and miner.verify_run(run, full=True).problems == []


def test_the_same_table_is_mined_once(tmp_path: Path) -> None:
    table = pa.table({**COLUMNS, "embedding": VECTORS.tolist()})
    first = miner.mine(sections(tmp_path), data=table)
    assert miner.mine(sections(tmp_path), data=table).run_id == first.run_id
    assert miner.mine(sections(tmp_path), data=table.slice(1)).run_id != first.run_id
    assert len(list((tmp_path / "out/.data").iterdir())) == 2


def test_a_job_file_may_take_its_rows_from_memory(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    out = tmp_path / "out"
    job.write_text(f'[dataset]\npath = "gone.csv"\nlabel = "kind"\n[output]\npath = "{out}"\n')
    run = miner.mine(job, data={"embedding": VECTORS.tolist(), "kind": LABELS})
    assert run.manifest["dataset"]["items"] == 40
    again = miner.mine(miner.load_job(job), data={"embedding": VECTORS.tolist(), "kind": LABELS})
    assert again.run_id == run.run_id


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = miner.mine(sections(tmp_path, "whole"), vectors=VECTORS, labels=LABELS)
    with monkeypatch.context() as patched:
        at_rename("census.parquet", crash, patch=patched.setattr)
        with pytest.raises(Crash):
            miner.mine(sections(tmp_path), vectors=VECTORS, labels=LABELS)
    (staged,) = (tmp_path / "out/.staging").glob("2*")
    run = miner.mine(sections(tmp_path), vectors=VECTORS, labels=LABELS)
    assert run.run_id == staged.name and triplets(run) == triplets(whole)


def test_class_names_of_hugging_face_are_kept(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "embedding": datasets.Sequence(datasets.Value("float32")),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {"embedding": VECTORS.tolist(), "label": [n % 2 for n in range(40)]}
    table = datasets.Dataset.from_dict(rows, features).data.table
    run = miner.mine(sections(tmp_path), data=table)
    pairs = pq.read_table(run.file("confusion.parquet"))["anchor_label"].to_pylist()
    assert set(pairs) == {"cat", "dog"}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, UsageError, "no data: give a job, data, or vectors and labels"),
        ({"labels": LABELS}, UsageError, "labels without vectors"),
        ({"data": {}, "vectors": VECTORS}, UsageError, "not both"),
        ({"vectors": VECTORS}, DataError, "40 vectors and no labels"),
        ({"vectors": VECTORS, "labels": LABELS[:3]}, DataError, "40 vectors and 3 labels"),
        ({"vectors": VECTORS[0], "labels": LABELS}, DataError, "must have the shape"),
        ({"vectors": VECTORS, "labels": ["a", 1] * 20}, DataError, "of several types"),
        ({"data": 7}, DataError, "of type int is no table"),
        ({"data": {"label": LABELS}}, DataError, "has none of the columns"),
    ],
)
def test_what_is_no_data_is_named(
    given: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    job = sections(tmp_path) if given else None
    with pytest.raises(error, match=words):
        miner.mine(job, **given)


def test_prune_removes_tables_of_which_no_run_is_left(
    tmp_path: Path, cli: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    for rows in (40, 39):
        miner.mine(sections(tmp_path), vectors=VECTORS[:rows], labels=LABELS[:rows])
        time.sleep(1)  # runs of different jobs are ordered by the second
    old, new = sorted((out / ".data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert cli("prune", out, "--keep", 1, "--dry-run").out.count("data ") == 0  # they are new
    for path in (old, new):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert cli("prune", out).code == 0 and old.exists()
    assert cli("prune", out, "--keep", 1).code == 0
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_shown_where_there_is_no_terminal(
    progress: bool | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    miner.mine(sections(tmp_path), vectors=VECTORS, labels=LABELS, progress=progress)
    assert capsys.readouterr().err == ""


def test_progress_is_shown_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    miner.mine(sections(tmp_path), vectors=VECTORS, labels=LABELS, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert "mine: counting" in lines and "mine: sealing" in lines

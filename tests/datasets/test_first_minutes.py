"""The first five minutes of people with their own data: nothing is ignored in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, UsageError
from tests.conftest import Result

LABELS = [f"c{i % 5}" for i in range(40)]
VECTORS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def mined(data: Any, folder: Path, **dataset: Any) -> miner.Run:
    job = {"dataset": dataset, "output": {"path": str(folder / "out"), "report": False}}
    return miner.mine(job, data=data)


def queries(folder: Path, links: str) -> dict[str, str]:
    """The paths of three tables: queries and documents 0 to 8, and these links."""
    for name, first in (("queries", "cloud"), ("corpus", "river")):
        lines = [f"{i},{first} {'abcdefghi'[i]}" for i in range(9)]
        (folder / f"{name}.csv").write_text("\n".join(["id,text", *lines]))
    (folder / "links.csv").write_text(f"query_id,corpus_id,rating\n{links}\n")
    return {name: str(folder / f"{name}.csv") for name in ("queries", "corpus", "links")}


def three(folder: Path, links: str, **dataset: Any) -> miner.Run:
    job = {"dataset": {**queries(folder, links), **dataset}, "output": {"path": f"{folder}/out"}}
    return miner.mine(job)


@pytest.mark.parametrize("score", ["", " ", "nan"])
def test_a_link_without_a_score_is_named(score: str, tmp_path: Path) -> None:
    message = r"links\.csv, row 1: no rating; every link needs a number"
    with pytest.raises(DataError, match=message):
        three(tmp_path, f"1,1,1\n2,2,{score}")


def test_missing_scores_of_parquet_are_named(tmp_path: Path) -> None:
    paths = queries(tmp_path, "")
    scores = pa.array([1.0, np.nan, 0.0])
    links = {"query_id": [0, 1, 2], "corpus_id": [0, 1, 2], "score": scores}
    pq.write_table(pa.table(links), tmp_path / "links.parquet")
    job = {"dataset": {**paths, "links": f"{tmp_path}/links.parquet"}}
    with pytest.raises(DataError, match=r"links\.parquet, row 1: no score"):
        miner.mine({**job, "output": {"path": f"{tmp_path}/out"}})


@pytest.mark.parametrize("least", [float("nan"), float("inf"), float("-inf")])
def test_the_lowest_score_is_finite(least: float, tmp_path: Path) -> None:
    message = r"dataset\.min_relevance = (nan|-?inf) must be a finite number"
    with pytest.raises(UsageError, match=message):
        three(tmp_path, "1,1,1", min_relevance=least)


def test_keys_of_pairs_are_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pair_score has no meaning for queries, a corpus and"):
        three(tmp_path, "1,1,1", pair_score="rating")
    table = pa.table({"query": ["a", "b", "c"], "answer": ["d", "e", "f"], "shop": [1, 1, 2]})
    with pytest.raises(UsageError, match="same_id has no meaning for a table of pairs"):
        mined(table, tmp_path, same_id=True)


def test_filtered_pairs_are_counted(tmp_path: Path) -> None:
    table = pa.table({"query": ["a", "b", "c"], "answer": ["d", "e", "f"], "shop": [1, 1, 2]})
    for keys, valid, filtered in (
        ({"where": "shop = 1"}, 2, 1),
        ({"where": "shop = 1", "anchors": "query = 'a'"}, 1, 2),
    ):
        job = {"dataset": keys, "output": {"path": f"{tmp_path}/out"}, "gates": {"min_rows": 0}}
        found = miner.mine(job, data=table).manifest
        assert found["census"]["valid"] == valid
        assert found["dataset"]["skipped"]["filtered"] == filtered


@pytest.mark.parametrize("kind", ["npy", "parquet", "csv"])
def test_a_folder_that_has_the_output_too(
    kind: str, cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "npy":
        np.save("features.npy", VECTORS)
        Path("labels.csv").write_text("\n".join(["label", *LABELS]))
    elif kind == "parquet":
        pq.write_table(pa.table({"embedding": VECTORS.tolist(), "label": LABELS}), "a.parquet")
    else:
        lines = [f"cloud {i} river,{label}" for i, label in enumerate(LABELS)]
        Path("a.csv").write_text("\n".join(["text,label", *lines]))
    assert cli("init", ".").code == 0
    assert cli("run").code == 0
    again = cli("run")
    assert (again.code, again.out.partition(":")[0]) == (0, "already mined")
    assert cli("init", ".", "--force").code == 0


def test_a_first_line_that_is_a_row(cli: Callable[..., Result], tmp_path: Path) -> None:
    path, job = tmp_path / "x.csv", tmp_path / "job.toml"
    path.write_text("\n".join(f"cloud river {i},c{i % 4}" for i in range(20)))
    result = cli("init", path, "--job", job)
    assert result.code == 3
    assert "x.csv: its first line seems to be a row, not the names of the columns" in result.err
    assert cli("init", path, "--job", job, "--label", "c0").code == 0


def test_init_names_the_fault_of_a_column(cli: Callable[..., Result], tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    np.savez(tmp_path / "long.npz", X=VECTORS, y=np.arange(39) % 5)
    assert "{'X': 40, 'y': 39}" in cli("init", tmp_path / "long.npz", "--job", job).err
    np.savez(tmp_path / "bytes.npz", embeddings=VECTORS.astype(np.int8), labels=np.arange(40) % 5)
    assert "as of quantised vectors" in cli("init", tmp_path / "bytes.npz", "--job", job).err
    lines = [f"{i},cloud {i},c{i % 4}" for i in range(20)]
    (tmp_path / "x.csv").write_text("\n".join(["id,text,label", *lines, ",,"]))
    assert "(row 20 has none)" in cli("init", tmp_path / "x.csv", "--job", job).err


def test_an_unknown_verdict_makes_no_label(cli: Callable[..., Result], tmp_path: Path) -> None:
    lines = [f"cloud {i},river {i},{'maybe' if i == 3 else i % 2}" for i in range(12)]
    path, job = tmp_path / "x.csv", tmp_path / "job.toml"
    path.write_text("\n".join(["question1,question2,is_duplicate", *lines]))
    assert "question2" in cli("init", path, "--job", job).out
    message = cli("run", job, "--out", tmp_path / "out").err
    assert "column 'is_duplicate', row 3: 'maybe' is no verdict on a pair" in message


def test_frames_with_categories_and_named_indexes(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"embedding": VECTORS.tolist(), "label": LABELS})
    labels = pl.col("label")
    whole = mined(frame, tmp_path).manifest["census"]
    for changed in (
        frame.with_columns(labels.cast(pl.Categorical)),
        frame.with_columns(labels.cast(pl.Enum(sorted(set(LABELS))))),
        frame.with_columns(pl.concat_list(labels.cast(pl.Categorical)).alias("label")),
        pa.table(
            {"embedding": VECTORS.tolist(), "label": pc.run_end_encode(pa.array(LABELS))},
        ),
    ):
        assert mined(changed, tmp_path).manifest["census"]["valid"] == whole["valid"]
    names = [f"k{i}" for i in range(40)]
    pd = pytest.importorskip("pandas")
    plain = pd.DataFrame({"embedding": list(VECTORS), "label": LABELS, "id": names})
    found = mined(plain.set_index(["id", "label"]), tmp_path)
    assert found.census()["anchor_id"].to_pylist() == names
    interval = pa.array([(1, 2, 3)] * 40, pa.month_day_nano_interval())
    table = pa.table({"embedding": VECTORS.tolist(), "label": LABELS, "gap": interval})
    with pytest.raises(DataError, match="cannot be written as Parquet"):
        mined(table, tmp_path)


def test_changes_name_the_keys_of_the_job(cli: Callable[..., Result], tmp_path: Path) -> None:
    columns = {"label": LABELS, "camera": [i // 5 % 2 for i in range(40)]}
    pq.write_table(pa.table({"embedding": VECTORS.tolist(), **columns}), tmp_path / "x.parquet")
    words = ("run", "--data", tmp_path / "x.parquet", "--out", tmp_path / "out")
    assert cli(*words).code == 0
    keys = ("positives_across", "negatives_within")
    sets = [word for key in keys for word in ("--set", f"dataset.{key}=camera")]
    said = cli(*words, *sets).err
    for key in keys:
        assert re.search(rf"dataset\.{key} \(was unset, is ", said), json.dumps(said)


DAYS = pa.array(["2024-01-01", "2024-01-02", "2024-01-01"]).cast(pa.timestamp("us"))
FLAGS = pa.array([True, False, True])
NUMBERS = pa.array([1, 2, 1])


@pytest.mark.parametrize(
    ("first", "second", "fit"),
    [
        (NUMBERS, NUMBERS.cast(pa.float64()), True),
        (NUMBERS, NUMBERS.cast(pa.string()), True),
        (DAYS, DAYS.cast(pa.timestamp("ns")), True),
        (DAYS, pa.array(["2024-01-01T00:00:00", "2024-01-02", "2024-01-01"]), True),
        (FLAGS, pa.array(["True", "false", "true"]), True),
        (FLAGS, NUMBERS, False),
        (DAYS.cast(pa.date32()), DAYS, False),
        (DAYS, pa.array(["Monday", "Tuesday", "Monday"]), False),
    ],
)
def test_columns_of_two_tables_are_compared_or_refused(
    first: Any, second: Any, fit: bool, tmp_path: Path
) -> None:
    tables = {
        "queries": {"id": range(3), "text": ["a", "b", "c"], "day": first},
        "corpus": {"id": range(3), "text": ["d", "e", "f"], "day": second},
        "links": {"query_id": range(3), "corpus_id": range(3)},
    }
    for name, table in tables.items():
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    paths = {name: f"{tmp_path}/{name}.parquet" for name in tables}
    job = {"dataset": {**paths, "negatives_within": "day"}, "gates": {"min_rows": 0}}
    job["output"] = {"path": f"{tmp_path}/out"}
    if fit:
        assert miner.mine(job).manifest["census"]["valid"] == 2
    else:
        with pytest.raises(DataError, match=r"negatives_within: values of the types .* cannot be"):
            miner.mine(job)

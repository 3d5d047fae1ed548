"""Columns in layouts of Arrow that little can compute on are read as the usual ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

import miner
from miner.datasets.column_types import usual_layout, usual_type

TEXT, VIEW = pa.string(), pa.string_view()
VALUES = ["a", "b", None, "a"]
HELD = pa.array(VALUES, VIEW)
RUNS = pa.RunEndEncodedArray.from_arrays([2, 3, 7], HELD[:3])
COLUMNS = [
    (HELD, TEXT),
    (pa.array([b"a", None], pa.binary_view()), pa.binary()),
    (pa.array([["a"], None, ["b", "c"]], pa.list_(VIEW)), pa.list_(TEXT)),
    (pa.array([["a"], []], pa.large_list(VIEW)), pa.large_list(TEXT)),
    (pa.array([["a"], ["b"]], pa.list_(VIEW, 1)), pa.list_(TEXT, 1)),
    (pa.StructArray.from_arrays([HELD], names=["a"]), pa.struct({"a": TEXT})),
    (pa.array([[("k", "v")]], pa.map_(VIEW, VIEW)), pa.map_(TEXT, TEXT)),
    (
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), HELD[:2]),
        TEXT,
    ),
    (pa.ListArray.from_arrays([0, 1, None, 3], HELD.dictionary_encode()), pa.list_(TEXT)),
    (RUNS, TEXT),
    (RUNS.slice(1, 4), TEXT),
    (RUNS.slice(0, 0), TEXT),
    (pa.RunEndEncodedArray.from_arrays([2], pa.array([7])), pa.int64()),
    (pa.array([5, None], pa.timestamp("s", "UTC")), pa.timestamp("ms", "UTC")),
]


@pytest.mark.parametrize(("column", "kind"), COLUMNS, ids=lambda one: str(getattr(one, "type", "")))
def test_values_stay_what_they_are(column: Any, kind: Any) -> None:
    found = usual_layout(column)
    found.validate(full=True)
    assert usual_type(column.type) == kind == found.type
    assert found.to_pylist() == column.to_pylist()
    assert usual_layout(found) is found


@pytest.mark.parametrize(
    "kind",
    [
        pa.map_(TEXT, pa.int64(), keys_sorted=True),
        pa.list_(pa.field("x", pa.float32(), nullable=False)),
        pa.list_view(pa.float32()),
    ],
    ids=str,
)
def test_other_types_are_let_be(kind: Any) -> None:
    assert usual_type(kind) == kind


def as_listed(values: Any) -> Any:
    return pa.array([[one] for one in values.to_pylist()], pa.list_(VIEW))


def as_codes(values: Any) -> Any:
    coded = values.cast(TEXT).dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices, coded.dictionary.cast(VIEW))


def as_runs(values: Any) -> Any:
    return pa.RunEndEncodedArray.from_arrays(range(1, len(values) + 1), values)


def write_arrow(path: Path, columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def written(folder: Path, columns: dict[str, Any], name: str) -> miner.Run:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        write_arrow(path, columns)
    where = {"path": str(path), "where": "kind = 'k1'", "group": "part"}
    out = {"path": str(folder / f"out-{name}"), "report": False}
    return miner.mine({"dataset": where, "output": out})


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(as_codes, "arrow"), (as_runs, "arrow"), (as_listed, "arrow"), (as_listed, "parquet")],
)
def test_runs_are_those_of_plain_columns(
    make: Callable[[Any], Any], suffix: str, tmp_path: Path
) -> None:
    """Ids, texts, labels, groups, and what a filter looks at; lists are labels only."""
    plain = {
        "id": pa.array([f"i{n}" for n in range(24)]),
        "text": pa.array([f"words {n % 7} {n}" for n in range(24)]),
        "label": pa.array([f"c{n % 3}" for n in range(24)]),
        "kind": pa.array([f"k{n % 2}" for n in range(24)]),
        "part": pa.array([f"p{n % 5}" for n in range(24)]),
    }
    names = ["label"] if make is as_listed else list(plain)
    odd = plain | {name: make(plain[name].cast(VIEW)) for name in names}
    if make is as_listed:
        plain["label"] = pa.array([[one] for one in plain["label"].to_pylist()])
    runs = [written(tmp_path, plain, "a.parquet"), written(tmp_path, odd, f"b.{suffix}")]
    for name in ("hard", "semi_hard"):
        tables = [run.triplets(name).to_table() for run in runs]
        assert tables[0].num_rows > 0 and tables[0].equals(tables[1])
    assert runs[0].manifest["census"] == runs[1].manifest["census"]


FAR = -(2**62)


@pytest.mark.parametrize(
    ("column", "values", "where", "code", "said"),
    [
        # Python knows no nanoseconds, and only pandas, which may not be there, shows them.
        ("id", pa.array([FAR, 1, 2, 3]).cast(pa.timestamp("ns")), "", 3, "row 1, column 'text'"),
        ("id", pa.array([FAR, 1, 2, 3]).cast(pa.duration("ns")), "", 3, "row 1, column 'text'"),
        ("label", pa.array([-FAR, 1, -FAR, 1]).cast(pa.timestamp("s")), "", 3, "out of bounds"),
        (
            "day",
            pa.array([0, 1, 0, 1], pa.timestamp("ns")).dictionary_encode(),
            "day > 5",
            3,
            "day",
        ),
    ],
)
def test_times_that_python_or_parquet_cannot_take(
    column: str, values: Any, where: str, code: int, said: str, tmp_path: Path, cli: Any
) -> None:
    columns = {"id": [1, 2, 3, 4], "text": ["a", None, "b", "c"], "label": [0, 1, 0, 1]}
    write_arrow(tmp_path / "d.arrow", columns | {column: values})
    words = ["run", "--data", tmp_path / "d.arrow", "--out", tmp_path / "out", "--quiet"]
    told = cli(*words, *(["--set", f"dataset.where={where}"] if where else []))
    assert told.code == code and said in told.err and told.err.count("\n") == 1, told


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.time64("ns"), pa.duration("ns")], ids=str)
def test_pairs_of_times_are_refused(kind: Any, tmp_path: Path, cli: Any) -> None:
    times = pa.array([1, 86_399_999_999_999 if kind == pa.time64("ns") else FAR]).cast(kind)
    write_arrow(tmp_path / "d.arrow", {"anchor": ["a", "b"], "positive": times})
    told = cli("run", "--data", tmp_path / "d.arrow", "--out", tmp_path / "out", "--quiet")
    assert told.code == 3 and told.err.count("\n") == 1, told
    assert "positive" in told.err and f" has the type {kind}: it must hold text" in told.err


def test_a_struct_of_times_is_no_image(tmp_path: Path, cli: Any) -> None:
    times = pa.array([FAR, 1], pa.int64()).cast(pa.timestamp("us"))
    image = pa.StructArray.from_arrays([times], names=["bytes"])
    write_arrow(tmp_path / "d.arrow", {"image": image, "label": [0, 0]})
    words = ["--set", "dataset.content=image", "--out", tmp_path / "out", "--quiet"]
    told = cli("run", "--data", tmp_path / "d.arrow", *words)
    assert told.code == 3 and "it must hold text, images or lists" in told.err, told

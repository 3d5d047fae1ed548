"""Equal values are one label, classes have their names, and bad input is refused at once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from miner.datasets.relevance.corrections import Corrections
from miner.datasets.relevance.labels import scan_labelled
from miner.datasets.scan import scan
from miner.datasets.source import open_source
from miner.errors import DataError
from miner.job import load_job
from miner.job_sections import DatasetJob
from tests.conftest import Result

FEATURES = {
    "label": {"names": ["cat", "dog", "bird"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["x", "y"], "_type": "ClassLabel"}, "_type": "List"},
}


def scanned(path: Path, label: str = "label") -> Any:
    """Read a data set; return what its scan found."""
    side = open_source(DatasetJob(path=str(path), label=label), None).sides[0]
    return scan_labelled(scan(side, None), side, Corrections())[0]


def names(path: Path) -> list[Any]:
    return list(scanned(path).names.to_pylist())


def written(folder: Path, values: Any, name: str = "label", metadata: Any = None) -> Path:
    table = pa.table({"text": [f"t{n}" for n in range(len(values))], name: values})
    path = folder / "d.parquet"
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([0.0, -0.0, 1.0, float("nan"), 1.0], pa.float64(), [0.0, 1.0]),
        ([-0.0, 0.0, 1.0, 1.0], pa.float16(), [0.0, 1.0]),
        ([True, False, True, False], pa.bool_(), [True, False]),
        ([2**53, 2**53 + 1] * 2, pa.int64(), [2**53, 2**53 + 1]),
        ([2**64 - 1, 2**64 - 2] * 2, pa.uint64(), [2**64 - 1, 2**64 - 2]),
        ([Decimal("0.0"), Decimal("-0.0"), Decimal("1.5"), Decimal("1.5")], pa.decimal32(5, 1), 2),
        ([0, 86_400_000] * 2, pa.date64(), 2),
        ([1, 2] * 2, pa.timestamp("ns", "Europe/Berlin"), 2),
        ([1, 2] * 2, pa.time32("s"), 2),
        ([b"\xff", b"a"] * 2, pa.large_binary(), [b"\xff", b"a"]),
    ],
    ids=str,
)
def test_equal_values_are_one_label(values: Any, kind: Any, found: Any, tmp_path: Path) -> None:
    column = pa.array(np.array(values, np.float16) if kind == pa.float16() else values, kind)
    seen = scanned(written(tmp_path, column)).names
    assert len(seen) == found if isinstance(found, int) else seen.to_pylist() == found
    assert "-0.0" not in map(str, seen.to_pylist() if isinstance(found, list) else [])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array([2.0**53, 1.0]), "represents several whole numbers"),
        (pa.array([(1, 2, 3), (2, 2, 3)], pa.month_day_nano_interval()), "month_day_nano"),
        (pa.array([{"a": 1}, {"a": 2}]), "must be text, numbers or times, not struct"),
        (pa.array(["a", "b" * 70_000]), "row 1 holds a text of 70,000 bytes"),
        (pa.array([["a"], ["b", "c" * 70_000]]), "row 1 holds a text of 70,000 bytes"),
    ],
)
def test_what_names_no_class_is_refused(values: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "d.arrow"
    table = pa.table({"text": ["a", "b"], "label": values})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    with pytest.raises(DataError, match=said):
        scanned(path)


def test_whole_numbers_too_large_for_json_are_not_merged(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"text": f"t{n}", "label": 2**64 + n} for n in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="several whole numbers"):
        scanned(path)


def test_classes_have_their_names(tmp_path: Path) -> None:
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    path = written(tmp_path, pa.array([2, 0, -1, 2, 0, None]), metadata=metadata)
    assert names(path) == ["bird", "cat"]
    path = written(tmp_path, pa.array([0, 1, 3]), metadata=metadata)
    with pytest.raises(DataError, match="row 2: class 3 has no name"):
        scanned(path)
    path = written(tmp_path, pa.array([[0], None, [1, 0], [-1], [1]]), "tags", metadata)
    assert scanned(path, "tags").facts["skipped"]["unlabelled"] == 2
    path = written(tmp_path, pa.array([[0], [1], [1, 5]]), "tags", metadata)
    with pytest.raises(DataError, match="row 2: class 5 has no name"):
        scanned(path, "tags")


def test_saved_data_sets_have_the_names_of_their_description(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]})
    with pa.ipc.new_stream(tmp_path / "data.arrow", table.schema) as file:
        file.write_table(table)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    info = tmp_path / "dataset_info.json"
    info.write_text(json.dumps({"features": FEATURES}))
    assert names(tmp_path) == ["cat", "dog"]
    assert info in open_source(DatasetJob(path=str(tmp_path)), None).files  # in the fingerprint


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_codes_of_long_texts_are_read_in_small_batches(suffix: str, tmp_path: Path) -> None:
    """Decoded at once they are 3 GB, and more than a string array can hold."""
    long = pa.array(["x" * (1 << 20) + end for end in "abc"])
    codes = pa.array([n % 3 for n in range(3000)], pa.int32())
    table = pa.table({"text": pa.DictionaryArray.from_arrays(codes, long), "label": codes})
    path = tmp_path / f"d.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path, compression="zstd")
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    rows = 0
    for batch in open_source(DatasetJob(path=str(path)), None).sides[0].table.batches(["text"]):
        assert batch.nbytes <= 65 << 20 and batch.schema.field(0).type == pa.string()
        rows += len(batch)
        if rows > 200:
            break


@pytest.mark.parametrize(
    "lines",
    [
        "{" + ",".join(f'"k{n}":1' for n in range(12_000)) + "}\n",
        "\n".join(f'{{"k{n}":1}}' for n in range(12_000)),
        '{"a":{' + ",".join(f'"k{n}":1' for n in range(12_000)) + "}}\n",
    ],
    ids=["a row", "rows", "nested"],
)
def test_too_many_keys_are_refused_before_arrow_reads_them(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(lines)
    with pytest.raises(DataError, match="more than 10,000 different keys"):
        scanned(path)


@pytest.mark.parametrize("key", [".".join("a" * 50_000) + " = 1", "[" + ".".join("ab" * 99) + "]"])
def test_deep_keys_are_refused_before_they_are_read(
    key: str, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    path = tmp_path / "job.toml"
    path.write_text(key)
    told = cli("run", path)
    assert told.code == 2 and "a key of more than 32 parts" in told.err, told


@pytest.mark.parametrize(
    ("coding", "name"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"), ("utf-32", "UTF-32")],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl.gz"])
def test_other_encodings_are_named(coding: str, name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"d.{suffix}"
    data = "text,label\na,1\nb,1\n".encode(coding)
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(DataError, match=f"d.{suffix} is {name}.*; name it with dataset.encoding"):
        scanned(path)


def test_a_mark_of_utf8_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes("text,label\na,x\nb,y\nc,x\nd,y\n".encode("utf-8-sig"))
    assert names(path) == ["x", "y"]
    job = tmp_path / "job.toml"
    job.write_bytes(f'[dataset]\npath = "{path}"\n'.encode("utf-8-sig"))
    assert load_job(job).dataset.path == str(path)


def test_lists_of_texts_and_vectors_apart_are_named(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n')
    with pytest.raises(DataError, match=r"column 'pos' holds lists of text.*dataset\.pair_anchor"):
        scanned(path)
    path.write_text('{"anchor": ["a"], "positive": "b"}\n')
    with pytest.raises(DataError, match="column 'anchor' holds lists of text"):
        open_source(DatasetJob(path=str(path)), None)
    path.write_text('{"name": "a"}\n')
    np.save(tmp_path / "v.npy", np.ones((2, 2)))
    with pytest.raises(DataError, match=r"v\.npy are not read together with it"):
        scanned(path)
    with pytest.raises(DataError, match=r"the table d\.jsonl in its folder is not read"):
        scanned(tmp_path / "v.npy")

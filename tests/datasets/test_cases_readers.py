"""Reports of people about files: the same inputs, with the value that is right for each.

The base is 60 rows of 6 classes in 8 dimensions (27,000 triplets), and 6 queries with 24 documents.
"""

from __future__ import annotations

import decimal
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import miner
from miner.datasets.opening import open_table
from miner.errors import DataError, UsageError
from tests.fuzz.good import arrow_bytes

VALID = 27_000
LETTERS = "tests.fuzz.letters:letters"
_LABELS = np.arange(60) % 6
_RANDOM = np.random.default_rng(0)
VECTORS = (_RANDOM.normal(size=(6, 8))[_LABELS] + 0.6 * _RANDOM.normal(size=(60, 8))).astype(
    np.float32
)
BASE = {
    "id": pa.array([f"r{i}" for i in range(60)]),
    "label": pa.array([f"c{x}" for x in _LABELS]),
    "embedding": pa.array(VECTORS.tolist(), pa.list_(pa.float32())),
}


@pytest.fixture(autouse=True)
def no_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without numba: its loops take longer to compile than all cases to mine."""
    monkeypatch.setitem(sys.modules, "numba", None)


def mined(path: Path, model: str | None = None, **dataset: Any) -> miner.Run:
    """Mine a path into a new folder next to it."""
    out = path.parent / f"out-{len(list(path.parent.glob('out-*')))}"
    job: dict[str, Any] = {
        "dataset": {"path": str(path), **dataset},
        "output": {"path": str(out), "report": False},
    }
    if model:
        job["model"] = {"name": model}
    return miner.mine(job)


def valid(path: Path, model: str | None = None, **dataset: Any) -> int:
    """Return how many triplets are valid."""
    count: int = mined(path, model, **dataset).manifest["census"]["valid"]
    return count


def parquet(folder: Path, name: str = "d.parquet", **columns: Any) -> Path:
    """Write the base with other columns; None drops one."""
    kept = {k: v for k, v in {**BASE, **columns}.items() if v is not None}
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(kept), folder / name)
    return folder / name


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    """Return the base as objects, with other columns."""
    every = {name: values.to_pylist() for name, values in BASE.items()} | columns
    return [dict(zip(every, row, strict=True)) for row in zip(*every.values(), strict=True)]


def lines(objects: list[dict[str, Any]]) -> str:
    """Return objects as JSON lines."""
    return "".join(json.dumps(one) + "\n" for one in objects)


def beir(folder: Path, **more: list[Any]) -> Path:
    """Write 24 documents, 6 queries and 6 links in BEIR layout; `more`: fields of queries."""
    root = folder / "beir"
    (root / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": f"words of {i}"} for i in range(24)]
    queries = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(6)]
    for name, values in more.items():
        queries = [{**one, name: value} for one, value in zip(queries, values, strict=True)]
    (root / "corpus.jsonl").write_text(lines(documents))
    (root / "queries.jsonl").write_text(lines(queries))
    links = "".join(f"q{i}\td{i}\t1\n" for i in range(6))
    (root / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + links)
    return root


# Row 3: nested vectors


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float64(), 4), 2)], ids=str
)
def test_several_vectors_a_row_are_refused(kind: Any, tmp_path: Path) -> None:
    nested = pa.array(VECTORS.reshape(60, 2, 4).tolist(), kind)
    with pytest.raises(DataError, match=r"row 0 \(id 'r0'\).*several vectors.*pool them"):
        valid(parquet(tmp_path, embedding=nested))


def test_neighbours_of_several_vectors_a_row(tmp_path: Path) -> None:
    tensor = pa.fixed_shape_tensor(pa.float32(), [2, 4])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), 8)
    for number, column in enumerate(
        (
            pa.ExtensionArray.from_storage(tensor, storage),
            pa.array([json.dumps(one) for one in VECTORS.reshape(60, 2, 4).tolist()]),
        )
    ):
        with pytest.raises(DataError, match="several vectors"):
            valid(parquet(tmp_path, f"{number}.parquet", embedding=column))
    np.save(tmp_path / "d.npy", VECTORS.reshape(60, 2, 4))
    np.save(tmp_path / "d.label.npy", _LABELS)
    with pytest.raises(DataError, match="several vectors"):
        valid(tmp_path / "d.npy")
    one = pa.array([[row] for row in VECTORS.tolist()], pa.list_(pa.list_(pa.float32())))
    assert valid(parquet(tmp_path, embedding=one)) == VALID
    flat = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [8]), storage)
    assert valid(parquet(tmp_path, embedding=flat)) == VALID


# Row 7: types that drift between parts

_FLOATS, _FIXED = pa.list_(pa.float32()), pa.list_(pa.float32(), 8)
DRIFTS: list[tuple[str, Any, Any]] = [
    ("label", pa.int32(), pa.int64()),
    ("label", pa.int64(), pa.uint64()),
    ("label", pa.int8(), pa.uint32()),
    ("label", pa.int64(), pa.float64()),
    ("label", pa.float32(), pa.float64()),
    ("label", pa.float16(), pa.float64()),
    ("label", pa.string(), pa.dictionary(pa.int32(), pa.string())),
    ("label", pa.string(), pa.large_string()),
    ("label", pa.string_view(), pa.large_string()),
    ("label", pa.timestamp("s"), pa.timestamp("ns")),
    ("label", pa.duration("ms"), pa.duration("us")),
    ("label", pa.date32(), pa.date64()),
    ("label", pa.decimal128(5, 0), pa.decimal128(20, 2)),
    ("label", pa.decimal128(5, 0), pa.decimal256(60, 2)),
    ("id", pa.int32(), pa.uint64()),
    ("id", pa.int64(), pa.float64()),
    ("id", pa.string(), pa.large_string()),
    ("embedding", _FLOATS, pa.list_(pa.float64())),
    ("embedding", _FLOATS, pa.list_(pa.float32(), 8)),
    ("embedding", pa.list_(pa.float16()), pa.large_list(pa.float32())),
    ("embedding", _FIXED, pa.list_(pa.float64(), 8)),
]


def _as(name: str, kind: Any, part: slice) -> Any:
    """Return a part of a column of the base as another type."""
    if name == "embedding":
        return pa.array(VECTORS[part].round(1).astype(np.float16).astype(float).tolist()).cast(kind)
    whole = range(60) if name == "id" else _LABELS.tolist()
    values = pa.array(list(whole)[part])
    types = pa.types
    if types.is_dictionary(kind):
        return values.cast(pa.string()).dictionary_encode()
    if types.is_string_view(kind):
        return values.cast(pa.string()).cast(kind)
    if types.is_decimal(kind):
        return pa.array([decimal.Decimal(one) for one in values.to_pylist()], kind)
    if types.is_timestamp(kind) or types.is_duration(kind):
        first = pa.timestamp("s") if types.is_timestamp(kind) else pa.duration("s")
        return values.cast(first).cast(kind)
    if types.is_date(kind):
        return values.cast(pa.int32()).cast(pa.date32()).cast(kind)
    return values.cast(kind)


@pytest.mark.sampled(20)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("name", "first", "second"), DRIFTS, ids=str)
def test_types_that_drift_are_widened(
    name: str, first: Any, second: Any, swapped: bool, tmp_path: Path
) -> None:
    if swapped:
        first, second = second, first
    for number, kind in enumerate((first, second)):
        part = slice(30 * number, 30 * number + 30)
        columns = {one: values[part] for one, values in BASE.items()}
        parquet(tmp_path, f"d/{number}.parquet", **{**columns, name: _as(name, kind, part)})
    run = mined(tmp_path / "d")
    assert run.manifest["census"]["valid"] == VALID
    assert run.manifest["dataset"]["classes"] == 6
    if name == "id":
        assert [str(one) for one in run.census()["anchor_id"].to_pylist()] == [
            str(number) for number in range(60)
        ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.int64(), pa.string()),
        (pa.bool_(), pa.int8()),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.timestamp("ms"), pa.timestamp("ms", "UTC")),
        (pa.string(), pa.binary()),
    ],
    ids=str,
)
def test_other_types_stay_refused_where_they_are_used(
    first: Any, second: Any, tmp_path: Path
) -> None:
    for number, kind in enumerate((first, second)):
        columns = {one: values[30 * number : 30 * number + 30] for one, values in BASE.items()}
        odd = pa.nulls(30, kind)
        parquet(tmp_path, f"d/{number}.parquet", **columns, odd=odd)
    assert valid(tmp_path / "d") == VALID
    with pytest.raises(DataError, match=r"1\.parquet, column 'odd' is .*write them with one type"):
        valid(tmp_path / "d", label="odd")


def test_values_that_floats_cannot_hold_are_named(tmp_path: Path) -> None:
    halves = {one: (values[:30], values[30:]) for one, values in BASE.items()}
    first = {one: values for one, (values, _) in halves.items()}
    second = {one: values for one, (_, values) in halves.items()}
    parquet(tmp_path, "d/0.parquet", **first | {"label": pa.array([2**53 + 1] * 30)})
    parquet(tmp_path, "d/1.parquet", **second | {"label": pa.array([0.0] * 30)})
    with pytest.raises(
        DataError, match=r"row 0 and after, column 'label' is int64.*9007199254740993"
    ):
        valid(tmp_path / "d")


def test_parts_may_differ_in_columns_that_are_not_used(tmp_path: Path) -> None:
    for number in range(2):
        columns = {one: values[30 * number : 30 * number + 30] for one, values in BASE.items()}
        more = {f"only{number}": pa.array(range(30))}
        parquet(tmp_path, f"d/{number}.parquet", **columns, **more)
    assert valid(tmp_path / "d") == VALID
    with pytest.raises(
        DataError, match=r"0\.parquet has no column 'only1', which .*1\.parquet has"
    ):
        valid(tmp_path / "d", group="only1")


def test_empty_and_null_parts_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    every = rows(group=[None] * 30 + [f"g{n}" for n in range(30)])
    (tmp_path / "d" / "0.jsonl").write_text(lines(every[:30]))
    (tmp_path / "d" / "1.jsonl").write_text(lines(every[30:]))
    assert valid(tmp_path / "d", group="group") == VALID


# Row 8: a field that nobody asked for


def test_a_field_that_is_not_used_may_change_its_type(tmp_path: Path) -> None:
    metadata = [{"a": 1}, {"a": "x"}, 7, "x", [1, ["x"]], None]
    root = beir(tmp_path, metadata=metadata)
    assert valid(root, LETTERS) == 138
    path = tmp_path / "d.jsonl"
    path.write_text(lines(rows(mixed=[[n, str(n), {"a": n}][n % 3] for n in range(60)])))
    assert valid(path) == VALID
    with pytest.raises(DataError, match=r"line 2: Column\(/mixed\) changed from number to string"):
        valid(path, label="mixed")


# Row 9: file names


@pytest.mark.sampled(6)
@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("name", ["d.json", "d.jsonl", "d.json.gz", "d.json.zst"])
def test_json_is_read_by_its_content(name: str, indent: int | None, tmp_path: Path) -> None:
    mean = [f'a "quoted", \\ [{{text}}] \\\\ {n}\u2028 \n é' for n in range(60)]
    whole = json.dumps(rows(other=mean), indent=indent, ensure_ascii=bool(indent)).encode()
    packed(tmp_path / name, b"\xef\xbb\xbf\n " + whole + b"\n")
    assert valid(tmp_path / name) == VALID
    assert valid(tmp_path / name, LETTERS, content="other") == VALID
    packed(tmp_path / name, lines(rows(other=mean)).encode())
    assert valid(tmp_path / name, LETTERS, content="other") == VALID


def packed(path: Path, content: bytes) -> Path:
    """Write bytes, compressed as the name of the file says."""
    if path.suffix == ".gz":
        content = gzip.compress(content)
    if path.suffix == ".zst":
        content = pa.compress(content, "zstd", asbytes=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{}, {}", "cut off after 2 objects"),
        ('[{"id": 1}, {"id": ', "cut off after 2 objects"),
        ("[{},, {}]", "element 2 of the array is no JSON object"),
        ("[{} {}]", "element 2 of the array"),
        ("[{}, {},]", "element 3 of the array"),
        ("[{}], {}", "element 2 of the array"),
        ("[{}] [{}]", "element 2 of the array"),
        ("[1, 2]", "element 1 of the array"),
        ('["a", {}]', "element 1 of the array"),
        ("[[1], [2]]", "element 1 of the array"),
        ('[{"id": 1}, {"id": "x}]', "cut off"),
        ('[{"text": "a", "label": 1}, {"text": tru}]', "element 2"),
        ("[]", "nothing but blank lines"),
        ('{\n"a": 1\n}', "line 2 is not a JSON object"),
    ],
)
def test_broken_arrays_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DataError, match=said):
        valid(tmp_path / "d.json")


def test_arrays_of_many_blocks(tmp_path: Path) -> None:
    """Borders of blocks fall everywhere: into texts, between a backslash and its letter."""
    texts = ['\\"' * (n % 7) + "\\" * (n % 5) + f"]}},[{{ {n}" for n in range(60_000)]
    objects = [{"text": one, "label": n % 3, "id": n} for n, one in enumerate(texts)]
    (tmp_path / "d.json").write_text(json.dumps(objects))
    (tmp_path / "d.jsonl").write_text(lines(objects))
    read = [
        pa.Table.from_batches(open_table(str(tmp_path / name)).batches(["text", "id"]))
        for name in ("d.json", "d.jsonl")
    ]
    assert read[0].to_pylist() == read[1].to_pylist() and len(read[0]) == 60_000


def test_json_that_describes_is_no_data(tmp_path: Path) -> None:
    parquet(tmp_path, "d/a.parquet")
    (tmp_path / "d" / "dataset_info.json").write_text('{"features": {}}')
    assert valid(tmp_path / "d") == VALID
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "a.json").write_text(lines(rows()))
    assert valid(tmp_path / "e") == VALID


@pytest.mark.parametrize("cut", [10, -1])
def test_a_damaged_zst_is_named(cut: int, tmp_path: Path) -> None:
    path = packed(tmp_path / "d.csv.zst", b"text,label\n" + b"a,1\nb,1\nc,2\nd,2\n" * 999)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"d\.csv\.zst cannot be read: Truncated"):
        valid(path, LETTERS)


# Row 10: numbers as ids


def test_ids_of_json_beyond_63_bits(tmp_path: Path) -> None:
    ids = [2**63 - 30 + n for n in range(59)] + [2**64 - 1]
    (tmp_path / "d.jsonl").write_text(lines(rows(id=ids)))
    run = mined(tmp_path / "d.jsonl")
    assert run.census()["anchor_id"].to_pylist() == ids
    assert run.census()["anchor_id"].type == pa.uint64()
    (tmp_path / "d.jsonl").write_text(lines(rows(id=[2**64 + n for n in range(60)])))
    with pytest.raises(DataError, match="cast them to text, or to int64"):
        valid(tmp_path / "d.jsonl")


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()], ids=str)
def test_whole_floats_are_ids(kind: Any, tmp_path: Path) -> None:
    run = mined(parquet(tmp_path, id=pa.array([float(n) for n in range(60)], kind)))
    assert run.census()["anchor_id"].to_pylist() == list(range(60))
    assert run.census()["anchor_id"].type == pa.int64()
    halves = pa.array([n / 2 for n in range(60)], kind)
    with pytest.raises(DataError, match=r"column 'id': ids must be.* such as 0\.5; cast them"):
        valid(parquet(tmp_path, id=halves))
    with pytest.raises(DataError, match="row 3 has no id"):
        valid(parquet(tmp_path, id=pa.array([0.0, 1.0, 2.0, float("nan"), *range(4, 60)], kind)))


def test_whole_floats_link_and_are_filtered(tmp_path: Path) -> None:
    for name, count in (("q", 6), ("c", 24)):
        table = {
            "id": [float(n) for n in range(count)],
            "text": [f"{name} {n}" for n in range(count)],
        }
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    links = {"query_id": list(map(float, range(6))), "corpus_id": [n + 6.0 for n in range(6)]}
    pq.write_table(pa.table(links), tmp_path / "l.parquet")
    job: dict[str, Any] = {
        "dataset": {
            "queries": str(tmp_path / "q.parquet"),
            "corpus": str(tmp_path / "c.parquet"),
            "links": str(tmp_path / "l.parquet"),
        },
        "model": {"name": LETTERS},
        "output": {"path": str(tmp_path / "out"), "report": False},
    }
    run = miner.mine(job)
    assert run.manifest["dataset"]["links"] == 6
    assert run.census()["anchor_id"].to_pylist() == list(range(6))


# Row 11: logical types


def _uuids(count: int) -> Any:
    storage = pa.array([bytes([n]) * 16 for n in range(count)], pa.binary(16))
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _many(column: Any) -> Any:
    return pa.concat_arrays([column.slice(n, 1) for n in _LABELS.tolist()])


LABELS: dict[str, Any] = {
    "uuid": _uuids(6),
    "json": pa.ExtensionArray.from_storage(
        pa.json_(), pa.array([f'{{"a": {n}}}' for n in range(6)])
    ),
    "opaque": pa.ExtensionArray.from_storage(
        pa.opaque(pa.int32(), "a", "b"), pa.array(range(6), pa.int32())
    ),
    "date": pa.array(range(6), pa.int32()).cast(pa.date32()),
    "time": pa.array(range(6), pa.time64("ns")),
    "seconds": pa.array(range(6), pa.timestamp("s")),
    "zone": pa.array(range(6), pa.timestamp("ns", "Europe/Berlin")),
    "duration": pa.array(range(6), pa.duration("s")),
    "decimal": pa.array([decimal.Decimal(n) for n in range(6)], pa.decimal256(60, 2)),
    "small decimal": pa.array([decimal.Decimal(n) for n in range(6)], pa.decimal32(5, 2)),
    "half": pa.array([float(n) for n in range(6)], pa.float16()),
    "bytes": pa.array([b"a%d" % n for n in range(6)]),
    "view": pa.array([f"a{n}" for n in range(6)], pa.string_view()),
    "dictionary": pa.array([f"a{n}" for n in range(6)]).dictionary_encode(),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_any_type(name: str, tmp_path: Path) -> None:
    path = parquet(tmp_path, label=_many(LABELS[name])) if name != "opaque" else None
    if path is None or name == "small decimal":
        table = pa.table({**BASE, "label": _many(LABELS[name])})
        path = tmp_path / "d.arrow"
        path.write_bytes(arrow_bytes(table))
    run = mined(path)
    assert run.manifest["census"]["valid"] == VALID
    assert run.manifest["dataset"]["classes"] == 6


def test_labels_of_bool8(tmp_path: Path) -> None:
    storage = pa.array((_LABELS % 2).tolist(), pa.int8())
    path = parquet(tmp_path, label=pa.ExtensionArray.from_storage(pa.bool8(), storage))
    assert valid(path) == 60 * 29 * 30


def test_ids_of_any_type(tmp_path: Path) -> None:
    run = mined(parquet(tmp_path, id=_uuids(60)))
    assert run.census()["anchor_id"][1].as_py() == "01010101-0101-0101-0101-010101010101"
    run = mined(parquet(tmp_path, id=pa.array(range(60), pa.int32()).cast(pa.date32())))
    assert run.census()["anchor_id"][1].as_py() == "1970-01-02"
    run = mined(parquet(tmp_path, id=pa.array(range(60), pa.timestamp("us"))))
    assert run.census()["anchor_id"][1].as_py() == "1970-01-01 00:00:00.000001"
    run = mined(
        parquet(
            tmp_path, id=pa.array([decimal.Decimal(n) for n in range(60)], pa.decimal256(50, 1))
        )
    )
    assert run.census()["anchor_id"][1].as_py() == "1.0"
    with pytest.raises(DataError, match="ids must be text or whole numbers, not binary; cast them"):
        valid(parquet(tmp_path, id=pa.array([b"%d" % n for n in range(60)])))


def test_content_of_extension_types(tmp_path: Path) -> None:
    half = pa.array(VECTORS.astype(np.float16).tolist(), pa.list_(pa.float16()))
    assert valid(parquet(tmp_path, embedding=half)) == VALID
    texts = pa.ExtensionArray.from_storage(pa.json_(), pa.array([f'["{n}"]' for n in range(60)]))
    assert valid(parquet(tmp_path, embedding=None, text=texts), LETTERS) == VALID
    with pytest.raises(DataError, match="must hold text, images or lists of numbers"):
        valid(
            parquet(tmp_path, embedding=None, text=pa.array(range(60), pa.duration("s"))), LETTERS
        )


# Row 12: quantised vectors


@pytest.mark.parametrize(
    ("column", "model"),
    [
        ("list", None),
        ("list", "precomputed"),
        ("bytes", None),
        ("bytes", "precomputed"),
        ("int8", None),
        ("npy", None),
    ],
)
def test_quantised_vectors_are_refused(column: str, model: str | None, tmp_path: Path) -> None:
    bits = np.packbits(VECTORS > 0, axis=1).repeat(2, axis=1)
    columns = {
        "list": pa.array(bits.tolist(), pa.list_(pa.uint8())),
        "bytes": pa.array([one.tobytes() for one in bits], pa.binary(2)),
        "int8": pa.array(bits.view(np.int8).tolist(), pa.list_(pa.int8(), 2)),
    }
    if column == "npy":
        path = tmp_path / "d.npy"
        np.save(path, bits)
        np.save(tmp_path / "d.label.npy", _LABELS)
    else:
        path = parquet(tmp_path, embedding=columns[column])
    with pytest.raises(DataError, match="quantised vectors"):
        valid(path, model)


# Row 14: missing values


def test_an_empty_label_is_no_label_in_any_format(tmp_path: Path) -> None:
    labels = ["" if n < 6 else f"c{n % 6}" for n in range(60)]
    texts = [f"text {n}" for n in range(60)]
    table = pa.table({"id": BASE["id"], "text": texts, "label": labels})
    pq.write_table(table, tmp_path / "d.parquet")
    listed = pa.array([[one] for one in labels])
    pq.write_table(table.set_column(2, "label", listed), tmp_path / "lists.parquet")
    pq.write_table(
        table.set_column(2, "label", pa.array(labels).dictionary_encode()), tmp_path / "c.parquet"
    )
    pa.csv.write_csv(table, tmp_path / "d.csv")
    (tmp_path / "d.jsonl").write_text(lines(table.to_pylist()))
    np.savez(
        tmp_path / "d.npz",
        text=np.array(texts),
        label=np.array(labels),
        id=np.array(table["id"]).astype(str),
    )
    for name in ("d.parquet", "lists.parquet", "c.parquet", "d.csv", "d.jsonl", "d.npz"):
        run = mined(tmp_path / name, LETTERS)
        assert run.manifest["census"]["valid"] == 6 * 9 * 8 * 45, name
        assert run.manifest["dataset"]["skipped"]["unlabelled"] == 6
        assert "missing_names" not in run.manifest["dataset"]


@pytest.mark.parametrize("name", ["NA", "null", "nan", "None", " n/a ", "<NA>", "  "])
def test_classes_called_like_a_missing_value(name: str, tmp_path: Path) -> None:
    labels = [name if n % 6 == 0 else f"c{n % 6}" for n in range(60)]
    path = parquet(tmp_path, label=pa.array(labels))
    run = mined(path)
    assert run.manifest["census"]["valid"] == VALID
    assert run.manifest["dataset"]["missing_names"] == {name: 10}
    warned = {one["name"]: one for one in run.manifest["warnings"]}
    assert repr(name) in warned["missing_names"]["text"]
    listed = mined(parquet(tmp_path, label=pa.array([[one] for one in labels])))
    assert listed.manifest["dataset"]["missing_names"] == {name: 10}


# Row 15: qrels


@pytest.mark.parametrize(
    "name", ["train.tsv", "train.txt", "train.qrels", "train.trec", "train.tsv.zst"]
)
@pytest.mark.parametrize("gap", ["\t", " "])
def test_qrels_of_three_columns_without_a_header(name: str, gap: str, tmp_path: Path) -> None:
    root = beir(tmp_path)
    (root / "qrels" / "train.tsv").unlink()
    text = "".join(f"q{i}{gap}d{i}{gap}{'1' if i % 2 else '1.0'}\n" for i in range(6))
    packed(root / "qrels" / name, text.encode())
    assert valid(root, LETTERS) == 138


@pytest.mark.parametrize("name", ["train.tsv", "train.txt", "train.qrels"])
def test_a_run_file_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    root = beir(tmp_path)
    (root / "qrels" / "train.tsv").unlink()
    (root / "qrels" / name).write_text("q0 Q0 d1 1 13.25 bm25\nq0 Q0 d2 2 11 bm25\n")
    with pytest.raises(DataError, match=r"line 1: a run file of 6 columns.*qrels have 4"):
        valid(root, LETTERS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("q0 d1", r"line 7: found 2 columns \(q0 d1\), not a query, an iteration"),
        ("q0 0 d1 1 x", r"found 5 columns"),
        ("q0 0 d1 high", r"found 4 columns \(q0 0 d1 high\)"),
        ("q0 d1 1", r"found 3 columns"),
        ("q0 Q0 d1 1 13.25 bm25", "a run file of 6 columns"),
    ],
)
def test_other_lines_of_qrels_are_named(line: str, said: str, tmp_path: Path) -> None:
    root = beir(tmp_path)
    (root / "qrels" / "train.tsv").unlink()
    good = "".join(f"q{i} 0 d{i} 1\n" for i in range(6))
    (root / "qrels" / "train.qrels").write_text(good + line + "\n")
    with pytest.raises(DataError, match=said):
        valid(root, LETTERS)


# Row 23: CSV dialects


def csv_text(mark: str, **columns: list[str]) -> str:
    every = {"id": [f"r{n}" for n in range(60)], "label": [f"c{n % 6}" for n in range(60)]}
    every |= {"text": [f'"some{mark} text, é; {n}"' for n in range(60)], **columns}
    head = mark.join(every)
    body = [mark.join(row) for row in zip(*every.values(), strict=True)]
    return "\n".join([head, *body]) + "\n"


@pytest.mark.parametrize("mark", [",", ";", "|", "\t"])
@pytest.mark.parametrize("named", [False, True])
def test_separators_are_seen_in_the_header(mark: str, named: bool, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text((f"sep={mark}\n" if named else "") + csv_text(mark), encoding="utf-8")
    assert valid(path, LETTERS) == VALID
    reference = tmp_path / "reference.csv"
    reference.write_text(csv_text(","), encoding="utf-8")
    other = mined(reference, LETTERS).census().drop_columns(["hard", "semi_hard", "easy"])
    assert mined(path, LETTERS).census().drop_columns(["hard", "semi_hard", "easy"]).equals(other)


def test_separators_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(csv_text("~"), encoding="utf-8")
    assert valid(tmp_path / "d.csv", LETTERS, separator="~") == VALID
    for wrong in ("", "ab", '"', "\n", "é"):
        with pytest.raises(UsageError, match=r"dataset\.separator = .* must be one character"):
            valid(tmp_path / "d.csv", LETTERS, separator=wrong)
    (tmp_path / "e.csv").write_text("id;a|label;b|text\n1;2|3;4|5\n")
    with pytest.raises(DataError, match=r"may be separated by any of.*dataset\.separator"):
        valid(tmp_path / "e.csv", LETTERS)


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"]
)
@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.jsonl", "d.json.zst"])
def test_encodings_can_be_named(encoding: str, name: str, tmp_path: Path) -> None:
    objects = [{"id": n, "label": f"c{n % 6}", "text": f"Grüße {n}"} for n in range(60)]
    text = (
        csv_text(";")
        if ".csv" in name
        else "\n".join(json.dumps(o, ensure_ascii=False) for o in objects)
    )
    if ".json." in name:
        text = json.dumps(objects, ensure_ascii=False)
    path = packed(tmp_path / name, text.encode(encoding))
    run = mined(path, LETTERS, encoding=encoding)
    assert run.manifest["census"]["valid"] == VALID
    plain = packed(tmp_path / f"u-{name}", text.encode())
    assert mined(plain, LETTERS).census().equals(run.census())
    if encoding != "utf-8-sig":
        with pytest.raises(DataError, match=r"dataset\.encoding"):
            valid(path, LETTERS)


def test_a_wrong_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(csv_text(",").encode())
    with pytest.raises(DataError, match=r"d\.csv is not utf-16, which dataset\.encoding names"):
        valid(tmp_path / "d.csv", LETTERS, encoding="utf-16")
    for wrong in ("latin-99", "hex", "a\0b", ""):
        with pytest.raises(UsageError, match=r"dataset\.encoding = .* is no encoding"):
            valid(tmp_path / "d.csv", LETTERS, encoding=wrong)


# Row 24: arrays


@pytest.mark.parametrize(
    "names",
    [
        ("embedding", "label", "id"),
        ("embeddings", "labels", "ids"),
        ("X", "y", "ids"),
        ("features", "target", "id"),
        ("vectors", "labels", "keys"),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_usual_names_of_arrays(names: tuple[str, str, str], kind: str, tmp_path: Path) -> None:
    arrays = dict(zip(names, (VECTORS, _LABELS, np.arange(60) + 7), strict=True))
    arrays["class_names"] = np.arange(6)  # of another length: not used
    path = arrays_file(tmp_path / f"d.{kind}", arrays)
    run = mined(path)
    assert run.manifest["census"]["valid"] == VALID
    assert run.census()["anchor_id"].to_pylist() == [n + 7 for n in range(60)]
    assert valid(path, content=names[0], label=names[1], id=names[2]) == VALID
    with pytest.raises(DataError, match="arrays of different lengths"):
        valid(path, label="class_names")


_CODES = {"f": "F", "i": "I", "u": "U"}


def arrays_file(path: Path, arrays: dict[str, Any]) -> Path:
    """Write arrays as an .npz or as safetensors, by hand."""
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
        return path
    header, body = {}, b""
    for name, array in arrays.items():
        kind = (
            "BOOL" if array.dtype.kind == "b" else f"{_CODES[array.dtype.kind]}{8 * array.itemsize}"
        )
        place = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        body += array.tobytes()
    text = json.dumps({"__metadata__": {"made": "by hand"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    short = (VECTORS.view(np.uint32) >> 16).astype(np.uint16)
    path = arrays_file(tmp_path / "d.safetensors", {"embedding": short, "label": _LABELS})
    path.write_bytes(
        path.read_bytes()
        .replace(b'"U16"', b'"BF16"', 1)
        .replace(b'"made": "by hand"', b'"made": "by han"', 1)
    )
    wide = (short.astype(np.uint32) << 16).view(np.float32)
    np.savez(tmp_path / "d.npz", embedding=wide, label=_LABELS)
    assert mined(path).census().equals(mined(tmp_path / "d.npz").census())


def test_safetensors_as_the_library_writes_them(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"embeddings": VECTORS, "labels": _LABELS}, tmp_path / "d.safetensors")
    assert valid(tmp_path / "d.safetensors") == VALID


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no safetensors file"),
        (b"\xff" * 8, "no safetensors file"),
        (b"\2\0\0\0\0\0\0\0{]", "its header is no JSON"),
        (b"\2\0\0\0\0\0\0\0[]", "no JSON object"),
        (b"\2\0\0\0\0\0\0\0{}", "no rows"),
        ({"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}, "has the type F8_E4M3"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "bytes 0 to 8 of 4"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 2]}, "its shape needs 4"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 2]}, "no shape or place"),
        ({"dtype": "F32", "shape": [2**60, 8], "data_offsets": [0, 4]}, "its shape needs"),
        ({"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}, "no shape or place"),
        (7, "has the type None"),
    ],
)
def test_broken_safetensors_are_named(content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    if not isinstance(content, bytes):
        text = json.dumps({"embedding": content}).encode()
        content = len(text).to_bytes(8, "little") + text + b"\0" * 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        valid(path)


def test_objects_in_an_array_that_is_not_used(tmp_path: Path) -> None:
    odd = np.array([{"a": 1}] * 60, dtype=object)
    np.savez(tmp_path / "d.npz", embedding=VECTORS, label=_LABELS, odd=odd)
    assert valid(tmp_path / "d.npz") == VALID
    with pytest.raises(DataError, match="Python objects, which are not loaded"):
        valid(tmp_path / "d.npz", label="odd")


# Row 26: vectors with metadata next to them


def laion(folder: Path, parts: int, *, apart: bool = False) -> Path:
    """Write the base as numbered parts of 5 rows."""
    for number in range(parts):
        part = slice(5 * number, 5 * number + 5)
        names = ("img_emb/", "metadata/") if apart else ("", "")
        vectors = folder / "laion" / f"{names[0]}img_emb_{number}.npy"
        vectors.parent.mkdir(parents=True, exist_ok=True)
        np.save(vectors, VECTORS[part])
        columns = {
            "id": BASE["id"][part],
            "label": BASE["label"][part],
            "caption": pa.array(["x"] * 5),
        }
        parquet(folder, f"laion/{names[1]}metadata_{number}.parquet", **columns, embedding=None)
    return folder / "laion"


@pytest.mark.parametrize("apart", [False, True])
def test_numbered_vectors_and_metadata_are_joined(apart: bool, tmp_path: Path) -> None:
    root = laion(tmp_path, 12, apart=apart)  # 10 comes after 9, not after 1
    run = mined(root)
    whole = mined(parquet(tmp_path))
    assert run.manifest["census"]["valid"] == VALID
    assert run.census().equals(whole.census())
    assert len(run.manifest["dataset"]["files"]) == 24
    pattern = root / ("img_emb/*.npy" if apart else "*.npy")
    job = {
        "dataset": {"path": str(pattern)},
        "output": {"path": str(tmp_path / "out"), "report": False},
    }
    assert miner.mine(job).census().equals(whole.census())


def test_vectors_and_metadata_that_do_not_agree(tmp_path: Path) -> None:
    root = laion(tmp_path, 12)
    np.save(root / "img_emb_3.npy", VECTORS[:4])
    with pytest.raises(DataError, match=r"img_emb_3\.npy has 4 rows, .*metadata_3\.parquet has 5"):
        valid(root)
    (root / "img_emb_3.npy").unlink()
    with pytest.raises(
        DataError, match=r"11 files of vectors.*12 tables.*the number 3 is not in both"
    ):
        valid(root)
    laion(tmp_path, 12)
    np.save(root / "text_emb_0.npy", VECTORS[:5])
    with pytest.raises(DataError, match=r"vectors of several names \(img_emb_, text_emb_\)"):
        valid(root)
    (root / "text_emb_0.npy").unlink()
    np.save(root / "img_emb_3.npy", VECTORS[:5, :4])
    with pytest.raises(DataError, match=r"img_emb_3\.npy has vectors of \(4,\)"):
        valid(root)


@pytest.mark.parametrize(
    "table", ["labels.csv", "features.csv", "labels.parquet", "features.jsonl.gz"]
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_table_next_to_vectors(table: str, folder: bool, tmp_path: Path) -> None:
    root = tmp_path / "d"
    root.mkdir()
    np.save(root / "features.npy", VECTORS)
    short = [{"id": f"r{n}", "label": f"c{n % 6}"} for n in range(60)]
    if table.endswith("csv"):
        (root / table).write_text("id,label\n" + "".join(f"r{n},c{n % 6}\n" for n in range(60)))
    elif table.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(short), root / table)
    else:
        packed(root / table, lines(short).encode())
    run = mined(root if folder else root / "features.npy")
    assert run.census().equals(mined(parquet(tmp_path)).census())


def test_a_table_next_to_vectors_with_another_count(tmp_path: Path) -> None:
    root = tmp_path / "d"
    root.mkdir()
    np.save(root / "features.npy", VECTORS)
    (root / "labels.csv").write_text("label\n" + "".join(f"c{n % 6}\n" for n in range(59)))
    for path in (root, root / "features.npy"):
        with pytest.raises(DataError, match=r"features\.npy has 60 rows, .*labels\.csv has 59"):
            valid(path)
    (root / "labels.csv").rename(root / "other.csv")
    with pytest.raises(DataError, match=r"other\.csv in its folder is not read.*features\.csv"):
        valid(root / "features.npy")


# All formats


def saved(folder: Path) -> Path:
    """Write the base as `datasets` saves it."""
    place = folder / "saved"
    place.mkdir()
    (place / "state.json").write_text('{"_data_files": [{"filename": "d.arrow"}]}')
    (place / "d.arrow").write_bytes(arrow_bytes(pa.table(BASE), stream=True))
    return place


def saved_by_the_library(folder: Path) -> Path:
    """Write the base by `datasets` itself."""
    datasets = pytest.importorskip("datasets")
    datasets.Dataset(pa.table(BASE)).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def _text(folder: Path, name: str, content: str) -> Path:
    return packed(folder / name, content.encode())


def _delimited(mark: str) -> str:
    body = (
        mark.join([one["id"], one["label"], f'"{json.dumps(one["embedding"])}"']) for one in rows()
    )
    return "\n".join([mark.join(("id", "label", "embedding")), *body]) + "\n"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "csv": lambda folder: _text(folder, "d.csv", _delimited(",")),
    "semicolons": lambda folder: _text(folder, "d.csv.gz", _delimited(";")),
    "tsv": lambda folder: _text(folder, "d.tsv.zst", _delimited("\t")),
    "lines": lambda folder: _text(folder, "d.jsonl", lines(rows())),
    "array": lambda folder: _text(folder, "d.json", json.dumps(rows(), indent=1)),
    "arrow": lambda folder: _arrow(folder),
    "npz": lambda folder: arrays_file(
        folder / "d.npz",
        {
            "embedding": VECTORS,
            "label": np.array(BASE["label"]).astype(str),
            "id": np.array(BASE["id"]).astype(str),
        },
    ),
    "saved": saved,
    "saved by the library": saved_by_the_library,
}


def _arrow(folder: Path) -> Path:
    (folder / "d.arrow").write_bytes(arrow_bytes(pa.table(BASE)))
    return folder / "d.arrow"


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_rows_give_the_same_shards(name: str, tmp_path: Path) -> None:
    run = mined(WRITERS[name](tmp_path))
    assert run.manifest["census"]["valid"] == VALID
    reference = mined(parquet(tmp_path))
    assert facts(run) == facts(reference)


def test_the_same_tensors_give_the_same_shards(tmp_path: Path) -> None:
    arrays = {"embedding": VECTORS, "label": _LABELS, "id": np.arange(60)}
    run = mined(arrays_file(tmp_path / "d.safetensors", arrays))
    reference = mined(arrays_file(tmp_path / "d.npz", arrays))
    assert facts(run) == facts(reference)


def facts(run: miner.Run) -> list[Any]:
    """Return the rows of a run, with the types of their columns."""
    tables = [run.triplets(name).to_table() for name in ("hard", "semi_hard")]
    return [table.replace_schema_metadata(None) for table in (*tables, run.census())]

"""Types of columns: ids keep theirs, and every kind of text, vector and image is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.test_formats import (
    TEXT_MODEL,
    check,
    labelled,
    mine,
    stored,
    text_rows,
    unit,
    vector_rows,
    write,
)


@pytest.mark.parametrize(
    ("name", "ids", "kind", "kept"),
    [
        ("d.csv", ["007", "8", "9", "10"], pa.string(), ["007", "8", "9", "10"]),
        ("d.csv", ["7", "8", "0", "10"], pa.int64(), [7, 8, 0, 10]),
        ("d.csv", ["1e3", "8", "9", "10"], pa.string(), ["1e3", "8", "9", "10"]),
        ("d.tsv", ["2020-01-01", "x", "true", "null"], pa.string(), None),
        ("d.jsonl", ["1", "2", "3", "4"], pa.string(), None),
        ("d.jsonl", ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"], pa.string(), None),
        ("d.jsonl", [5, 6, -7, 8], pa.int64(), None),
        ("d.parquet", pa.array([5, 6, -7, 8], pa.int32()), pa.int32(), [5, 6, -7, 8]),
        ("d.parquet", pa.array(["1", "2", "3", "4"], pa.large_string()), pa.string(), None),
        ("d.parquet", pa.array(["1", "b", "c", "é"], pa.string_view()), pa.string(), None),
        ("d.parquet", pa.array(["a", "b", "c", "d"]).dictionary_encode(), pa.string(), None),
        ("d.npz", np.array([5, 6, 7, 8], np.int32), pa.int32(), [5, 6, 7, 8]),
        ("d.npz", np.array(["07", "b", "c", "d"]), pa.string(), ["07", "b", "c", "d"]),
        ("d.npy", np.array([5, 6, 7, 2**40]), pa.int64(), [5, 6, 7, 2**40]),
    ],
)
def test_ids_keep_their_type(
    name: str, ids: Any, kind: Any, kept: list[Any] | None, tmp_path: Path
) -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.5]]
    path = tmp_path / name
    if isinstance(ids, list):
        given = [
            {"id": i, "embedding": v, "label": n % 2}
            for n, (i, v) in enumerate(zip(ids, vectors, strict=True))
        ]
        write(path, given)
    elif isinstance(ids, np.ndarray):
        columns = {"embedding": np.array(vectors), "label": np.array([0, 1, 0, 1]), "id": ids}
        if path.suffix == ".npz":
            np.savez(path, allow_pickle=False, **columns)
        else:
            np.save(path, columns["embedding"])
            np.save(path.with_name("d.label.npy"), columns["label"])
            np.save(path.with_name("d.id.npy"), ids)
    else:
        pq.write_table(pa.table({"id": ids, "embedding": vectors, "label": [0, 1, 0, 1]}), path)
    run = mine(path, model={"name": "precomputed"})
    wanted = kept or (ids if isinstance(ids, list) else ids.to_pylist())
    assert run.census()["anchor_id"].to_pylist() == wanted
    assert run.census()["anchor_id"].type == kind
    schema = run.triplets("hard").schema
    assert [schema.field(f"{role}_id").type for role in ("anchor", "positive", "negative")] == [
        kind
    ] * 3


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)
def test_text_types_are_all_text(kind: Any, tmp_path: Path) -> None:
    rows = [
        {**row, "label": None if row["label"] is None else f"c{row['label']}"}
        for row in text_rows()
    ]
    columns = {name: [row[name] for row in rows] for name in ("id", "text", "label")}
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({name: _as(kind, values) for name, values in columns.items()}), path)
    assert pq.read_schema(path).field("text").type == kind
    run = mine(path, model=TEXT_MODEL)
    check(run, labelled(stored([{**row, "group": None} for row in rows])))
    schema = run.triplets("hard").schema
    assert {schema.field(name).type for name in schema.names[:6]} == {pa.string()}


def _as(kind: Any, values: list[str | None]) -> Any:
    return pa.array(values, pa.string()).cast(kind)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 6),
    ],
    ids=str,
)
def test_vector_types_are_all_vectors(kind: Any, tmp_path: Path) -> None:
    rows = [{**row, "group": None} for row in vector_rows(24)]
    columns = {name: [row[name] for row in rows] for name in ("id", "label")}
    columns["embedding"] = pa.array([row["embedding"] for row in rows], kind)
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    check(mine(tmp_path / "data.parquet"), labelled(stored(rows)))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.uint8())),
        pa.list_(pa.list_(pa.uint8(), 3), 2),
        pa.list_(pa.list_(pa.float32(), 3)),
        pa.list_(pa.list_(pa.list_(pa.int64())), 2),
    ],
    ids=str,
)
def test_nested_images_are_flat_pixels_and_compared(kind: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 255, (18, 2, 3))
    pixels[10] = pixels[3]  # of another label: a duplicate, for an image is content
    deep = pixels[..., None] if pa.types.is_nested(kind.value_type.value_type) else pixels
    columns = {"id": list(range(18)), "label": [n % 3 for n in range(18)]}
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({**columns, "image": pa.array(deep.tolist(), kind)}), path)
    run = mine(path)
    rows = [
        {
            "id": n,
            "label": n % 3,
            "text": str(pixels[n].tolist()),
            "vector": unit(pixels[n].ravel()),
        }
        for n in range(18)
    ]
    assert run.manifest["model"]["id"] == "pixels"
    expected = labelled(rows)
    assert expected.hidden["duplicates"] == 12  # both classes of 6 miss one row each
    check(run, expected)

"""Readers: the same content gives the same run, whatever the format and the column type."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from tests.oracle import distance

Row = dict[str, Any]
Relation = Callable[[Row, Row], str]

FORMATS = ("parquet", "csv", "tsv", "jsonl", "npz", "npy")
TABLES = FORMATS[:-1]
MARGIN = 0.2
TEXT_MODEL = {"name": "tests.datasets.test_formats:scatter"}
AWKWARD = (
    "plain",
    "0",
    " spaces around ",
    "comma, and more",
    'a "quoted" word',
    "two\nlines",
    "tab\there",
    "Grüße, 東京 🙂",
    "2020-01-01",
    "2020-01-02T10:00:00Z",
    "007",
    "12.50",
    "null",
    "NaN",
    "true",
    "[1, 2]",
)


def scatter(texts: Sequence[str]) -> np.ndarray:
    """Embed each text as four numbers that only its bytes decide."""
    seeds = ([len(text), *text.encode()] for text in texts)
    return np.array([np.random.default_rng(seed).standard_normal(4) for seed in seeds])


def unit(vector: Any) -> np.ndarray:
    """Scale a vector as the stored rows are: in float64, rounded once."""
    wide = np.asarray(vector, dtype=np.float64)
    norm = np.sqrt((wide * wide).sum(-1))
    return (wide / norm if norm else wide).astype(np.float32)


@dataclass(frozen=True)
class Truth:
    """What a run must hold: the census, the triplets of a class by ids, and hidden pairs."""

    census: list[Row]
    triplets: dict[str, dict[tuple[Any, Any, Any], tuple[float, float]]]
    hidden: dict[str, int]


def truth(anchors: Sequence[Row], rows: Sequence[Row], relation: Relation) -> Truth:
    """Go through every (anchor, positive, negative), one by one, and classify it."""
    found = Truth([], {"hard": {}, "semi_hard": {}}, {"itself": 0, "duplicates": 0, "group": 0})
    for a in anchors:
        roles: dict[str, list[Row]] = {"positive": [], "negative": []}
        for r in rows:
            roles.setdefault(relation(a, r), []).append(r)
        counts = {"easy": 0, "semi_hard": 0, "hard": 0}
        for p in roles["positive"]:
            d_ap = distance("euclidean", a["vector"], p["vector"])
            for n in roles["negative"]:
                d_an = distance("euclidean", a["vector"], n["vector"])
                name = "hard" if d_an <= d_ap else "semi_hard" if d_an < d_ap + MARGIN else "easy"
                counts[name] += 1
                if name != "easy":
                    both = float(np.float32(d_ap)), float(np.float32(d_an))
                    found.triplets[name][a["id"], p["id"], n["id"]] = both
        sizes = {f"{role}s": len(roles[role]) for role in ("positive", "negative")}
        found.census.append({"anchor_id": a["id"], **sizes, **counts})
        for reason in found.hidden:
            found.hidden[reason] += len(roles.get(reason, ()))
    return found


def labelled(rows: Sequence[Row]) -> Truth:
    """Mine labelled rows by the definition; `vector` is the stored row, unlabelled rows are out."""
    members = [row for row in rows if row["label"] is not None]

    def relation(a: Row, r: Row) -> str:
        if r is a:
            return "itself"
        if r["label"] == a["label"]:
            return "positive"
        if "text" in r and any(m["text"] == r["text"] for m in members if m["label"] == a["label"]):
            return "duplicates"
        return "group" if r.get("group") is not None and r["group"] == a["group"] else "negative"

    return truth(members, members, relation)


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows in the format of the path's extension; a missing value as the format has it."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    kind = path.suffix[1:]
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
    elif kind in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            writer.writerow(columns)
            writer.writerows([_cell(value) for value in row.values()] for row in rows)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        arrays = {name: _array(values) for name, values in columns.items()}
        if kind == "npz":
            np.savez(path, allow_pickle=False, **arrays)
        else:
            np.save(path, arrays.pop("embedding"))
            for name, values in arrays.items():
                np.save(path.with_name(f"{path.stem}.{name}.npy"), values)
    return path


def _cell(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, list) else value


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def mine(path: Path, **sections: Mapping[str, Any]) -> miner.Run:
    """Mine a file into a folder beside it."""
    job = {name: dict(keys) for name, keys in sections.items()}
    job["dataset"] = {"path": str(path), **job.get("dataset", {})}
    job["mining"] = {"margin": MARGIN, **job.get("mining", {})}
    job["output"] = {"path": str(path.parent / f"out-{path.name}"), **job.get("output", {})}
    return miner.mine(job)


def check(run: miner.Run, expected: Truth) -> None:
    """Compare census, triplets with their distances, and hidden pairs with the truth."""
    assert run.census().to_pylist() == expected.census
    for name, wanted in expected.triplets.items():
        rows = run.triplets(name).to_table().to_pylist()
        found = {(r["anchor_id"], r["positive_id"], r["negative_id"]): r for r in rows}
        assert len(found) == len(rows)
        assert {key: (r["d_ap"], r["d_an"]) for key, r in found.items()} == wanted
    assert run.manifest["dataset"]["hidden"] == {**expected.hidden, "constraints": 0}


def vector_rows(count: int = 36) -> list[Row]:
    """Vectors in 4 classes, one singleton, three unlabelled rows, three groups."""
    rng = np.random.default_rng(5)
    rows = []
    for n in range(count):
        vector = rng.standard_normal(6).astype(np.float32).tolist()
        label = None if n % 13 == 4 else 9 if n == 7 else n % 4
        group = n // 3 if n % 5 == 0 or n % 6 == 1 else None
        rows.append({"id": 900 - 7 * n, "embedding": vector, "label": label, "group": group})
    return rows


def text_rows() -> list[Row]:
    """Awkward texts in 4 classes, some of them in two classes or twice in one."""
    rows = []
    for n, text in enumerate((*AWKWARD, "left out", *AWKWARD[3:8], "plain", "twin", "twin")):
        label = None if text == "left out" else 8 if text == "NaN" else n % 3
        rows.append({"id": f"{n:03d}", "text": text, "label": label, "group": n % 11})
    return rows


def stored(rows: Sequence[Row]) -> list[Row]:
    """Add the stored vector of each row."""
    return [
        {
            **row,
            "vector": unit(row["embedding"] if "embedding" in row else scatter([row["text"]])[0]),
        }
        for row in rows
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_vectors_give_the_same_run(kind: str, tmp_path: Path) -> None:
    rows = vector_rows()
    sections = {"dataset": {"group": "group"}, "model": {"name": "precomputed"}}
    run = mine(write(tmp_path / f"data.{kind}", rows), **sections)
    reference = mine(write(tmp_path / "reference.parquet", rows), **sections)
    expected = labelled(stored(rows))
    assert expected.hidden["group"] > 0 and expected.triplets["hard"]
    check(run, expected)
    assert run.census().equals(reference.census())
    for name in ("hard", "semi_hard"):
        assert run.triplets(name).to_table().equals(reference.triplets(name).to_table())
    facts = run.manifest["dataset"]
    assert (facts["items"], facts["anchors"], facts["classes"]) == (36, 33, 5)
    assert facts["skipped"] == {"unlabelled": 3, "singletons": 1}


@pytest.mark.parametrize("kind", TABLES)
def test_the_same_texts_give_the_same_run(kind: str, tmp_path: Path) -> None:
    rows = text_rows()
    run = mine(write(tmp_path / f"data.{kind}", rows), dataset={"group": "group"}, model=TEXT_MODEL)
    expected = labelled(stored(rows))
    assert min(expected.hidden.values()) > 0
    check(run, expected)
    assert run.manifest["dataset"]["skipped"] == {"unlabelled": 1, "singletons": 1}
    texts = {row["id"]: row["text"] for row in rows}
    for name in ("hard", "semi_hard"):
        for row in run.triplets(name).to_table().to_pylist():
            for role in ("anchor", "positive", "negative"):
                assert row[role] == texts[row[f"{role}_id"]]


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_text_labels_may_be_missing(kind: str, tmp_path: Path) -> None:
    names = {0: "zero", 1: "one", 2: "2020-01-01", 3: "two, three", 9: "alone", None: None}
    rows = [{**row, "label": names[row["label"]]} for row in vector_rows()]
    run = mine(write(tmp_path / f"data.{kind}", rows), model={"name": "precomputed"})
    check(run, labelled(stored([{**row, "group": None} for row in rows])))
    assert run.manifest["dataset"]["skipped"] == {"unlabelled": 3, "singletons": 1}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_model_of_an_embedding_column_is_precomputed(kind: str, tmp_path: Path) -> None:
    rows = [{**row, "group": None} for row in vector_rows(20)]
    bare = [{name: row[name] for name in ("id", "embedding", "label")} for row in rows]
    run = mine(write(tmp_path / f"data.{kind}", bare))
    assert run.manifest["model"]["id"] == "precomputed"
    check(run, labelled(stored(rows)))


def test_without_an_id_column_ids_are_row_numbers(tmp_path: Path) -> None:
    rows = [{"embedding": row["embedding"], "label": row["label"]} for row in vector_rows(20)]
    run = mine(write(tmp_path / "data.jsonl", rows))
    numbered = [{**row, "id": n, "group": None} for n, row in enumerate(rows)]
    assert run.census()["anchor_id"].type == pa.int64()
    check(run, labelled(stored(numbered)))


def test_equal_vectors_are_not_equal_content(tmp_path: Path) -> None:
    rows = [{**row, "group": None} for row in vector_rows(20)]
    rows[9]["embedding"] = rows[0]["embedding"]
    expected = labelled(stored(rows))
    run = mine(write(tmp_path / "data.parquet", rows))
    check(run, expected)
    assert run.manifest["dataset"]["hidden"]["duplicates"] == 0


def test_texts_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", text_rows())
    ids = ["anchor_id", "positive_id", "negative_id", "d_ap", "d_an", "weight"]
    shown = mine(path, model=TEXT_MODEL).triplets("hard").to_table()
    bare = mine(path, model=TEXT_MODEL, output={"content": False}).triplets("hard").to_table()
    assert shown.column_names == ["anchor", "positive", "negative", *ids]
    assert bare.column_names == ids and len(bare) > 0
    assert shown.select(ids).replace_schema_metadata().equals(bare.replace_schema_metadata())


@pytest.mark.parametrize("kind", TABLES)
def test_rows_far_down_keep_their_ids_and_texts(kind: str, tmp_path: Path) -> None:
    """A reader works in batches; labels, ids and texts stay together across their borders."""
    places = {0, 1, 4094, 4095, 4096, 4097, 8190, 8191, 8192, 8193, 8999}
    rows = [
        {"id": 3 * n, "text": f"text, {n}", "label": n % 3 if n in places else None}
        for n in range(9000)
    ]
    run = mine(write(tmp_path / f"data.{kind}", rows), model=TEXT_MODEL)
    check(
        run, labelled(stored([{**row, "group": None} for row in rows if row["label"] is not None]))
    )
    table = run.triplets("hard").to_table()
    assert table["negative"].to_pylist() == [
        f"text, {i // 3}" for i in table["negative_id"].to_pylist()
    ]
    assert run.manifest["dataset"]["skipped"]["unlabelled"] == 9000 - len(places)


def test_a_column_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    """One damaged byte of an Arrow stream: found by the search for bad input."""
    sink = pa.BufferOutputStream()
    table = pa.table({"label": ["a", "b"], "text": ["one", "two"]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    (tmp_path / "d.arrow").write_bytes(data.replace(b"label", b"\xe7abel", 1))
    job = {
        "dataset": {"path": str(tmp_path / "d.arrow")},
        "output": {"path": str(tmp_path / "out")},
    }
    with pytest.raises(miner.MineError, match="the name of a column is no text"):
        miner.mine(job)

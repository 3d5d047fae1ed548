"""Every error says what, where and what to do, in two lines; a finished run stays as it was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from tests.conftest import Result, write_vectors
from tests.sizes import make_small

USAGE, DATA, STORAGE = 2, 3, 6
ADVICE = re.compile(
    r"did you mean|Known:|must|such as|of the form|need|mine init|is it installed|--help|"
    r"\b(add|use|set|name|fill|remove|write|save|put|give|check|correct|export|choose|drop|try|"
    r"let|install|reinstall|pip)\b"
)
LABELS: list[object] = ["a", "a", "b", "b", "c", "c"]


def snapshot(out: Path) -> dict[str, Any]:
    """What a reader of an output folder sees: the pointers, and the bytes of all runs."""
    files = [path for path in (out / "runs").rglob("*") if path.is_file()]
    pointers = {"latest": str((out / "latest").readlink())}
    bytes_of = {str(path.relative_to(out)): path.read_bytes() for path in files}
    return {**pointers, "latest.json": (out / "latest.json").read_bytes(), **bytes_of}


@dataclass(frozen=True)
class Desk:
    """The command line before an output folder with an earlier finished run."""

    cli: Callable[..., Result]
    out: Path

    def refused(self, code: int, *arguments: object, out: object = None) -> str:
        """Run; check exit code, form of the message, and that the earlier run is untouched."""
        before = snapshot(self.out)
        result = self.cli("run", "--quiet", "--out", out or self.out, *arguments)
        assert result.code == code, result.err
        assert result.out == ""
        assert 1 <= len(result.err.strip().splitlines()) <= 2, result.err
        assert "Traceback" not in result.err and "internal error" not in result.err
        assert ADVICE.search(result.err), f"no word of what to do: {result.err}"
        assert snapshot(self.out) == before
        return result.err


def says(message: str, *words: object) -> None:
    """Check that a message has all the words."""
    for word in words:
        assert str(word) in message


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    vectors = np.random.default_rng(4).standard_normal((12, 3)).astype(np.float32)
    data = write_vectors(folder / "good.parquet", vectors, [f"c{n % 3}" for n in range(12)])
    out = {"path": str(folder / "out"), "report": False}
    miner.mine({"dataset": {"path": str(data)}, "output": out})
    return folder


@pytest.fixture
def desk(cli: Callable[..., Result], finished: Path, tmp_path: Path) -> Desk:
    shutil.copytree(finished, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Desk(cli, tmp_path / "out")


@pytest.fixture
def good(desk: Desk) -> Path:
    """Data that could be mined."""
    return desk.out.parent / "good.parquet"


def table(folder: Path, **columns: Any) -> Path:
    path = folder / "data.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def text(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def vectors(rows: int = 6) -> list[list[float]]:
    drawn: list[list[float]] = np.random.default_rng(9).standard_normal((rows, 3)).tolist()
    return drawn


# Files


def test_missing_file_suggests_the_nearest_of_many(desk: Desk, tmp_path: Path) -> None:
    for n in range(120):
        text(tmp_path, f"{n:03d}-other.bin", "x")
    missing = tmp_path / "goood.parquet"
    message = desk.refused(DATA, "--data", missing)
    says(message, "no such file", missing, "did you mean 'good.parquet'?")
    assert len(message) < 2000


def test_missing_folder(desk: Desk, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "good.parquet"
    says(desk.refused(DATA, "--data", missing), "no such file", missing)


def test_unknown_extension(desk: Desk, tmp_path: Path) -> None:
    path = text(tmp_path, "data.xlsx", "x")
    says(desk.refused(DATA, "--data", path), path, "'.xlsx'", "csv", "jsonl", "npy", "parquet")
    bare = text(tmp_path, "data", "x")
    says(desk.refused(DATA, "--data", bare), bare, "without extension", "parquet")


def test_folder_that_is_not_beir(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    message = desk.refused(DATA, "--data", tmp_path / "folder")
    says(message, tmp_path / "folder", "is a folder", "corpus.jsonl")


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl", "npz", "npy"])
def test_empty_file(kind: str, desk: Desk, tmp_path: Path) -> None:
    path = text(tmp_path, f"empty.{kind}", "")
    says(desk.refused(DATA, "--data", path), f"{path} is empty")


@pytest.mark.parametrize("content", ["id,text,label\n", "id,text,label"])
def test_header_only(content: str, desk: Desk, tmp_path: Path) -> None:
    path = text(tmp_path, "data.csv", content)
    says(desk.refused(DATA, "--data", path), path, "mpty")


@pytest.mark.parametrize("kind", ["parquet", "npz", "npy"])
def test_zero_rows(kind: str, desk: Desk, tmp_path: Path) -> None:
    if kind == "parquet":
        path = table(tmp_path, embedding=pa.array([], pa.list_(pa.float32())), label=["a"][:0])
    else:
        path = tmp_path / f"data.{kind}"
        none, labels = np.zeros((0, 3)), np.zeros(0)
        if kind == "npz":
            np.savez(path, embedding=none, label=labels)
        else:
            np.save(path, none)
            np.save(tmp_path / "data.label.npy", labels)
    says(desk.refused(DATA, "--data", path), f"{path} is empty")


def test_truncated_parquet(desk: Desk, good: Path, tmp_path: Path) -> None:
    path = text(tmp_path, "data.parquet", good.read_bytes()[:-30])
    says(desk.refused(DATA, "--data", path), f"{path} cannot be read", "Parquet")


def test_parquet_with_damaged_pages(desk: Desk, good: Path, tmp_path: Path) -> None:
    content = bytearray(good.read_bytes())
    content[4:160] = bytes(156)
    path = text(tmp_path, "data.parquet", bytes(content))
    says(desk.refused(DATA, "--data", path), f"{path} cannot be read")


def test_csv_with_a_wrong_number_of_fields(desk: Desk, tmp_path: Path) -> None:
    path = text(tmp_path, "data.csv", "id,text,label\n1,one,a\n2,two\n3,three,b\n")
    says(desk.refused(DATA, "--data", path), path, "#3", "Expected 3 columns, got 2", "2,two")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_text_that_is_not_utf8(kind: str, desk: Desk, tmp_path: Path) -> None:
    rows = b"text,label\none,a\ncaf\xe9,a\nthree,b\n"
    if kind == "jsonl":
        rows = b'{"text": "one", "label": "a"}\n{"text": "caf\xe9", "label": "a"}\n'
    path = text(tmp_path, f"data.{kind}", rows)
    says(desk.refused(DATA, "--data", path), path, "UTF")


@pytest.mark.parametrize(
    "broken", ['{"id": 2, "text": "two", "label": \n', '{"id": 2 "text": 1}\n']
)
def test_broken_jsonl_line(
    broken: str, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [json.dumps({"id": n, "text": f"text {n}", "label": n % 3}) + "\n" for n in range(300)]
    path = text(tmp_path, "data.jsonl", "".join([*whole[:2], broken, *whole[2:]]))
    says(desk.refused(DATA, "--data", path), path, "line 3", "JSON")
    make_small(monkeypatch, line=4096)
    path = text(tmp_path, "far.jsonl", "".join([*whole[:250], broken, *whole[250:]]))
    says(desk.refused(DATA, "--data", path), path, "line 251", "JSON")


@pytest.mark.parametrize("member", ["vectors", "label"])
def test_npy_with_pickled_objects_is_not_loaded(member: str, desk: Desk, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    bomb = np.empty((2, 2) if member == "vectors" else 6, dtype=object)
    bomb[...] = Bomb(mark)
    path = tmp_path / "data.npy"
    np.save(path, bomb if member == "vectors" else np.ones((6, 3)), allow_pickle=True)
    np.save(tmp_path / "data.label.npy", bomb, allow_pickle=True)
    faulty = path if member == "vectors" else tmp_path / "data.label.npy"
    says(desk.refused(DATA, "--data", path), f"{faulty} cannot be read", "Python objects")
    np.savez(tmp_path / "data.npz", embedding=np.ones((6, 3)), label=bomb)
    message = desk.refused(DATA, "--data", tmp_path / "data.npz")
    says(message, tmp_path / "data.npz", "Python objects")
    assert not mark.exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_arrays_of_unequal_lengths(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, embedding=np.ones((6, 3)), label=np.arange(5))
    says(desk.refused(DATA, "--data", path), path, "different lengths", "6", "5", "label")


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_under_the_wrong_extension(kind: str, desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / f"data.{kind}"
    with path.open("wb") as file:
        if kind == "npz":
            np.save(file, np.ones((6, 3)))
        else:
            np.savez(file, embedding=np.ones((6, 3)))
    says(desk.refused(DATA, "--data", path), path, ".npz", ".npy" if kind == "npz" else "archive")


def test_vectors_without_values(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, embedding=np.ones((6, 0)), label=np.arange(6) % 3)
    says(desk.refused(DATA, "--data", path), path, "embedding", "empty")
    message = desk.refused(DATA, "--data", table(tmp_path, embedding=[[]] * 6, label=LABELS))
    says(message, "data.parquet", "embedding")


@pytest.mark.parametrize("dtype", [">f4", np.longdouble])
def test_arrays_of_any_byte_order_and_width_are_read(
    dtype: Any, cli: Callable[..., Result], tmp_path: Path
) -> None:
    values, labels = np.array(vectors(), np.float32), np.array([0, 0, 1, 1, 2, 2])
    for name, kind in (("plain", np.float32), ("other", dtype)):
        np.savez(tmp_path / f"{name}.npz", embedding=values.astype(kind), label=labels)
    facts = []
    for name in ("plain", "other"):
        result = cli("run", "--json", "--data", tmp_path / f"{name}.npz", "--out", tmp_path / name)
        assert result.code == 0, result.err
        facts.append(json.loads(result.out)["census"])
    assert facts[0] == facts[1] and facts[0]["valid"] == 24


# Content, ids and labels


ROW_2 = {"NaN": float("nan"), "infinite": float("inf"), "minus": float("-inf")}


@pytest.mark.parametrize("fault", ROW_2)
def test_vectors_that_are_not_finite_name_the_row(fault: str, desk: Desk, tmp_path: Path) -> None:
    rows = vectors()
    rows[4][1] = ROW_2[fault]
    path = table(tmp_path, id=[f"k{n}" for n in range(6)], embedding=rows, label=LABELS)
    says(desk.refused(DATA, "--data", path), path, "row 4", "'k4'", "'embedding'", "NaN or an inf")


def test_ragged_vectors_name_the_row(desk: Desk, tmp_path: Path) -> None:
    rows = vectors()
    rows[3] = rows[3][:2]
    path = table(tmp_path, embedding=rows, label=LABELS)
    message = desk.refused(DATA, "--data", path)
    says(message, path, "row 3", "'embedding'", "2 values", "3")


def test_missing_content_names_the_row(desk: Desk, tmp_path: Path) -> None:
    path = table(tmp_path, text=["a", "b", None, "d", "e", "f"], label=LABELS)
    says(desk.refused(DATA, "--data", path), path, "row 2", "'text'", "no content")


def test_content_that_no_model_takes(desk: Desk, tmp_path: Path) -> None:
    path = table(tmp_path, embedding=[1.5] * 6, label=LABELS)
    says(desk.refused(DATA, "--data", path), path, "'embedding'", "double", "lists of numbers")


CSV_VECTORS = {"[1, x]": "not a list of numbers", "": "not a list of numbers", "[1, NaN]": "NaN"}


@pytest.mark.parametrize("cell", CSV_VECTORS)
def test_vectors_in_csv_name_the_row(cell: str, desk: Desk, tmp_path: Path) -> None:
    path = text(tmp_path, "d.csv", f'id,embedding,label\n7,"[1, 2]",a\n8,"{cell}",a\n9,"[2,1]",b\n')
    message = desk.refused(DATA, "--data", path, "--model", "precomputed")
    says(message, path, "row 1", "'8'", "'embedding'", CSV_VECTORS[cell])


LABEL_FAULTS: dict[str, tuple[Any, str]] = {
    "one class": (["a"] * 6, "no negatives"),
    "one class and unlabelled": (["a", "a", None, "a", None, "a"], "no negatives"),
    "singletons": (list("abcdef"), "no positives"),
    "no label": (pa.nulls(6, pa.string()), "no row has a label"),
    "only NaN": (pa.array([float("nan")] * 6), "no row has a label"),
    "lists": ([[1]] * 6, "one label"),
    "lists of lists": ([[[1]]] * 6, "text, numbers or lists of them"),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_labels_that_give_no_triplet(fault: str, desk: Desk, tmp_path: Path) -> None:
    labels, words = LABEL_FAULTS[fault]
    path = table(tmp_path, embedding=vectors(), label=labels)
    says(desk.refused(DATA, "--data", path), path, "'label'", words)


ID_FAULTS: dict[str, tuple[Any, list[str]]] = {
    "duplicate": (["a", "b", "c", "b", "e", "f"], ["'b'", "twice", "rows 1 and 3"]),
    "duplicate numbers": ([5, 1, 2, 3, 4, 5], ["5", "twice", "rows 0 and 5"]),
    "null": (["a", "b", None, "d", "e", "f"], ["row 2", "no id"]),
    "fractions": ([0.5, 1.0, 2.0, 3.0, 4.0, 5.0], ["whole numbers", "double"]),
}


@pytest.mark.parametrize("fault", ID_FAULTS)
def test_ids_that_name_no_row(fault: str, desk: Desk, tmp_path: Path) -> None:
    ids, words = ID_FAULTS[fault]
    path = table(tmp_path, id=pa.array(ids), embedding=vectors(), label=LABELS)
    says(desk.refused(DATA, "--data", path), path, "'id'", *words)


@pytest.mark.parametrize("key", ["id", "content", "label", "group"])
def test_missing_columns_suggest_the_nearest(key: str, desk: Desk, good: Path) -> None:
    near = {"id": "id", "content": "embedding", "label": "label", "group": "label"}[key]
    message = desk.refused(DATA, "--data", good, "--set", f"dataset.{key}={near}s")
    says(message, good, f"{near}s'", f"dataset.{key}", f"did you mean '{near}'?")


def test_no_column_to_embed(desk: Desk, tmp_path: Path) -> None:
    path = table(tmp_path, words=["a"] * 6, label=LABELS)
    message = desk.refused(DATA, "--data", path)
    says(message, path, "text, image, embedding", "dataset.content", "words")

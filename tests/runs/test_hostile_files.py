"""Files of ours that others may have written: stores, caches, leases, records; odd paths."""

from __future__ import annotations

import gc
import gzip
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import miner
from miner.datasets.column_store import ColumnFile
from miner.storage.locks import lock_output
from miner.storage.remote.lease import _work_id
from tests.conftest import Result
from tests.fuzz.good import arrow_bytes, parquet_bytes

Cli = Callable[..., Result]

TEXTS = "text,label\na,x\nb b,x\nc c c,y\nd d,y\n"
MODEL = ("--model", "tests.fuzz.letters:letters")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and an output folder with vectors in its cache and its store."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "d.csv").write_text(TEXTS)
    out = {"path": str(folder / "out"), "report": False}
    job = {"dataset": {"path": str(folder / "d.csv")}, "model": {"name": MODEL[1]}, "output": out}
    miner.mine(job)
    return folder


@pytest.fixture
def mined(made: Path, tmp_path: Path) -> Path:
    """A copy of the output folder, beside the data."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "out"


def again(cli: Cli, out: Path, *more: str) -> Result:
    data = out.parent / "d.csv"
    return cli("run", "--data", data, *MODEL, "--out", out, "--quiet", "--margin", "0.3", *more)


def told(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result
    assert result.err.startswith("mine: error: ") and result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def made_again(result: Result, *words: str) -> None:
    assert result.code == 0, result
    assert result.err.startswith("mine: warning: ") and result.err.count("\n") == 1
    for word in words:
        assert word in result.err


SHAPES = ["[]", "{}", '{"dim": 8}', '{"dim": 8, "type": "|O"}', '{"dim": 0, "type": "<f4"}']
SHAPES += ['{"dim": 1e9, "type": "<f4"}', '{"dim": 99999999999, "type": "<f8"}', "null", "["]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cache_that_says_no_shape_is_refused(shape: str, cli: Cli, mined: Path) -> None:
    (path,) = mined.glob(".cache/*/shape.json")
    path.write_text(shape)
    shutil.rmtree(mined / ".store")
    told(again(cli, mined), 6, "shape.json", "damaged")


def test_files_of_odd_names_in_a_cache_are_left_alone(cli: Cli, mined: Path) -> None:
    (shape,) = mined.glob(".cache/*/shape.json")
    for name in ("segment-xx.keys", "segment-99999999999999999999.keys", "segment-0\u0663.keys"):
        (shape.parent / name).write_bytes(b"x" * 24)
    shutil.rmtree(mined / ".store")
    assert again(cli, mined).code == 0


@pytest.mark.parametrize("canary", ["[]", "{}", '{"vectors": [[1], [2, 3]]}', '{"vectors": [1]}'])
def test_a_damaged_canary_is_passed_over(canary: str, cli: Cli, mined: Path) -> None:
    (path,) = mined.glob(".cache/canaries/*/*.json")
    whole = path.read_bytes()
    path.write_text(canary)
    made_again(again(cli, mined), "its content does not fit its name")
    assert path.read_bytes() == whole


STORES: list[Any] = [[], {}, {"dim": 8}, {"rows": "x"}, {"dim": 0}, {"rows": [10**60]}]
STORES += [{"dataset": 1}, {"items": None}]


@pytest.mark.parametrize("change", STORES)
def test_a_store_that_does_not_describe_itself_is_made_again(
    change: Any, cli: Cli, mined: Path
) -> None:
    (path,) = mined.glob(".store/*/store.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, **change} if change and len(change) == 1 else change))
    if change == {"dim": 8}:
        path.write_text(json.dumps(change))
    made_again(again(cli, mined), "store.json is damaged", "the run makes the store again")
    assert json.loads(path.read_text()) == facts


def test_an_older_store_without_checksums_that_does_not_describe_itself_is_refused(
    cli: Cli, mined: Path
) -> None:
    (path,) = mined.glob(".store/*/store.json")
    for change in ({"dim": 0}, {"rows": [10**60]}, {"items": None}):
        facts = {**json.loads(path.read_text()), "version": 5, **change}
        facts.pop("checksum", None)
        path.write_text(json.dumps(facts))
        told(cli("verify", mined), 6, "store.json is damaged")


def test_texts_of_a_store_are_looked_at(cli: Cli, mined: Path) -> None:
    """Offsets that lead out of the file would let Arrow read what is not its own."""
    (path,) = mined.glob(".store/*/texts-0.arrow")
    whole = path.read_bytes()
    found = whole.find((1).to_bytes(8, "little") + (4).to_bytes(8, "little"))
    assert found > 0
    path.write_bytes(whole[:found] + (1 << 60).to_bytes(8, "little") + whole[found + 8 :])
    with pytest.raises(miner.MineError, match=r"texts-0.arrow is damaged"):
        ColumnFile(path).all()
    made_again(again(cli, mined), "texts-0.arrow is damaged", "the run makes the store again")
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "facts", ["[]", "7", "{}", '{"id": 7, "model": []}', '{"model": {"id": []}}']
)
def test_odd_descriptions_are_listed(facts: str, cli: Cli, mined: Path) -> None:
    for path in (*mined.glob(".cache/*/model.json"), *mined.glob(".store/*/store.json")):
        path.write_text(facts)
    assert cli("cache", mined).code == 0


def test_whoever_holds_a_lock(tmp_path: Path) -> None:
    def refuse(content: str) -> None:
        root = Path(tempfile.mkdtemp(dir=tmp_path))
        with lock_output(root):
            (root / ".lock.json").write_text(content)
            with pytest.raises(miner.MineError, match="in use by another run"), lock_output(root):
                pass

    contents = ["[]", "7", "{}", "[" * 100_000, '{"pid": 1}', "\xff"]
    with ThreadPoolExecutor(len(contents)) as pool:  # each waits for a name to stand there
        list(pool.map(refuse, contents))


@pytest.mark.parametrize("content", ["[]", "{}", '{"id": 7}', "x", "[" * 100_000])
def test_a_damaged_work_id_is_made_anew(content: str, tmp_path: Path) -> None:
    (tmp_path / ".work.json").write_text(content)
    made = _work_id(tmp_path)
    assert len(made) == 32 and _work_id(tmp_path) == made


@pytest.mark.parametrize("key", ["dataset.path", "cache.path", "model.name"])
def test_nobodys_home_is_named(key: str, cli: Cli, small: Path, tmp_path: Path) -> None:
    value = "~nobody-of-that-name/x.csv" + (":x" if key == "model.name" else "")
    result = cli("run", "--data", small, "--out", tmp_path / "o", "--set", f"{key}={value}")
    told(result, 2, "~nobody-of-that-name")


@pytest.mark.parametrize("name", ["math:pi.x", ".x:y", "json:loads.x", "miner:a..b", "quits:x"])
def test_names_of_what_is_no_model(
    name: str, cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quits.py").write_text("raise SystemExit(7)")
    monkeypatch.syspath_prepend(str(tmp_path))
    told(cli("run", "--data", small, "--out", tmp_path / "o", "--model", name), 2, name)


def test_a_pipe_is_no_data(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.csv")
    told(cli("run", "--data", tmp_path / "d.csv", "--out", tmp_path / "o"), 3, "is not a file")


HEADERS = ["{", "(", "'", "", "{'descr': '<f4'", "[" * 300, "1" * 5000]  # they end half-way
HEADERS += ["{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 8), }"]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_header_of_numpy_that_makes_no_sense(
    kind: str, header: str, cli: Cli, tmp_path: Path
) -> None:
    text = header.encode().ljust(118) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(48)
    path = tmp_path / f"d.{kind}"
    path.write_bytes(array)
    if kind == "npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("embedding.npy", array)
    told(cli("run", "--data", path, "--out", tmp_path / "o"), 3, path.name)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "arrow"])
def test_a_column_that_stands_twice(kind: str, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / f"d.{kind}"
    names = ["text", "text", "label"]
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        path.write_text("".join(mark.join(row) + "\n" for row in (names, ["a", "b", "x"])))
    else:
        table = pa.Table.from_arrays([pa.array(["a", "b"])] * 3, names=names)
        path.write_bytes(parquet_bytes(table) if kind == "parquet" else arrow_bytes(table))
    result = cli("run", "--data", path, *MODEL, "--out", tmp_path / "o")
    told(result, 3, path.name, "several columns 'text'")


@pytest.mark.parametrize("state", ["gone", "empty", "cut", "folder"])
def test_a_shard_that_is_not_as_it_was(state: str, cli: Cli, mined: Path) -> None:
    (path,) = (mined / "latest").resolve().glob("hard/*.parquet")
    whole = path.read_bytes()
    path.unlink()
    if state == "folder":
        path.mkdir()
    elif state != "gone":
        path.write_bytes(whole[: len(whole) // 2 if state == "cut" else 0])
    commands = [("show",), ("verify",), ("export", "--format", "triplet")]
    for name, *more in commands:
        result = cli(name, mined / "latest", *more)
        assert result.code == 6 and result.err.startswith("mine: error: "), result
        assert path.name in result.err


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["embedding.npy", "embedding", "notes.txt"])
def test_an_archive_of_what_is_no_array(name: str, packed: int, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr(name, b"neither numbers nor text")
    told(cli("run", "--data", path, "--out", tmp_path / "o"), 3, "d.npz cannot be read")


def test_an_archive_whose_directory_is_damaged(cli: Cli, tmp_path: Path) -> None:
    """It is closed again too: a file left open is a warning, and so a failure, here."""
    path = tmp_path / "d.npz"
    np.savez(path, embedding=np.eye(4, dtype="f4"), label=np.arange(4))
    path.write_bytes(path.read_bytes().replace(b"PK\1\2", b"PK\1\0"))
    told(cli("run", "--data", path, "--out", tmp_path / "o"), 3, "d.npz cannot be read")
    gc.collect()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "qrels"])
def test_packed_files_whose_inside_is_damaged(kind: str, cli: Cli, tmp_path: Path) -> None:
    """At every byte: the header, the blocks, the checksum."""
    path = tmp_path / f"d.{kind}.gz"
    lines = TEXTS.encode() if kind != "jsonl" else b'{"text": "a", "label": 1}\n' * 4
    whole = gzip.compress(lines.replace(b",", b"\t") if kind == "tsv" else lines)
    for place in range(2, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        result = cli("init", path, "--job", tmp_path / "j.toml", "--force")
        assert result.code in (0, 3), (place, result)
        assert result.err.count("\n") == (result.code > 0)


def test_a_current_folder_that_is_gone(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    result = cli("run", "--data", small, "--out", "o")
    assert result.code in (2, 3, 6), result
    assert "internal error" not in result.err and "Traceback" not in result.err


def test_an_array_of_what_are_no_characters(cli: Cli, tmp_path: Path) -> None:
    labels = np.full(4, 0xFFFFFFFF, "<u4").view("<U1")
    np.savez(tmp_path / "d.npz", embedding=np.eye(4, dtype="f4"), label=labels)
    told(cli("run", "--data", tmp_path / "d.npz", "--out", tmp_path / "o"), 3, "d.npz")


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
@pytest.mark.parametrize("place", ["file", "folder", "images", "out"])
def test_a_name_that_is_not_utf8(place: str, tmp_path: Path, cli: Callable[..., Result]) -> None:
    odd, data = tmp_path / "a\udcff.csv", tmp_path / "data.csv"
    for path in (odd, data):
        path.write_text(TEXTS)
    words = {"file": [odd], "folder": [tmp_path / "f"], "images": [tmp_path / "i"], "out": [data]}
    for name in ("f/a\udcff.csv", "i/a\udcff/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(TEXTS)
    out = tmp_path / ("o\udcff" if place == "out" else "o")
    hit = cli("run", "--data", *words[place], "--out", out)
    assert hit.code == (2 if place in ("file", "out") else 3), hit
    assert "is not UTF-8" in hit.err and "rename it" in hit.err and hit.err.count("\n") <= 2
    assert "\\udcff" in hit.err and not list(tmp_path.glob("*/runs"))


def test_numbers_wider_than_arrow_knows(tmp_path: Path, cli: Callable[..., Result]) -> None:
    """A warning would be an error here, and noise on stderr elsewhere."""
    wide = np.full((6, 2), np.finfo(np.longdouble).max)
    np.savez(tmp_path / "d.npz", embedding=wide, label=np.arange(6) % 2)
    hit = cli("run", "--data", tmp_path / "d.npz", "--out", tmp_path / "o")
    assert hit.code == 3 and "row 0" in hit.err, hit

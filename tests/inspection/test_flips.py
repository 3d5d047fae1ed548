"""Every byte of every file of a run is covered: two hundred flips, each found by `mine verify`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.storage.json_files import pretty_json
from tests.conftest import Result, write_vectors

Cli = Callable[..., Result]
FLIPS = 200
RNG = np.random.default_rng(11)


def pictures(folder: Path) -> dict[str, Any]:
    values = RNG.integers(0, 17, (40, 16), dtype=np.uint8)
    images = pa.array(values.tolist(), pa.list_(pa.uint8()))
    pq.write_table(pa.table({"image": images, "label": [n % 4 for n in range(40)]}), folder / "p")
    (folder / "p").rename(folder / "pictures.parquet")
    return {"dataset": {"path": str(folder / "pictures.parquet")}}


def texts(folder: Path) -> dict[str, Any]:
    lines = ["text,label"] + [f"word {n} of {n % 5},c{n % 5}" for n in range(30)]
    (folder / "texts.csv").write_text("\n".join(lines))
    return {"dataset": {"path": str(folder / "texts.csv")}, "select": {"max_triplets": 300}}


def pairs(folder: Path) -> dict[str, Any]:
    for name, rows in (("queries", 12), ("corpus", 30)):
        vectors = RNG.standard_normal((rows, 5)).tolist()
        table = pa.table({"id": [f"{name[0]}{n}" for n in range(rows)], "embedding": vectors})
        pq.write_table(table, folder / f"{name}.parquet")
    links = {"query_id": [f"q{n}" for n in range(12)], "corpus_id": [f"c{n}" for n in range(12)]}
    pq.write_table(pa.table(links), folder / "links.parquet")
    names = ("queries", "corpus", "links")
    return {"dataset": {name: str(folder / f"{name}.parquet") for name in names}}


def clusters(folder: Path) -> Path:
    vectors = RNG.standard_normal((60, 6)).astype(np.float32)
    return write_vectors(folder / "v.parquet", vectors, [f"c{n % 6}" for n in range(60)])


def suspects(folder: Path) -> dict[str, Any]:
    select = {"suspects": True, "relative_margin": 0.05}
    return {"dataset": {"path": str(clusters(folder))}, "select": select, "index": {"save": True}}


def approximate(folder: Path) -> dict[str, Any]:
    index = {"factory": "IVF4,Flat", "candidates": 30, "min_recall": 0.01, "save": True}
    return {"dataset": {"path": str(clusters(folder))}, "index": index}


JOBS = (pictures, texts, pairs, suspects, approximate)


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[miner.Run]]:
    """Runs of every kind, small."""
    runs = []
    for job in JOBS:
        folder = tmp_path_factory.mktemp(job.__name__)
        out = {"path": str(folder / "out"), "report": job is pictures}  # one is enough
        runs.append(miner.mine({**job(folder), "output": out}))
    yield runs


@pytest.fixture
def run(mined: list[miner.Run], tmp_path: Path) -> miner.Run:
    """A copy of one to damage."""
    root = mined[3].path.parent.parent
    return miner.open_run(shutil.copytree(root, tmp_path / "out", symlinks=True))


def refused(cli: Cli, path: Path, *words: str) -> str:
    """Verify a run that is not right: exit 6, one clear line with these words."""
    result = cli("verify", path)
    assert result.code == 6, result
    assert result.err.startswith("mine: error: ") and result.err.count("\n") == 1
    assert "Traceback" not in result.err + result.out
    for word in words:
        assert word in result.err
    return result.err


@pytest.mark.slow
def test_the_runs_have_every_kind_of_file(mined: list[miner.Run]) -> None:
    names = {name.rpartition("/")[2] for run in mined for name in run.sizes()}
    assert {"manifest.json", "census.parquet", "hubs.parquet", "index.faiss"} <= names
    assert {"confusion.parquet", "label_noise.parquet", "part-00000.parquet"} <= names
    assert any("suspects" in run.manifest["written"] for run in mined)
    assert not all(run.manifest["index"]["exact"] for run in mined)
    assert [miner.verify_run(run, full=True).problems for run in mined] == [[]] * len(mined)


@pytest.mark.slow
def test_two_hundred_flips_are_found(cli: Cli, mined: list[miner.Run]) -> None:
    rng = np.random.default_rng(20)
    files = [(run, name) for run in mined for name in sorted(run.sizes())]
    assert len(files) > 20
    for number in range(FLIPS):
        run, name = files[number % len(files)]
        path = run.path / name
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            refused(cli, run.path, name)
        finally:
            path.write_bytes(whole)
    for run in mined:
        assert cli("verify", run.path).code == 0


@pytest.mark.slow
def test_a_byte_of_the_manifest_that_says_nothing_is_found(cli: Cli, run: miner.Run) -> None:
    path = run.path / "manifest.json"
    whole = path.read_bytes()
    blanks = [at for at, byte in enumerate(whole) if byte in b" \n"]
    for at in blanks[:: len(blanks) // 40]:
        for other in b" \n\t\r":
            if other != whole[at]:
                path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
                refused(cli, run.path, "manifest.json was changed")
    forms = [
        whole + b"\n",
        whole[:-1],
        b"\xef\xbb\xbf" + whole,
        json.dumps(run.manifest).encode(),
        whole.replace(b'"margin": 0.2', b'"margin": 0.20'),
        whole.replace(b'"format_version": 2,', b'"format_version": 2,\n  "format_version": 2,'),
        whole.replace(b'"checksum": "', b'"checksum": "A'),
        whole.replace(run.manifest["checksum"].encode(), run.manifest["checksum"].upper().encode()),
    ]
    for form in forms:
        assert form != whole
        path.write_bytes(form)
        refused(cli, run.path, "manifest.json")
    path.write_bytes(pretty_json(run.manifest))
    assert cli("verify", run.path).code == 0


@pytest.mark.slow
def test_what_is_cut_doubled_or_missing_is_found(cli: Cli, run: miner.Run) -> None:
    for name in sorted(run.sizes()):
        path = run.path / name
        whole = path.read_bytes()
        for content in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0", whole * 2):
            path.write_bytes(content)
            refused(cli, run.path, name)
        path.unlink()
        refused(cli, run.path, "manifest.json" if name == "manifest.json" else f"{name} is missing")
        path.write_bytes(whole)
    copy = run.path / "hard" / "part-00001.parquet"
    shutil.copy(run.path / "hard" / "part-00000.parquet", copy)
    refused(cli, run.path, "hard/part-00001.parquet is not in the manifest")


@pytest.mark.slow
def test_links_are_no_files_of_a_run(cli: Cli, run: miner.Run, tmp_path: Path) -> None:
    shard = run.path / "hard" / "part-00000.parquet"
    shutil.move(shard, tmp_path / "moved.parquet")
    shard.symlink_to(tmp_path / "moved.parquet")
    refused(cli, run.path, "hard/part-00000.parquet is a link")
    assert "is a link" in cli("show", run.path).err
    shard.unlink()
    shutil.move(tmp_path / "moved.parquet", shard)
    for target in (tmp_path, Path("/"), tmp_path / "nowhere"):
        (run.path / "more").symlink_to(target)
        refused(cli, run.path, "more is a link")
        (run.path / "more").unlink()
    shutil.move(run.path / "hard", tmp_path / "hard")
    (run.path / "hard").symlink_to(tmp_path / "hard")
    refused(cli, run.path, "hard")

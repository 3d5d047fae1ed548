"""`mine verify` finds what is wrong with a run, names the file and the row, and never stumbles."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.runs.manifest_schema import manifest_checksum
from miner.storage.files import sha256_file
from miner.storage.json_files import pretty_json
from miner.triplets.distance import measure, normalize_rows
from tests.conftest import Result, write_vectors

Cli = Callable[..., Result]
HARD, SEMI = "hard/part-00000.parquet", "semi_hard/part-00000.parquet"
FILES = [HARD, SEMI, "census.parquet", "index.faiss"]
LABELS = [n % 3 for n in range(30)]
VECTORS = np.random.default_rng(3).standard_normal((30, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 30 vectors in 3 classes: few enough to be verified whole."""
    folder = tmp_path_factory.mktemp("mined")
    data = write_vectors(folder / "v.parquet", VECTORS, list(LABELS))
    job = {
        "dataset": {"path": str(data)},
        "index": {"save": True},
        "select": {"max_triplets": 400},
        "output": {"path": str(folder / "out"), "report": False},
    }
    miner.mine(job)
    return folder / "out"


@pytest.fixture
def run(mined: Path, tmp_path: Path) -> miner.Run:
    """A copy of it to damage."""
    return miner.open_run(shutil.copytree(mined, tmp_path / "out", symlinks=True))


def reseal(run: miner.Run) -> None:
    """Make the manifest fit the files, as a careful forger would."""
    for file in [*run.manifest["shards"], *run.manifest["files"]]:
        path = run.path / file["path"]
        file["bytes"], file["sha256"] = path.stat().st_size, sha256_file(path)
    run.manifest["checksum"] = manifest_checksum(run.manifest)
    (run.path / "manifest.json").write_bytes(pretty_json(run.manifest))


def edit(run: miner.Run, name: str, change: Callable[[dict[str, list[Any]]], None]) -> None:
    """Change the rows of a Parquet file, its schema as it was."""
    table = pq.read_table(run.path / name)
    columns = table.to_pydict()
    change(columns)
    pq.write_table(pa.table(columns, schema=table.schema), run.path / name)


def fails(cli: Cli, run: miner.Run, *words: str, full: bool = False) -> str:
    """Verify a run that is not right: exit 6 and one clear line with these words."""
    result = cli("verify", run.path, *(["--full"] if full else []))
    assert result.code == 6, result
    assert result.err.startswith("mine: error: ")
    assert result.err.count("\n") <= 2
    assert "Traceback" not in result.err + result.out
    for word in words:
        assert word in result.err
    return result.err


def test_a_good_run_is_good(cli: Cli, run: miner.Run) -> None:
    names = [
        "manifest",
        "files",
        "shards",
        "census",
        "tables",
        "vectors",
        "triplets",
        "anchors",
        "hubs",
    ]
    for path in (run.path, run.path.parent.parent, run.path.parent.parent / "latest"):
        result = cli("verify", path)
        assert (result.code, result.err) == (0, "")
        assert "FAILS" not in result.out
    facts = json.loads(cli("verify", run.path, "--json").out)
    assert (facts["run_id"], facts["ok"]) == (run.run_id, True)
    assert [check["name"] for check in facts["checks"]] == names
    assert [check["problems"] for check in facts["checks"]] == [[]] * 9
    details = {check["name"]: check["detail"] for check in facts["checks"]}
    assert details["files"].endswith(" files, SHA-256")
    assert details["triplets"].startswith("800 ")
    assert details["anchors"].startswith("30 ")


def test_latest_is_a_relative_link_and_a_file(run: miner.Run, tmp_path: Path) -> None:
    out, path = run.path.parent.parent, f"runs/{run.run_id}"
    assert (out / "latest").readlink() == Path(path)
    latest = json.loads((out / "latest.json").read_text())
    assert latest == {"run_id": run.run_id, "path": path}
    moved = out.rename(tmp_path / "elsewhere")
    assert miner.open_run(moved / "latest").path == (moved / path).resolve()
    assert miner.verify_run(miner.open_run(moved)).problems == []


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_is_found(cli: Cli, run: miner.Run, name: str) -> None:
    path = run.path / name
    whole = path.read_bytes()
    rng = np.random.default_rng(len(name))
    for offset in [0, len(whole) - 1, *rng.integers(0, len(whole), 4)]:
        broken = bytearray(whole)
        broken[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        fails(cli, run, name)
    path.write_bytes(whole)
    assert cli("verify", run.path).code == 0


def test_a_flipped_byte_of_the_manifest_is_found(cli: Cli, run: miner.Run) -> None:
    path = run.path / "manifest.json"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for offset in [0, len(whole) - 2, *rng.integers(0, len(whole), 60)]:
        broken = bytearray(whole)
        broken[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        fails(cli, run, "manifest")


KEYS = ["run_id", "checksum", "format_version", "shards", "files", "path", "bytes", "sha256"]
KEYS += ["rows", "census", "written", "store", "job", "mining", "margin", "fingerprint", "hard"]


@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_key_of_the_manifest_is_found(cli: Cli, run: miner.Run, key: str) -> None:
    path = run.path / "manifest.json"
    whole = path.read_text()
    assert f'"{key}":' in whole
    path.write_text(whole.replace(f'"{key}":', f'"{key[:-1]}~":'))
    fails(cli, run, "manifest.json")
    facts = cli("verify", run.path, "--json")
    assert facts.code == 6
    assert not facts.out or json.loads(facts.out)["ok"] is False


@pytest.mark.parametrize("name", [HARD, "census.parquet", "index.faiss"])
def test_a_missing_file_is_found(cli: Cli, run: miner.Run, name: str) -> None:
    (run.path / name).unlink()
    fails(cli, run, f"{name} is missing")


@pytest.mark.parametrize("name", ["notes.txt", "hard/part-00001.parquet", "semi_hard/.part.tmp"])
def test_an_extra_file_is_found(cli: Cli, run: miner.Run, name: str) -> None:
    shutil.copy(run.path / HARD, run.path / name)
    fails(cli, run, name)


def test_a_row_of_another_class_is_found(cli: Cli, run: miner.Run) -> None:
    tables = {name: pq.read_table(run.path / name).to_pylist() for name in (HARD, SEMI)}
    tables[HARD][7], tables[SEMI][9] = tables[SEMI][9], tables[HARD][7]
    for name, rows in tables.items():
        schema = pq.read_schema(run.path / name)
        pq.write_table(pa.Table.from_pylist(rows, schema), run.path / name)
    reseal(run)
    fails(cli, run, f"{HARD}, row 7: it is semi_hard", f"{SEMI}, row 9: it is hard")


@pytest.mark.parametrize("column", ["d_ap", "d_an"])
@pytest.mark.parametrize("value", [1e-6, float("nan")])
def test_a_changed_distance_is_found(cli: Cli, run: miner.Run, column: str, value: float) -> None:
    def change(columns: dict[str, list[Any]]) -> None:
        columns[column][11] += value

    edit(run, HARD, change)
    reseal(run)
    fails(cli, run, f"{HARD}, row 11: ")


def test_a_triplet_that_is_none_is_found(cli: Cli, run: miner.Run, tmp_path: Path) -> None:
    rows = normalize_rows(VECTORS)
    d = [measure("euclidean", rows[n : n + 1], rows) for n in range(30)]
    same = [n for n in range(30) if LABELS[n] == LABELS[0] and n]
    other = next(n for n in range(30) if LABELS[n] != LABELS[0])
    near, far = sorted(same, key=lambda n: d[0][n])[:: len(same) - 1]
    beyond = max((n for n in range(30) if LABELS[n] != LABELS[0]), key=lambda n: d[0][n])
    cases = {
        "negative": (0, far, near),
        "positive": (0, beyond, other),
        "not in the embedding store": (0, far, 99),
    }
    for word, (a, p, n) in cases.items():
        copy = miner.open_run(shutil.copytree(run.path, run.path.parent / word, symlinks=True))

        def change(columns: dict[str, list[Any]], a: int = a, p: int = p, n: int = n) -> None:
            trio = {"anchor_id": f"i{a}", "positive_id": f"i{p}", "negative_id": f"i{n}"}
            distances = {"d_ap": d[a][p], "d_an": d[a][n % 30]}
            for name, value in {**trio, **distances}.items():
                columns[name][13] = value

        edit(copy, HARD, change)
        reseal(copy)
        fails(cli, copy, f"{HARD}, row 13: ", word)


def test_shifted_counts_are_found(cli: Cli, run: miner.Run) -> None:
    def change(columns: dict[str, list[Any]]) -> None:
        columns["hard"][17] += 1
        columns["easy"][17] -= 1

    edit(run, "census.parquet", change)
    reseal(run)
    fails(cli, run, "census.parquet: ", "hard")
    census, written = run.manifest["census"], run.manifest["written"]
    census["hard"] += 1
    census["easy"] -= 1
    written["hard"]["of"] += 1
    reseal(run)
    fails(cli, run, "confusion.parquet: ", "hubs.parquet: ")
    edit(run, "census.parquet", lambda columns: columns["positives"].__setitem__(4, 3))
    reseal(run)
    fails(cli, run, "census.parquet, row 4: ")


def drop(table: pa.Table) -> pa.Table:
    return table.drop_columns("weight")


def widen(table: pa.Table) -> pa.Table:
    return table.set_column(5, "weight", table["weight"].cast(pa.float64()))


def encode(table: pa.Table) -> pa.Table:
    return table.set_column(0, "anchor_id", table["anchor_id"].dictionary_encode())


def swap(table: pa.Table) -> pa.Table:
    return table.select([*table.column_names[1::-1], *table.column_names[2:]])


def shorten(table: pa.Table) -> pa.Table:
    return table.slice(1)


def relabel(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({**table.schema.metadata, b"margin": b"0.3"})


@pytest.mark.parametrize("change", [drop, widen, encode, swap, shorten, relabel])
def test_a_shard_of_another_schema_is_found(
    cli: Cli, run: miner.Run, change: Callable[[pa.Table], pa.Table]
) -> None:
    pq.write_table(change(pq.read_table(run.path / HARD)), run.path / HARD)
    reseal(run)
    fails(cli, run, HARD)


@pytest.mark.parametrize("name", [HARD, "census.parquet"])
def test_a_file_that_is_not_parquet_is_found(cli: Cli, run: miner.Run, name: str) -> None:
    (run.path / name).write_bytes((run.path / name).read_bytes()[:-20])
    reseal(run)
    fails(cli, run, name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format_version": 99, "run_id": "x"}', ("99", "newer")),
        ("not JSON", ("manifest.json", "JSON")),
        ("", ("manifest.json", "JSON")),
        ("[]", ("manifest.json",)),
        ("{}", ("manifest.json",)),
        ('{"format_version": 1}', ("manifest.json",)),
        ('{"format_version": "1"}', ("manifest.json",)),
    ],
)
def test_a_manifest_that_is_none_is_said_so(
    cli: Cli, run: miner.Run, text: str, words: tuple[str, ...]
) -> None:
    (run.path / "manifest.json").write_text(text)
    fails(cli, run, *words)


def test_what_is_no_run_is_said_so(cli: Cli, run: miner.Run, tmp_path: Path) -> None:
    (run.path / "manifest.json").unlink()
    assert "not a finished run" in fails(cli, run)
    nowhere = tmp_path / "nowhere"
    for path, code, words in (
        (tmp_path, 6, f"{tmp_path} is not a finished run"),
        (nowhere, 2, f"no run at {nowhere}; `mine run` makes one"),
    ):
        result = cli("verify", path)
        assert (result.code, result.out) == (code, "")
        assert result.err.count("\n") == 1
        assert words in result.err


def test_without_the_store_the_files_are_verified(cli: Cli, run: miner.Run) -> None:
    shutil.rmtree(run.path.parent.parent / ".store")
    result = cli("verify", run.path)
    assert result.code == 0
    assert re.search(r"^ +skipped +vectors .*mine run --force", result.out, re.MULTILINE)
    (run.path / HARD).unlink()
    fails(cli, run, HARD)


@pytest.mark.parametrize("name", ["vectors-0.f32", "ids-0.arrow", "relevance.npz", "store.json"])
def test_a_damaged_store_is_said_so(cli: Cli, run: miner.Run, name: str) -> None:
    (path,) = (run.path.parent.parent / ".store").glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:50])
    fails(cli, run, path.parent.name)


def test_full_looks_at_everything(cli: Cli, small: Path, tmp_path: Path) -> None:
    run = miner.mine({"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "out")}})
    total = sum(facts["rows"] for facts in run.manifest["written"].values())
    assert total > 10_000
    for options, triplets, anchors in ((["--full"], total, 60), ([], 4000, 32)):
        facts = json.loads(cli("verify", run.path, "--json", *options).out)
        assert facts["ok"]
        details = {check["name"]: check["detail"] for check in facts["checks"]}
        assert details["triplets"].startswith(f"{triplets:,} ")
        assert details["anchors"].startswith(f"{anchors:,} ")

    def change(columns: dict[str, list[Any]]) -> None:
        columns["d_an"][5001] += 1e-6

    edit(run, HARD, change)
    reseal(run)
    fails(cli, run, f"{HARD}, row 5001: ", full=True)

"""What a start that died left damaged is made again, and one line says so."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.cli.main import main
from tests.conftest import Result, write_small
from tests.durable import at_rename, crash
from tests.faults.jobs import payload
from tests.operating import events, named

Cli = Callable[..., Result]


def texts(folder: Path) -> list[str]:
    lines = [f"{n},{'abcdefg'[n % 7] * (n % 5 + 1)} {n % 13},c{n % 4}" for n in range(40)]
    (folder / "d.csv").write_text("\n".join(["id,text,label", *lines]) + "\n")
    return ["--data", str(folder / "d.csv"), "--model", "tests.fuzz.letters:letters"]


def vectors(folder: Path) -> list[str]:
    return ["--data", str(write_small(folder))]


PLACES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    ".store/.*.partial/scan.json": (texts, ".*.partial/vectors-0.f32"),
    ".store/.*.partial/scan.npz": (texts, ".*.partial/vectors-0.f32"),
    ".store/.*.partial/todo-0.json": (texts, ".*.partial/vectors-0.f32"),
    ".store/.*.partial/todo-0.npy": (texts, ".*.partial/vectors-0.f32"),
    ".staging/*/staging.json": (vectors, "work/write-00001-hard.bin"),
    ".staging/*/work/index.json": (vectors, "work/write-00001-hard.bin"),
    ".staging/*/work/count-00001.npy": (vectors, "work/write-00001-hard.bin"),
    ".staging/*/work/count-00001.lists.npy": (vectors, "work/write-00001-hard.bin"),
    ".staging/*/work/write-00000.json": (vectors, "work/write-00001-hard.bin"),
    ".staging/*/work/write-00000-hard.bin": (vectors, "work/write-00001-hard.bin"),
    ".store/*/store.json": (texts, "work/write-00001-hard.bin"),
    ".store/*/counts/*/record.json": (texts, "work/write-00001-hard.bin"),
    ".store/*/counts/*/census.npy": (texts, "work/write-00001-hard.bin"),
}
"""What is damaged, of which job, and where its start died."""
HOW = ("truncated", "empty", "no JSON", "of another shape", "without a key", "of other numbers")


def words(job: list[str], out: Path) -> list[str]:
    more = ["--max-triplets", "300", "--workers", "1", "--quiet"]
    return ["run", *job, "--out", str(out), *more, "--set", "output.report=false"]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[str]]]:
    """What each start that died left, made once."""
    known: dict[str, tuple[Path, list[str]]] = {}

    def leave(place: str) -> tuple[Path, list[str]]:
        job, dies = PLACES[place]
        if (key := job.__name__ + dies) not in known:
            folder = tmp_path_factory.mktemp("left")
            given, before = job(folder), folder / "before"
            with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
                at_rename(dies, crash, patch=patch.setattr)
                main(words(given, before))
            assert not (before / "latest").exists()
            with pytest.raises(SystemExit):
                main(words(given, folder / "truth"))
            known[key] = (folder, given)
        return known[key]

    return leave


def damaged(path: Path, how: str) -> bytes:
    """Return the content of a file, damaged."""
    whole = path.read_bytes()
    if how in ("truncated", "empty"):
        return whole[: len(whole) // 2] if how == "truncated" else b""
    if how == "no JSON":
        return b"x" * len(whole)
    if path.suffix != ".json":
        other = {
            "of another shape": np.zeros((3, 2)),
            "without a key": np.zeros(3, dtype=[("other", np.int64)]),
            "of other numbers": np.arange(7) + 10**9,
        }[how]
        file = io.BytesIO()
        np.save(file, other)
        return file.getvalue() if path.suffix == ".npy" else other.tobytes()
    facts: dict[str, Any] = json.loads(whole)
    if how == "of another shape":
        return json.dumps([facts]).encode()
    if how == "without a key":
        del facts[next(iter(facts))]
        return json.dumps(facts).encode()
    return re.sub(rb"(?<=[ :\[])(\d)", rb"9\1", whole, count=1).replace(b"e", b"f", 1)


@pytest.mark.sampled(14)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_damaged_is_made_again(
    place: str, how: str, cli: Cli, left: Callable[[str], tuple[Path, list[str]]], tmp_path: Path
) -> None:
    folder, job = left(place)
    out = shutil.copytree(folder / "before", tmp_path / "out", symlinks=True)
    (path,) = out.glob(place)
    content = damaged(path, how)
    assert content != path.read_bytes()
    path.write_bytes(content)
    done = cli(*words(job, out))
    assert (done.code, done.err.count("\n")) == (0, 1), done
    assert re.match(r"mine: warning: .*(made|makes .*) again$", done.err.strip()), done.err
    assert str(path) in done.err
    runs = [miner.open_run(folder / "truth"), miner.open_run(out)]
    assert payload(runs[0].path) == payload(runs[1].path)
    assert miner.verify_run(runs[1]).problems == []
    assert cli(*words(job, out)).err == ""  # nothing is damaged any more


def test_a_json_log_says_what_was_damaged(
    cli: Cli, left: Callable[[str], tuple[Path, list[str]]], tmp_path: Path
) -> None:
    place = ".staging/*/work/index.json"
    folder, job = left(place)
    out = shutil.copytree(folder / "before", tmp_path / "out", symlinks=True)
    (path,) = out.glob(place)
    path.write_bytes(b"")
    done = cli(*words(job, out), "--log-format", "json")
    (said,) = named(events(done.err), "damaged")
    assert done.code == 0 and said["level"] == "warning" and str(path) in said["message"]


def test_a_damaged_manifest_is_not_taken_for_a_finished_run(
    cli: Cli, small: Path, tmp_path: Path
) -> None:
    command = words(["--data", str(small)], tmp_path / "out")
    assert cli(*command).code == 0
    first = miner.open_run(tmp_path / "out")
    path = first.path / "manifest.json"
    path.write_text(path.read_text().replace('"hard": ', '"hard": 1', 1))
    done = cli(*command)
    assert done.code == 0 and "manifest.json is damaged; the run is made again" in done.err
    second = miner.open_run(tmp_path / "out")
    assert second.run_id != first.run_id and payload(second.path) == payload(first.path)

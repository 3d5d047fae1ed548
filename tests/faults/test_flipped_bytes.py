"""One flipped byte in any file of an output folder: never other triplets, never an internal error.

A start that meets it has three outcomes: the bytes of an undamaged run; one line and exit code 6;
or one warning that says what is made again, exit code 0 and the same bytes.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.cli.main import main
from tests.conftest import Result, write_small
from tests.durable import at_rename, crash
from tests.faults.jobs import payload

Cli = Callable[..., Result]

FLIPS = 2
"""Flipped bytes of each kind of file in each state; 40 take about half an hour."""

STATED = ("dataset", "written", "shards", "store", "store_checksum", "model")
"""What manifests of one job say in the same words."""

UNREAD = re.compile(r".*00002|counted\.npy|share-.*|pieces-.*|shape\.json|segment-.*\.keys")
"""Files that a start writes anew without a look, or whose damage it cannot tell from absence."""


def texts(folder: Path) -> list[str]:
    """A job of texts and a function, which has a cache, and canaries in it."""
    lines = [f"{n},{'abcdefg'[n % 7] * (n % 5 + 1)} {n % 13},c{n % 4}" for n in range(64)]
    (folder / "d.csv").write_text("\n".join(["id,text,label", *lines]) + "\n")
    return ["--data", str(folder / "d.csv"), "--model", "tests.fuzz.letters:letters"]


def approximate(folder: Path) -> list[str]:
    """A job of an approximate index, which is kept."""
    settings = ("index.candidates=30", "index.min_recall=1e-9", "index.save=true")
    words = ["--data", str(write_small(folder)), "--index", "IVF4,Flat"]
    return words + [word for one in settings for word in ("--set", one)]


@dataclass(frozen=True)
class State:
    """An output folder as a start may find it.

    Attributes
    ----------
    job : callable
        Writes data, and returns the words of a job.
    dies : str
        At which rename the start before died; empty where it did not die.
    files : tuple of str
        Patterns of the files that are damaged.
    more : tuple of str
        Words of the start that finds them.
    """

    job: Callable[[Path], list[str]]
    dies: str
    files: tuple[str, ...]
    more: tuple[str, ...] = ()


STAGED = (".staging/*/*.json", ".staging/*/work/*", ".staging/*/run/**/*")
STATES = {
    "store": State(texts, "", (".store/*/*", ".store/*/counts/*/*"), ("--seed", "1")),
    "cache": State(texts, "", (".cache/**/*",), ("--seed", "1")),
    "scan": State(texts, ".*.partial/vectors-0.f32", (".store/.*.partial/*",)),
    "counting": State(texts, "work/count-00002.npy", STAGED),
    "writing": State(texts, "work/write-00002-hard.bin", STAGED),
    "sealing": State(texts, "semi_hard/part-00000.parquet", STAGED),
    "approximate store": State(approximate, "", (".store/*/*",), ("--seed", "1")),
    "approximate counting": State(approximate, "work/count-00002.npy", STAGED),
    "approximate writing": State(approximate, "work/write-00002-hard.bin", STAGED),
}


def words(job: list[str], out: Path, *more: str) -> list[str]:
    fixed = ["--margin", "0.3", "--max-triplets", "400", "--workers", "1", "--quiet"]
    return ["run", *job, "--out", str(out), *fixed, "--set", "output.report=false", *more]


def start(code: int, job: list[str], out: Path, *more: str) -> None:
    """Start a job outside of a test's capture; it must end with this code."""
    with pytest.raises(SystemExit) as ended:
        main(words(job, out, *more))
    assert ended.value.code == code


def made(out: Path) -> dict[str, Any]:
    """Return all of the latest run that must be the same."""
    run = miner.open_run(out)
    census = {key: value for key, value in run.manifest["census"].items() if key != "reused"}
    said = {key: run.manifest[key] for key in STATED}
    return {"files": payload(run.path.resolve()), "census": census, **said}


def flips(out: Path, patterns: tuple[str, ...], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Draw files of each kind, with one byte of each flipped."""
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for pattern in patterns for path in out.glob(pattern)):
        if path.is_file() and path.stat().st_size:
            canary = "canary" if "canaries" in path.parts else ""
            kinds[canary or re.sub(r"\d+", "#", path.name)].append(path)
    assert kinds
    for paths in kinds.values():
        for _ in range(FLIPS):
            path = rng.choice(paths)
            content = bytearray(path.read_bytes())
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            yield str(path.relative_to(out)), bytes(content)


def outcome(done: Result, what: str) -> str:
    """Return which of the three outcomes it is."""
    lines = done.err.splitlines()
    if done.code == 6:
        assert len(lines) == 1 and lines[0].startswith("mine: error: "), (what, done)
        return "refused"
    assert done.code == 0 and len(lines) <= 1, (what, done)
    for line in lines:
        assert re.match(r"mine: warning: .*(made|makes .*|computed) again$", line), (what, line)
    return "made again" if lines else "the same"


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_a_start_that_meets_a_flipped_byte(name: str, cli: Cli, tmp_path: Path) -> None:
    state, before, out = STATES[name], tmp_path / "before", tmp_path / "out"
    job = state.job(tmp_path)
    if state.dies:
        with pytest.MonkeyPatch.context() as patch:
            at_rename(state.dies, crash, patch=patch.setattr)
            start(1, job, before)
    else:
        start(0, job, before)
    if name == "cache":
        shutil.rmtree(before / ".store")
    start(0, job, tmp_path / "truth", *state.more)
    truth, met = made(tmp_path / "truth"), Counter[str]()
    for file, content in flips(before, state.files, random.Random(name)):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(before, out, symlinks=True)
        (out / file).write_bytes(content)
        found = outcome(cli(*words(job, out, *state.more)), file)
        met[found] += 1
        if found == "refused":
            assert Path(file).name == "shape.json", file
            continue
        assert made(out) == truth, file
        counted = name == "sealing" and "/work/count-" in file  # what is written needs it no more
        if not (counted or file.endswith(".json") or UNREAD.match(Path(file).name)):
            assert found == "made again", file
    print(name, dict(met))
    assert met["made again"]


@pytest.mark.slow
def test_verify_meets_a_flipped_byte(cli: Cli, tmp_path: Path) -> None:
    for job in (texts, approximate):
        out = tmp_path / job.__name__
        start(0, job(tmp_path), out)
        assert cli("verify", out).code == 0
        for file, content in flips(out, ("runs/**/*", "*.json", ".store/*/*"), random.Random(5)):
            whole = (out / file).read_bytes()
            (out / file).write_bytes(content)
            found = outcome(cli("verify", out), file)
            silent = file == "latest.json" or file.endswith("store.json")  # a blank of it, too
            assert found == "refused" or (found == "the same" and silent), file
            (out / file).write_bytes(whole)


def test_a_cached_vector_that_is_no_number_is_computed_again(cli: Cli, tmp_path: Path) -> None:
    """Without a warning of NumPy's, which would be an error here."""
    state, out = STATES["cache"], tmp_path / "out"
    job = state.job(tmp_path)
    start(0, job, out)
    truth = made(out)
    shutil.rmtree(out / ".store")
    (vectors,) = out.glob(".cache/*/segment-00.vectors")
    infinite = np.full(2, np.inf, "<f4").tobytes()
    vectors.write_bytes(infinite + vectors.read_bytes()[8:])
    assert outcome(cli(*words(job, out, "--force")), str(vectors)) == "made again"
    assert made(out) == truth

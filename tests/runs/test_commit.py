"""Same job, same bytes; and a run killed at any instant goes on where it stopped (section 6)."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from tests.conftest import ROOT
from tests.durable import Crash, at_rename, crash
from tests.operating import listen, units_done

ROWS, UNITS, CAP = 96, 6, 1500


def job(data: Path, out: Path, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    built: dict[str, dict[str, Any]] = {
        "dataset": {"path": str(data), "group": "document"},
        "mining": {"normalize": False, "margin": 0.5},
        "select": {"max_triplets": CAP, "per_pair": 12, "per_anchor": 60, "seed": 3},
        "output": {"path": str(out)},
        "engine": {"workers": 1},
    }
    return {name: {**built.get(name, {}), **sections.get(name, {})} for name in built | sections}


def payload(run: miner.Run) -> dict[str, bytes]:
    """All files of a run but its manifest, metrics and report, which tell of times."""
    files = [path for path in run.path.rglob("*") if path.is_file()]
    named = {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}
    assert named.pop("manifest.json") and named.pop("metrics.prom")
    named.pop("report.html", None)  # of runs in a process of their own
    return named


@dataclass
class Lab:
    """A data set, an output root, the right bytes, and the means to crash."""

    data: Path
    out: Path
    truth: dict[str, bytes]
    monkeypatch: pytest.MonkeyPatch
    caplog: pytest.LogCaptureFixture

    def mine(self, **sections: dict[str, Any]) -> miner.Run:
        return miner.mine(job(self.data, self.out, **sections))

    def crash(self, at: str, number: int = 1, *, late: bool = False, workers: int = 1) -> None:
        """Mine, and crash at a durable write; see `at_rename`."""
        with self.monkeypatch.context() as patched:
            at_rename(at, crash, number, late=late, patch=patched.setattr)
            with pytest.raises(Crash):
                self.mine(engine={"workers": workers})

    def did(self) -> tuple[int, int, int]:
        """How many units were counted, written and sealed since `listen`, as the log has it."""
        counted, written, sealed = (
            units_done(self.caplog, stage) for stage in ("counting", "writing", "sealing")
        )
        return counted, written, sealed

    def resume(self, **sections: dict[str, Any]) -> tuple[int, int, int]:
        """Mine; return how many units were counted, written and sealed for it."""
        listen(self.caplog)
        assert payload(self.mine(**sections)) == self.truth
        return self.did()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of few small whole numbers: ties, duplicates within and across classes, groups."""
    rng = np.random.default_rng(5)
    columns = {
        "id": range(ROWS),
        "image": rng.integers(0, 3, (ROWS, 5)).tolist(),
        "label": [f"c{n}" for n in rng.integers(0, 5, ROWS)],
        "document": pa.array(rng.integers(0, 30, ROWS)),
    }
    path = tmp_path_factory.mktemp("data") / "images.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def truth(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of an undisturbed run, by one worker."""
    run = miner.mine(job(data, tmp_path_factory.mktemp("truth"), output={"report": False}))
    written, census = run.manifest["written"], run.manifest["census"]
    assert {(facts["rows"], facts["truncated"]) for facts in written.values()} == {(CAP, True)}
    assert min(census[name] for name in ("easy", "semi_hard", "hard")) > 10_000
    assert min(run.manifest["dataset"]["hidden"][name] for name in ("duplicates", "group")) > 100
    return payload(run)


@pytest.fixture
def lab(
    data: Path,
    truth: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Lab:
    return Lab(data, tmp_path / "out", truth, monkeypatch, caplog)


@pytest.fixture(scope="module")
def old(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output root with a run of another job."""
    out = tmp_path_factory.mktemp("old") / "out"
    other = {"mining": {"margin": 0.25}, "select": {"max_triplets": 50}}
    miner.mine(job(data, out, output={"report": False}, **other))
    shutil.rmtree(out / ".store")
    return out


@pytest.mark.parametrize(
    "sections",
    [
        {"engine": {"workers": 2}},
        {"engine": {"workers": 5}},
        {"engine": {"name": "processes", "workers": 2}},
        {"engine": {"workers": 1}},
        {"mining": {"memory": "1B"}},
        {"mining": {"memory": "4GiB"}, "model": {"batch_size": 7}},
    ],
)
def test_nothing_but_the_job_shows_in_the_bytes(
    lab: Lab, sections: dict[str, dict[str, Any]]
) -> None:
    assert payload(lab.mine(**sections)) == lab.truth


def test_the_kernel_does_not_show_in_the_bytes(lab: Lab) -> None:
    """Where numba is not installed."""
    find = importlib.util.find_spec
    without = lambda name, *more: None if name == "numba" else find(name, *more)  # noqa: E731
    lab.monkeypatch.setattr(importlib.util, "find_spec", without)
    run = lab.mine()
    assert run.manifest["kernels"] == "numpy"
    assert payload(run) == lab.truth


def python(code: str, **environment: str) -> tuple[int, str]:
    """Run Python code in a process of its own; return its exit code and messages."""
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def dies(place: str, at: int = 1, *, late: bool = False) -> str:
    """Code of a process that is killed at a durable write; see `at_rename`."""
    return f"from tests.durable import at_rename, die; at_rename({place!r}, die, {at}, late={late})"


def test_the_hash_seed_does_not_show_in_the_bytes(lab: Lab) -> None:
    """The truth is from a process that has another one."""
    given = job(lab.data, lab.out, output={"report": False})
    code = f"import miner; miner.mine({given!r})"
    assert python(code, PYTHONHASHSEED="1") == (0, "")
    assert payload(miner.open_run(lab.out)) == lab.truth


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Names, times and bytes of all files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def check_names(out: Path) -> None:
    """What is named .parquet is finished and lies where it belongs; class folders hold parts."""
    for path in out.rglob("*"):
        inside = path.relative_to(out).parts
        if path.name.endswith(".parquet"):
            assert inside[0] == "runs" or inside[:1] + inside[2:3] == (".staging", "run")
            assert pq.read_table(path).num_rows >= 0
        if inside[0] == "runs" and path.parent.name in ("hard", "semi_hard"):
            assert re.fullmatch(r"part-\d{5}\.parquet", path.name)


@pytest.mark.sampled(11)
@pytest.mark.parametrize(
    "moment",  # and the units that the next call counts, writes and seals
    [
        ("staging.json", 1, False, (6, 6, 2)),
        (".store/*", 1, False, (6, 6, 2)),
        ("work/count-?????.npy", 4, False, (3, 6, 2)),
        ("work/count-?????.npy", 4, True, (3, 6, 2)),
        ("work/count-*.json", 5, False, (2, 6, 2)),
        ("work/count-*.json", 5, True, (1, 6, 2)),
        ("work/write-*-hard.bin", 4, True, (0, 3, 2)),
        ("work/write-*.json", 4, True, (0, 2, 2)),
        ("part-*.parquet", 2, False, (0, 0, 1)),
        ("part-*.parquet", 2, True, (0, 0, 1)),
        ("census.parquet", 1, False, (0, 0, 0)),
        ("census.parquet", 1, True, (0, 0, 0)),
        ("manifest.json", 1, False, (0, 0, 0)),
        ("manifest.json", 1, True, (0, 0, 0)),
        ("runs/*", 1, False, (0, 0, 0)),
        ("runs/*", 1, True, (0, 0, 0)),
        ("out/latest.json", 1, False, (0, 0, 0)),
        ("out/latest", 1, True, (0, 0, 0)),
    ],
)
def test_a_crash_leaves_latest_and_the_same_call_goes_on(
    lab: Lab, old: Path, moment: tuple[str, int, bool, tuple[int, int, int]]
) -> None:
    place, at, late, left = moment
    shutil.copytree(old, lab.out, symlinks=True)
    before, link = miner.open_run(lab.out), os.readlink(lab.out / "latest")
    files, pointer = snapshot(before.path), (lab.out / "latest.json").read_bytes()
    lab.crash(place, at, late=late)
    check_names(lab.out)
    pointed = place == "out/latest"
    assert (os.readlink(lab.out / "latest") == link) is not pointed
    assert ((lab.out / "latest.json").read_bytes() == pointer) is not pointed
    assert snapshot(before.path) == files
    assert lab.resume() == left
    run = miner.open_run(lab.out)
    assert payload(run) == lab.truth
    assert (lab.out / "latest").resolve() == run.path
    assert run.run_id in (lab.out / "latest.json").read_text()
    assert snapshot(before.path) == files
    assert {path.name for path in (lab.out / "runs").iterdir()} == {run.run_id, before.run_id}


def test_workers_lose_no_finished_unit(lab: Lab) -> None:
    lab.crash("work/count-?????.npy", 5, workers=3)
    recorded = len(list(lab.out.glob(".staging/*/work/count-*.json")))
    assert lab.resume(engine={"workers": 2}) == (UNITS - recorded, UNITS, 2)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "moment",
    [
        ("work/count-?????.npy", 4, (3, 6, 2)),
        ("work/write-*-hard.bin", 4, (0, 3, 2)),
        ("manifest.json", 1, (0, 0, 0)),
    ],
)
def test_a_killed_process_leaves_latest(
    lab: Lab, old: Path, moment: tuple[str, int, tuple[int, int, int]]
) -> None:
    place, at, left = moment
    shutil.copytree(old, lab.out, symlinks=True)
    link = os.readlink(lab.out / "latest")
    given = job(lab.data, lab.out, output={"report": False})
    assert python(f"{dies(place, at)}; import miner; miner.mine({given!r})") == (9, "")
    check_names(lab.out)
    assert os.readlink(lab.out / "latest") == link
    assert lab.resume() == left
    assert len(list((lab.out / "runs").iterdir())) == 2
    assert list((lab.out / ".staging").iterdir()) == []


@pytest.mark.parametrize(
    ("place", "piece", "left"),
    [
        ("part-*.parquet", "work/count-00002.npy", (1, 0, 2)),
        ("part-*.parquet", "work/write-00003-hard.bin", (0, 1, 2)),
        ("census.parquet", "run/hard/part-00000.parquet", (0, 0, 1)),
    ],
)
def test_a_damaged_piece_is_made_again(
    lab: Lab, place: str, piece: str, left: tuple[int, int, int]
) -> None:
    lab.crash(place)
    (record,) = lab.out.glob(".store/*/counts")
    shutil.rmtree(record)  # else the units are not looked at
    crashed = lab.out
    for how in ("truncated", "changed", "missing"):
        lab.out = shutil.copytree(crashed, crashed.with_name(how), symlinks=True)
        (path,) = lab.out.glob(f".staging/*/{piece}")
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        if how == "missing":
            path.unlink()
        else:
            path.write_bytes(whole if how == "changed" else whole[: len(whole) // 2])
        assert lab.resume() == left, how


def test_another_job_starts_a_run_of_its_own(lab: Lab, tmp_path: Path) -> None:
    lab.crash("work/count-?????.npy", 5)
    table = pq.read_table(lab.data)
    images = table["image"].to_pylist()
    images[7][0] += 1
    moved = tmp_path / "moved.parquet"
    pq.write_table(table.set_column(1, "image", pa.array(images)), moved)
    for change in ({"mining": {"margin": 0.7}}, {"dataset": {"path": str(moved)}}):
        listen(lab.caplog)
        run = lab.mine(**change)
        assert lab.did()[0] == UNITS
        fresh = miner.mine(job(lab.data, tmp_path / "fresh", **change))
        assert payload(run) == payload(fresh) != lab.truth
    assert lab.resume() == (UNITS - 4, UNITS, 2)
    assert len(list((lab.out / "runs").iterdir())) == 3


def test_what_is_mined_is_found_again_unless_it_is_not_whole(lab: Lab, tmp_path: Path) -> None:
    first = lab.mine()
    copy = shutil.copy(lab.data, tmp_path / "copy.parquet")
    again = lab.mine(dataset={"path": str(copy)}, mining={"memory": "1MB"}, engine={"workers": 3})
    assert again.run_id == first.run_id
    (first.path / "hard/part-00000.parquet").unlink()
    assert lab.resume() == (0, UNITS, 2)  # the count is kept
    assert miner.open_run(lab.out).run_id != first.run_id


def test_names_while_a_run_goes_on(lab: Lab) -> None:
    stages = set()

    def look(stage: str, done: int, total: int) -> None:
        stages.add(stage)
        check_names(lab.out)
        assert not (lab.out / "latest").exists()
        assert not (lab.out / "runs").exists()

    run = miner.mine(job(lab.data, lab.out, engine={"workers": 2}), progress=look)
    assert {"embedding", "counting", "writing", "sealing"} <= stages
    check_names(lab.out)
    names = {"census.parquet", "hard", "manifest.json", "metrics.prom", "semi_hard"}
    assert names <= {path.name for path in run.path.iterdir()}

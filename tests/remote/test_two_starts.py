"""Two starts at once for one output root in object storage: one works, the other is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("boto3")

import miner
from tests.conftest import ROOT
from tests.faults.jobs import words, write_data
from tests.remote.conftest import Bucket

TIMES = int(os.environ.get("MINE_TWO_STARTS", "3"))


def start(data: Path, out: str, work: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "miner", *words(data, Path("here"))]
    command[command.index("here")] = out
    command += ["--log-format", "text", "--quiet"]
    environment, pipe = os.environ | {"MINE_WORK": str(work)}, subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def race(bucket: Bucket, data: Path, out: str, works: list[Path]) -> set[tuple[str, str]]:
    """Start twice at once; return the shards of the run that the one made."""
    both = [start(data, out, work) for work in works]
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 4], said
    refused, worker = codes.index(4), codes.index(0)
    assert said[worker] == ""
    assert said[refused].count("\n") == 1
    assert f"{out} is in use by process {both[worker].pid} on " in said[refused]
    under = out.removeprefix(f"{bucket.url}/") + "/"
    (manifest,) = (key for key in bucket.keys(under) if key.endswith("manifest.json"))
    run = miner.open_run(out)
    assert manifest == f"{under}runs/{run.run_id}/manifest.json"
    return {(shard["path"], shard["sha256"]) for shard in run.manifest["shards"]}


@pytest.mark.parametrize("machines", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_one_works(bucket: Bucket, tmp_path: Path, machines: int) -> None:
    """A machine is known by its work folder: on one it is the lock that decides."""
    data = write_data(tmp_path / "images.parquet")
    works = [tmp_path / f"work-{n % machines}" for n in range(2)]
    assert race(bucket, data, f"{bucket.url}/mined", works)


@pytest.mark.slow
@pytest.mark.parametrize("machines", [2, 1])
def test_one_works_every_time(bucket: Bucket, tmp_path: Path, machines: int) -> None:
    data, found = write_data(tmp_path / "images.parquet"), set()
    for time in range(TIMES):
        works = [tmp_path / f"work-{time}-{n % machines}" for n in range(2)]
        found.add(frozenset(race(bucket, data, f"{bucket.url}/mined-{time}", works)))
    assert len(found) == 1

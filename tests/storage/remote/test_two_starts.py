"""Two starts at once for one output root in object storage: one works, the other is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("obstore")

import miner
from tests.faults.jobs import write_data
from tests.faults.races import race, start
from tests.storage.remote.conftest import Bucket

TIMES = int(os.environ.get("MINE_TWO_STARTS", "3"))


def raced(bucket: Bucket, data: Path, out: str, works: list[Path]) -> set[tuple[str, str]]:
    """Start twice at once; return the shards of the run that the one made."""
    assert f"{out} is in use by " in race(start(data, out, MINE_WORK=str(work)) for work in works)
    under = out.removeprefix(f"{bucket.url}/") + "/"
    (manifest,) = (key for key in bucket.keys(under) if key.endswith("manifest.json"))
    run = miner.open_run(out)
    assert manifest == f"{under}runs/{run.run_id}/manifest.json"
    return {(shard["path"], shard["sha256"]) for shard in run.manifest["shards"]}


@pytest.mark.slow
@pytest.mark.parametrize("machines", [2, 1])
def test_one_works(bucket: Bucket, tmp_path: Path, machines: int) -> None:
    """A machine is known by its work folder: on one it is the lock that decides."""
    data = write_data(tmp_path / "images.parquet")
    works = [tmp_path / f"work-{n % machines}" for n in range(2)]
    assert raced(bucket, data, f"{bucket.url}/mined", works)


@pytest.mark.slow
@pytest.mark.parametrize("machines", [2, 1])
def test_one_works_every_time(bucket: Bucket, tmp_path: Path, machines: int) -> None:
    data, found = write_data(tmp_path / "images.parquet"), set()
    for time in range(TIMES):
        works = [tmp_path / f"work-{time}-{n % machines}" for n in range(2)]
        found.add(frozenset(raced(bucket, data, f"{bucket.url}/mined-{time}", works)))
    assert len(found) == 1

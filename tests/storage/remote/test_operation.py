"""Operation with an output on object storage: metrics, log, gates and retention."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("obstore")

import miner
from miner.storage.remote.base import open_folder
from miner.storage.remote.lease import Lease
from miner.storage.urls import local_root
from tests.conftest import Result
from tests.operating import events, outs, series
from tests.storage.remote.conftest import Bucket

Cli = Callable[..., Result]
CODE, SUCCESS = ("mine_last_exit_code",), ("mine_last_success_timestamp_seconds",)


@pytest.fixture
def out(bucket: Bucket) -> str:
    return f"{bucket.url}/mined"


@pytest.fixture
def words(small: Path, out: str) -> list[str]:
    return ["run", "--data", str(small), "--out", out, "--log-format", "json"]


def test_metrics_and_log(words: list[str], out: str, bucket: Bucket, cli: Cli) -> None:
    good = cli(*words)
    run = miner.open_run(out)
    last = events(good.err)[-1]
    assert (last["exit_code"], last["latest"], last["out"]) == (0, run.run_id, out)
    path = local_root(out) / "metrics.prom"  # on this machine: a collector reads no URL
    told = series(path)
    assert outs(path) == {out}
    assert told[("mine_triplets", "class=hard")] == run.manifest["census"]["hard"]
    assert f"mined/runs/{run.run_id}/metrics.prom" in bucket.keys()
    other = Lease(open_folder(out), "another machine's work folder")
    other.acquire()
    held = cli(*words, "--margin", "0.3")
    other.release()
    gated = cli(*words, "--margin", "0.3", "--set", "gates.max_hard_share=0")
    missing = cli(*words, "--margin", "0.3", "--data", f"{bucket.url}/nothing.csv")
    codes = [4, 5, events(missing.err)[-1]["exit_code"]]
    assert [one.code for one in (held, gated, missing)] == codes
    after = series(path)
    assert (after[CODE], after[SUCCESS]) == (codes[-1], told[SUCCESS])
    assert after[("mine_items",)] == 60
    assert f"latest is still run {run.run_id}" in events(gated.err)[-1]["message"]
    assert json.loads(bucket.get("mined/latest.json"))["run_id"] == run.run_id
    (uploaded,) = {key.split("/")[2] for key in bucket.keys("mined/runs/")}
    assert uploaded == run.run_id
    for result in (good, held, gated, missing):
        assert "very-secret" not in result.out + result.err
    loosened = cli(*words, "--margin", "0.3")
    lines = events(loosened.err)
    assert not [one for one in lines if one["event"] == "unit_done" and one["stage"] == "counting"]
    assert lines[-1]["exit_code"] == 0


def test_storage_that_is_not_there(words: list[str], cli: Cli, tmp_path: Path) -> None:
    words[words.index("--out") + 1] = "s3://missing-bucket-here/mined"
    mine = tmp_path / "mine.prom"
    for more, path in (([], local_root("s3://missing-bucket-here/mined") / "metrics.prom"),):
        result = cli(*words, *more)
        assert (result.code, events(result.err)[-1]["exit_code"]) == (6, 6)
        assert series(path)[CODE] == 6
    assert cli(*words, "--metrics", mine).code == 6
    assert (series(mine)[CODE], series(mine)[SUCCESS]) == (6, 0)


def test_retention(words: list[str], out: str, bucket: Bucket, cli: Cli) -> None:
    for margin in ("0.1", "0.2"):
        assert cli(*words, "--margin", margin, "--max-triplets", "5").code == 0
    run = miner.list_runs(out)[0][0]
    files = bucket.files(f"mined/runs/{run.run_id}")
    for night in range(1, 5):  # copies of it: the names tell their age
        for name, content in files.items():
            bucket.put(f"mined/runs/2020010{night}T000000Z-x/{name}", content)
    latest = {"run_id": "20200102T000000Z-x", "path": "runs/20200102T000000Z-x"}
    bucket.put("mined/latest.json", json.dumps(latest).encode())

    def nights() -> str:
        found = {key.split("/")[2] for key in bucket.keys("mined/runs/")}
        return "".join(sorted(name[7] for name in found if name.startswith("2020")))

    other = Lease(open_folder(out), "another machine's work folder")
    other.acquire()
    refused = cli("prune", out, "--keep", "0")
    assert (refused.code, refused.out) == (4, "")
    assert f"in use by process {os.getpid()}" in refused.err
    assert nights() == "1234"
    other.release()
    would = json.loads(cli("prune", out, "--keep", "3", "--dry-run", "--json").out)
    gone = [f"{out}/runs/2020010{night}T000000Z-x" for night in (1, 3)]
    assert [(one["kind"], one["path"]) for one in would["removed"]] == [("run", p) for p in gone]
    assert would["bytes"] == 2 * sum(map(len, files.values()))
    assert would["in_use"] == []
    assert nights() == "1234"
    assert json.loads(cli("prune", out, "--keep", "3", "--json").out) == would | {"dry_run": False}
    assert nights() == "24"
    bucket.put("mined/latest.json", b"{")
    assert cli("prune", out, "--keep", "0").code == 6  # what the latest is cannot be told
    assert nights() == "24"

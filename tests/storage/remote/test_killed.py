"""A process that is killed as it publishes leaves nothing half visible, and the next goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")

import miner
from miner.errors import StorageError
from miner.storage.remote import lease
from miner.storage.remote.s3 import S3Folder
from tests.conftest import ROOT, Result
from tests.storage.remote.conftest import Bucket

Cli = Callable[..., Result]
SLOW = pytest.mark.slow

DIE = """
import os, signal, sys
import miner.storage.remote.s3 as s3
from miner.cli.main import main
when, operation, ending = sys.argv[1:4]
inner = s3._client
def client(environment):
    made = inner(environment)
    def die(params=None, context=None, **_):
        if when == "before":
            context["ours"] = params["url"].endswith(ending)
        if when == "before" and context["ours"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "after" and context.get("ours"):
            os.kill(os.getpid(), signal.SIGKILL)
    def mark(params=None, context=None, **_):
        context["ours"] = params["url"].endswith(ending)
    made.meta.events.register(f"before-call.s3.{operation}", die if when == "before" else mark)
    if when == "after":
        made.meta.events.register(f"after-call.s3.{operation}", die)
    return made
s3._client = client
if operation == "UploadPart":
    s3._MULTIPART, ending = 1 << 10, ""
main(sys.argv[4:])
"""


def killed(arguments: list[str], when: str, operation: str, ending: str) -> None:
    command = [sys.executable, "-c", DIE, when, operation, ending, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


@pytest.fixture
def arguments(bucket: Bucket, small: Path) -> list[str]:
    words = ["run", "--data", str(small), "--out", f"{bucket.url}/mined", "--quiet"]
    return [*words, "--set", "output.report=false"]


FILES = 7
"""Of a run: two shards, the census, three tables beside it, and the metrics."""


@pytest.mark.parametrize(
    ("when", "operation", "ending", "left"),  # left: files that the next start uploads
    [
        pytest.param("before", "PutObject", "hard/part-00000.parquet", FILES, marks=SLOW),
        ("before", "UploadPart", "", FILES),
        pytest.param("after", "PutObject", "census.parquet", FILES - 2, marks=SLOW),
        # The metrics tell when it ended:
        pytest.param("before", "PutObject", "manifest.json", 1, marks=SLOW),
        pytest.param("after", "PutObject", "manifest.json", None, marks=SLOW),
        pytest.param("after", "PutObject", "latest.json", None, marks=SLOW),
    ],
)
def test_a_killed_upload_goes_on(
    bucket: Bucket,
    small: Path,
    tmp_path: Path,
    arguments: list[str],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    operation: str,
    ending: str,
    left: int | None,
) -> None:
    killed(arguments, when, operation, ending)
    committed = left is None
    out = f"{bucket.url}/mined"
    assert bool(miner.list_runs(out)[0]) is committed
    assert ("mined/latest.json" in bucket.keys()) is (ending == "latest.json")
    assert bool(bucket.uploads()) is (operation == "UploadPart")
    if ending != "latest.json":
        with pytest.raises(StorageError, match="not a finished run"):
            miner.open_run(out)
    with monkeypatch.context() as elsewhere:  # another machine cannot know that it is dead
        elsewhere.setenv("MINE_WORK", str(tmp_path / "elsewhere"))
        assert cli(*arguments).code == 4
    upload, seen = S3Folder.upload, []

    def count(self: S3Folder, path: Path, name: str) -> Any:
        seen.append(name)
        return upload(self, path, name)

    with monkeypatch.context() as counting:
        counting.setattr(S3Folder, "upload", count)
        result = cli(*arguments)
    assert result.code == 0, result.err
    assert len(seen) == (left or 0)
    assert bucket.uploads() == []
    (run,) = miner.list_runs(out)[0]
    assert miner.open_run(out).run_id == run.run_id
    local = miner.mine({"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "l")}})
    files = bucket.files(f"mined/runs/{run.run_id}")
    assert files.pop("manifest.json") and files.pop("metrics.prom")
    paths = list(local.path.rglob("*.parquet"))
    assert len(files) == FILES - 1
    assert files == {p.relative_to(local.path).as_posix(): p.read_bytes() for p in paths}
    assert miner.verify_run(run).problems == []
    assert not list((tmp_path / "work/out").glob("*/.staging/*"))


@pytest.mark.slow
def test_another_machine_takes_over_and_the_orphan_is_pruned(
    bucket: Bucket,
    arguments: list[str],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed(arguments, "before", "PutObject", "manifest.json")
    out = f"{bucket.url}/mined"
    (orphan,) = {key.split("/")[2] for key in bucket.keys("mined/runs/")}
    bucket.client.create_multipart_upload(
        Bucket=bucket.name, Key=f"mined/runs/{orphan}/hard/part-00001.parquet"
    )
    facts = json.loads(cli("prune", out, "--json").out)
    assert [one["kind"] for one in facts["removed"]] == ["parts"]  # the rest may be gone on with
    monkeypatch.setenv("MINE_WORK", str(tmp_path / "elsewhere"))
    later = S3Folder.now

    def now(self: S3Folder) -> float:
        return later(self) + lease.SECONDS + 10

    monkeypatch.setattr(S3Folder, "now", now)
    assert cli(*arguments).code == 0
    run = miner.open_run(out)
    assert run.run_id != orphan
    facts = json.loads(cli("prune", out, "--dry-run", "--json").out)
    assert [(one["kind"], one["path"].split("/")[5]) for one in facts["removed"]] == [
        ("upload", orphan)
    ]
    assert facts["bytes"] > 1000
    assert cli("prune", out).code == 0
    assert {key.split("/")[2] for key in bucket.keys("mined/runs/")} == {run.run_id}
    assert bucket.uploads() == []
    cli(*arguments, "--margin", "0.3")
    cli("prune", out, "--keep", "0")
    (kept,) = miner.list_runs(out)[0]
    assert kept.run_id == miner.open_run(out).run_id != run.run_id
    assert {key.split("/")[2] for key in bucket.keys("mined/runs/")} == {kept.run_id}

"""A process that is killed as it publishes leaves nothing half visible, and the next goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("obstore")

import miner
from miner.errors import StorageError
from miner.storage.remote import lease
from miner.storage.remote.base import Folder, open_folder
from tests.conftest import ROOT, Result
from tests.storage.remote.conftest import Bucket
from tests.storage.remote.proxy import Proxy, running

Cli = Callable[..., Result]
SLOW = pytest.mark.slow


class Way:
    """A proxy that the environment leads to. It kills a process at its first PUT of an ending."""

    def __init__(self, server: str) -> None:
        self.when, self.ending = "", ""
        self.puts: list[str] = []
        self.proxy = Proxy(server, self.verdict)

    def verdict(self, method: str, path: str) -> str:
        if method == "PUT" and "/runs/" in path:
            self.puts.append(path.rpartition("/")[2])
        ours = self.proxy.victim is not None and method == "PUT" and path.endswith(self.ending)
        return f"killed {self.when}" if ours else ""

    def kill(self, when: str, ending: str, command: list[str]) -> None:
        self.when, self.ending = when, ending
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        quiet = {"stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, *command], env=environment, **quiet) as process:
            self.proxy.victim = process.pid
            told = process.communicate()[1]
        assert process.returncode == -9, told
        self.puts.clear()


@pytest.fixture
def way(bucket: Bucket, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    way = Way(server)
    with running(way.proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.proxy.url)
        yield way


@pytest.fixture
def arguments(bucket: Bucket, small: Path) -> list[str]:
    words = ["run", "--data", str(small), "--out", f"{bucket.url}/mined", "--quiet"]
    return [*words, "--set", "output.report=false"]


FILES = 7
"""Of a run: two shards, the census, three tables beside it, and the metrics."""


@pytest.mark.parametrize(
    ("when", "ending", "left"),  # left: files that the next start uploads
    [
        pytest.param("before", "hard/part-00000.parquet", FILES, marks=SLOW),
        ("after", "census.parquet", FILES - 2),
        # The metrics tell when it ended:
        pytest.param("before", "manifest.json", 1, marks=SLOW),
        pytest.param("after", "manifest.json", None, marks=SLOW),
        pytest.param("after", "latest.json", None, marks=SLOW),
    ],
)
def test_a_killed_upload_goes_on(
    bucket: Bucket,
    way: Way,
    small: Path,
    tmp_path: Path,
    arguments: list[str],
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    ending: str,
    left: int | None,
) -> None:
    way.kill(when, ending, ["-m", "miner", *arguments])
    committed = left is None
    out = f"{bucket.url}/mined"
    assert bool(miner.list_runs(out)[0]) is committed
    assert ("mined/latest.json" in bucket.keys()) is (ending == "latest.json")
    if ending != "latest.json":
        with pytest.raises(StorageError, match="not a finished run"):
            miner.open_run(out)
    with monkeypatch.context() as elsewhere:  # another machine cannot know that it is dead
        elsewhere.setenv("MINE_WORK", str(tmp_path / "elsewhere"))
        assert cli(*arguments).code == 4
    way.puts.clear()
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert len([name for name in way.puts if name != "manifest.json"]) == (left or 0)
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


UPLOAD = """
import pathlib, sys
from miner.storage.remote.base import open_folder
open_folder(sys.argv[1]).upload(pathlib.Path(sys.argv[2]), "runs/x")
"""


def test_half_of_a_large_upload_is_nothing(bucket: Bucket, way: Way, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    command = ["-c", UPLOAD, bucket.url, str(tmp_path / "large")]
    way.kill("before", "", command)  # whichever of its parts comes first
    folder = open_folder(bucket.url)
    assert folder.entries() == bucket.keys() == []
    assert folder.upload(tmp_path / "large", "runs/x").bytes == 20 << 20


@pytest.mark.slow
def test_another_machine_takes_over_and_the_orphan_is_pruned(
    bucket: Bucket,
    way: Way,
    arguments: list[str],
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way.kill("before", "manifest.json", ["-m", "miner", *arguments])
    out = f"{bucket.url}/mined"
    (orphan,) = {key.split("/")[2] for key in bucket.keys("mined/runs/")}
    facts = json.loads(cli("prune", out, "--json").out)
    assert facts["removed"] == []  # it may be gone on with
    monkeypatch.setenv("MINE_WORK", str(tmp_path / "elsewhere"))
    kind = type(open_folder(out))
    later = kind.now

    def now(self: Folder) -> float:
        return later(self) + lease.SECONDS + 10

    monkeypatch.setattr(kind, "now", now)
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
    cli(*arguments, "--margin", "0.3")
    cli("prune", out, "--keep", "0")
    (kept,) = miner.list_runs(out)[0]
    assert kept.run_id == miner.open_run(out).run_id != run.run_id
    assert {key.split("/")[2] for key in bucket.keys("mined/runs/")} == {kept.run_id}

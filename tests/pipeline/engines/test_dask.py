"""Runs on a real Dask scheduler: the same bytes, and what happens when processes die."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import miner
from miner.errors import EngineError, GateError, UsageError
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import ENGINES, open_engine

distributed = pytest.importorskip("distributed")

from miner.pipeline.engines.dask import Dask  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.pipeline.engines import units  # noqa: E402
from tests.pipeline.engines.cluster import Cluster  # noqa: E402
from tests.pipeline.engines.data import UNIT, UNITS, payload, write_labelled, write_pairs  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("data") / "vectors.parquet")


@pytest.fixture(scope="module")
def truth(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    told = job(data, tmp_path_factory.mktemp("truth"))
    told["output"]["report"] = False
    return payload(miner.mine(told))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler that is at a test's mercy; it gives up on a unit at once."""
    cluster = Cluster(tmp_path, allowed_failures=0)
    yield cluster
    cluster.close()


def job(data: Path, out: Path, cluster: Cluster | None = None, **engine: Any) -> dict[str, Any]:
    if cluster is not None:
        engine = {"name": "dask", "address": cluster.address, "patience": 20, **engine}
    return {"dataset": {"path": str(data)}, "output": {"path": str(out)}, "engine": engine}


def test_labelled_items_have_the_same_bytes(
    data: Path, truth: dict[str, bytes], served: Cluster, tmp_path: Path
) -> None:
    run = miner.mine(job(data, tmp_path / "out", served))
    assert payload(run) == truth
    facts = run.manifest["engine"]
    assert (facts["name"], facts["address"], facts["lost"]) == ("dask", served.address, 0)
    assert [one["worker"] for one in facts["did"]] == ["east", "west"]
    shards = len(run.manifest["shards"])
    assert sum(one["units"] for one in facts["did"]) == 2 * UNITS + shards
    assert all(one["seconds"] > 0 for one in facts["did"])


def test_pairs_have_the_same_bytes(
    served: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    dataset = write_pairs(Path("."))
    select = {"strategy": "hardest", "options": {"k": 3}}
    seen = []
    for engine in ({}, {"name": "dask", "address": served.address}):
        out = {"path": f"out{len(seen)}"}
        sections = {"dataset": dataset, "select": select, "engine": engine, "output": out}
        seen.append(payload(miner.mine(sections)))
    assert seen[0] == seen[1]


def test_a_killed_worker_costs_nothing(
    data: Path, truth: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    cluster.start("stays", "goes", sabotage="slow:0.3")

    def look(stage: str, done: int, total: int) -> None:
        if stage == "counting" and done == 2 * UNIT:
            cluster.kill(*{"goes"} & set(cluster.workers))

    run = miner.mine(job(data, tmp_path / "out", cluster), progress=look)
    assert payload(run) == truth
    assert run.manifest["engine"]["lost"] == 1
    assert {"stays"} <= {one["worker"] for one in run.manifest["engine"]["did"]}


@pytest.mark.slow
def test_without_workers_a_run_ends_and_goes_on_later(
    data: Path, truth: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    cluster.start("one", "two", sabotage="slow:0.1")
    seen: list[tuple[str, int]] = []
    killed: list[float] = []

    def look(stage: str, done: int, total: int) -> None:
        seen.append((stage, done))
        if (stage, done) == ("counting", 3 * UNIT) and not killed:
            cluster.kill()
            killed.append(time.monotonic())

    with pytest.raises(EngineError, match=r"no worker .* for 2 s .*continues from here"):
        miner.mine(job(data, tmp_path / "out", cluster, patience=2), progress=look)
    assert time.monotonic() - killed[0] < 10
    done = len(list((tmp_path / "out/.staging").glob("*/work/count-*.json")))
    assert 3 <= done < UNITS
    cluster.start("three")
    seen.clear()
    assert payload(miner.mine(job(data, tmp_path / "out", cluster), progress=look)) == truth
    assert next(number for stage, number in seen if stage == "counting") == done * UNIT


@pytest.mark.slow
def test_a_poisonous_unit_is_found(data: Path, cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("one", "two", sabotage="exit:48", nanny=True)
    with pytest.raises(
        EngineError, match=r"keeps killing its worker, alone too: \(3, \(48, 64\)\)"
    ):
        miner.mine(job(data, tmp_path / "out", cluster))
    done = {path.name for path in (tmp_path / "out/.staging").glob("*/work/count-*.json")}
    assert {"count-00000.json", "count-00001.json"} <= done
    assert "count-00003.json" not in done


class Run:
    """`mine run` in a process of its own."""

    def __init__(self, data: Path, out: Path, *words: str) -> None:
        self.out = out
        command = [sys.executable, "-m", "miner", "run", "--data", str(data), "--out", str(out)]
        self.process = subprocess.Popen(
            [*command, "--engine", "dask", "--set", "output.report=false", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_units(self) -> None:
        for _ in range(1200):
            if list(self.out.glob(".staging/*/work/count-*.json")):
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        raise AssertionError("no unit was ever done")

    def end(self) -> tuple[int, str, float]:
        """Wait for it; return its exit code, what it said, and how long that took."""
        began = time.monotonic()
        _, said = self.process.communicate(timeout=60)
        assert re.fullmatch(r"((mine: .*)?\n)+", said), said
        return self.process.returncode, said.splitlines()[-1], time.monotonic() - began


def at(cluster: Cluster) -> tuple[str, str]:
    return "--set", f"engine.address={cluster.address}"


@pytest.mark.slow
def test_a_dead_scheduler_ends_the_run(data: Path, cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("one", sabotage="slow:0.5")
    run = Run(data, tmp_path / "out", *at(cluster))
    run.wait_for_units()
    cluster.kill_scheduler()
    code, said, seconds = run.end()
    assert (code, seconds < 15) == (6, True), (code, said, seconds)
    assert "the scheduler is gone" in said and "continues from here" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=["term", "int"],
)
def test_a_signal_clears_the_queue(
    number: signal.Signals, code: int, data: Path, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.start("one", sabotage="slow:1")
    run = Run(data, tmp_path / "out", *at(cluster))
    run.wait_for_units()
    run.process.send_signal(number)
    found, said, seconds = run.end()
    assert (found, seconds < 8) == (code, True), (found, said, seconds)
    assert "continues from here" in said
    with distributed.Client(cluster.address, set_as_default=False) as client:
        for _ in range(100):
            tasks = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
            if not tasks:
                break
            time.sleep(0.1)
        assert tasks == 0


def test_an_error_of_a_unit_arrives_as_itself(data: Path, cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("one", sabotage="raise:48")
    with pytest.raises(GateError, match="a gate that a worker found shut"):
        miner.mine(job(data, tmp_path / "out", cluster))
    assert len(list((tmp_path / "out/.staging").glob("*/work/count-*.json"))) >= 3


def test_what_cannot_be_reached_is_said_at_once(
    data: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=r"no worker at tcp:.* 0\.5 s .*; start workers"):
        miner.mine(job(data, tmp_path / "out", cluster, patience=0.5))
    gone = {"name": "dask", "address": cluster.address, "patience": 1}
    cluster.kill_scheduler()
    began = time.monotonic()
    with pytest.raises(
        EngineError, match=r"no scheduler answers at tcp://127.0.0.1:\d+; start one"
    ):
        miner.mine(job(data, tmp_path / "out", **gone))
    assert time.monotonic() - began < 6
    assert not list((tmp_path / "out/.staging").glob("*/work/*"))  # nothing was embedded
    for address in ("localhost", "127.0.0.1:80", "tcp://here", "tcp:// :1"):
        with pytest.raises(UsageError, match=r"not of the form tcp://HOST:PORT"):
            open_engine(EngineJob("dask", address=address))
    with pytest.raises(UsageError, match=r"engine\.patience"):
        miner.parse_job(job(data, tmp_path, patience=0))
    with pytest.raises(UsageError, match=r"add --set engine\.address=tcp:.*--engine processes"):
        open_engine(EngineJob("dask"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"distributed: .*pip install '.+\[dask\]'"):
        ENGINES.load("dask")


class Newer(Dask):
    """An engine of another version than its workers."""

    def call(self, function: Any) -> Any:
        return dataclasses.replace(super().call(function), versions={"mine": "99"})


def test_workers_must_run_the_same_programs(served: Cluster) -> None:
    with (
        Newer(EngineJob("dask", address=served.address)) as engine,
        pytest.raises(EngineError, match=r"worker (east|west) has mine .*, not 99 as here; inst"),
    ):
        list(engine.map(units.square, range(3)))


def test_what_fails_in_passing_is_done_again(served: Cluster, tmp_path: Path) -> None:
    with open_engine(EngineJob("dask", address=served.address)) as engine:
        found = engine.map(units.fails_once, [(n, str(tmp_path)) for n in range(4)])
        assert sorted(found) == [0, 1, 2, 3]
        with pytest.raises(OSError, match="no such disk"):
            list(engine.map(units.fails, range(2)))


def test_as_many_at_once_as_were_asked_for(served: Cluster) -> None:
    with open_engine(EngineJob("dask", workers=1, address=served.address)) as engine:
        times = sorted(engine.map(units.timed, range(4)))
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(times))


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    page = (ROOT / "miner/docs/scaling.md").read_text()
    block = re.search(r"^```text\n(dask scheduler .*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    told = block[1].replace("10.0.0.5", "127.0.0.1").replace("8786", port)
    scheduler, worker, run = told.replace("--nworkers 8", "--nworkers 2").splitlines()
    more = ["--dashboard-address", "127.0.0.1:0"]
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *line.split(), *more],
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for line in (scheduler, worker)
    ]
    try:
        command = [sys.executable, "-m", "miner", *run.split()[1:], "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["engine"]["address"] == f"tcp://127.0.0.1:{port}"
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("nanny", [True, False], ids=["nanny", "bare"])
def test_a_poisonous_unit_with_a_scheduler_as_it_comes(
    nanny: bool, data: Path, tmp_path: Path
) -> None:
    """The scheduler takes four deaths for one, and blames neighbours; without nannies none is left.

    All that is not poison is done in the end, by the same command with sound workers.
    """
    cluster = Cluster(tmp_path)
    try:
        cluster.start("one", "two", sabotage="exit:48,slow:0.2", nanny=nanny)
        began = time.monotonic()
        with pytest.raises(EngineError, match="keeps killing" if nanny else "no worker at"):
            miner.mine(job(data, tmp_path / "out", cluster, patience=15))
        assert time.monotonic() - began < 120
        cluster.kill("one", "two")
        cluster.start("sound")
        run = miner.mine(job(data, tmp_path / "out", cluster))
        assert payload(run) == payload(miner.mine(job(data, tmp_path / "truth")))
    finally:
        cluster.close()


@pytest.mark.slow
def test_a_run_outlives_workers_that_come_and_go(tmp_path: Path) -> None:
    """A worker dies, and another one comes, every few units: the bytes are the same."""
    data = write_labelled(tmp_path / "many.parquet", 1024)
    truth = payload(miner.mine(job(data, tmp_path / "truth")))
    cluster = Cluster(tmp_path)
    names = (f"w{number}" for number in range(1000))
    try:
        cluster.start(next(names), next(names), sabotage="slow:0.5")
        process = Run(data, tmp_path / "out", *at(cluster)).process
        before = 0
        while process.poll() is None:
            time.sleep(1)
            if len(cluster.workers) < cluster.connected() + 2:  # a busy machine starts them slowly
                cluster.start(next(names), sabotage="slow:0.5", wait=False)
            done = len(list(tmp_path.glob("out/.staging/*/work/*.json")))
            if len(cluster.workers) > 3 and done > before + 2:  # and is long at a unit
                cluster.kill(next(iter(cluster.workers)))
                before = done
        said = process.communicate()[1]
        assert process.returncode == 0, said
        assert said.count("\n") < 10
        run = miner.open_run(tmp_path / "out")
        assert payload(run) == truth
        assert run.manifest["engine"]["lost"] >= 3
    finally:
        cluster.close()

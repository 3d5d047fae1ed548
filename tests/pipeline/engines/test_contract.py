"""What every engine keeps, over all that are registered: each unit once, the same bytes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import miner
from miner.errors import DataError, EngineError, UsageError
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import ENGINES, open_engine
from tests.pipeline.engines import units
from tests.pipeline.engines.data import payload, write_labelled, write_pairs


def job_of(name: str, request: pytest.FixtureRequest) -> EngineJob:
    """Two workers of an engine; those of dask are at the scheduler that all tests share."""
    address = request.getfixturevalue("served").address if name == "dask" else None
    return EngineJob(name, workers=2, address=address)


@pytest.fixture(params=ENGINES.names())
def engine_job(request: pytest.FixtureRequest) -> EngineJob:
    return job_of(request.param, request)


@pytest.fixture(params=["processes", "dask"])
def mortal(request: pytest.FixtureRequest) -> EngineJob:
    """An engine whose workers may die."""
    return job_of(request.param, request)


def test_each_unit_is_done_once_and_errors_are_their_own(engine_job: EngineJob) -> None:
    with open_engine(engine_job) as engine:
        assert list(engine.map(units.square, [])) == []
        assert engine.facts()["did"] == []
        for many in (1, 23):
            assert sorted(engine.map(units.square, range(many))) == [n * n for n in range(many)]
        facts = engine.facts()
        assert (facts["name"], facts["workers"], facts["lost"]) == (engine_job.name, 2, 0)
        assert sum(one["units"] for one in facts["did"]) == 24
        assert 1 <= len(facts["did"]) <= 3
        assert [one["seconds"] >= 0 for one in facts["did"]] == [True] * len(facts["did"])
        assert {n for found in engine.map(units.threads, range(4)) for n in found} == {1}
        with pytest.raises(DataError, match=r"row 3 of .* is wrong"):
            list(engine.map(units.wrong, range(6)))
        assert sorted(engine.map(units.square, range(3))) == [0, 1, 4]


def test_processes_have_the_bytes_of_threads(tmp_path: Path) -> None:
    """Those of dask are compared in `test_dask`."""
    labelled = {"path": str(write_labelled(tmp_path / "vectors.parquet"))}
    select = {"strategy": "hardest", "options": {"k": 3}, "max_triplets": 100}
    for number, dataset in enumerate((labelled, write_pairs(tmp_path))):
        seen = []
        for engine in ({}, {"name": "processes", "workers": 2}):
            sections: dict[str, Any] = {"dataset": dataset, "select": select, "engine": engine}
            sections["output"] = {"path": str(tmp_path / f"{number}{len(seen)}")}
            seen.append(payload(miner.mine(sections)))
        assert seen[0] == seen[1]


def test_a_dead_worker_is_made_up_for(mortal: EngineJob, tmp_path: Path) -> None:
    with open_engine(mortal) as engine:
        done = list(engine.map(units.dies_once, [(n, str(tmp_path)) for n in range(12)]))
        assert (tmp_path / "died").exists()
        assert sorted(done) == list(range(12))
        assert sorted(engine.map(units.square, range(3))) == [0, 1, 4]


def test_a_deadly_unit_ends_it(mortal: EngineJob) -> None:
    done, began = [], time.monotonic()
    with (
        pytest.raises(EngineError, match=f"engine {mortal.name}: .* continues from here"),
        open_engine(mortal) as engine,
    ):
        for unit in engine.map(units.dies, range(8)):
            done.append(unit)
    assert {0, 1, 2} <= set(done) < set(range(8))
    assert len(done) == len(set(done))
    assert time.monotonic() - began < 30


@pytest.mark.filterwarnings(r"ignore:.*\d+ tasks :UserWarning")  # pytest forgets our own filter
def test_leaving_early_takes_no_time(engine_job: EngineJob) -> None:
    with open_engine(engine_job) as engine:
        for _ in engine.map(units.sleepy, range(400)):
            began = time.monotonic()
            break
    assert time.monotonic() - began < 8


def test_a_worker_that_grows_is_kept() -> None:
    """loky ends a process that grew by 300 MB, with a warning, where psutil is installed."""
    pytest.importorskip("psutil")
    with open_engine(EngineJob("processes", workers=2)) as engine:
        assert len(set(engine.map(units.grows, range(6)))) <= 2


@pytest.mark.slow
def test_what_is_sent_does_not_grow_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ENGINES, "entries", dict(ENGINES.entries))
    ENGINES.register("measuring", "tests.pipeline.engines.units:Measuring")
    most = []
    for rows in (128, 1024):
        units.SENT.clear()
        data = write_labelled(tmp_path / f"{rows}.parquet", rows)
        sections = {"dataset": {"path": str(data)}, "output": {"path": str(tmp_path / str(rows))}}
        run = miner.mine(sections | {"engine": {"name": "measuring"}})
        counted = miner.mine(sections | {"select": {"seed": 1}, "engine": {"name": "threads"}})
        assert (len(run.census()), len(counted.census())) == (rows, rows)
        most.append(max(units.SENT))
    assert most[1] < most[0] + 50
    assert most[1] < 2000


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (EngineJob("tread"), "did you mean 'threads'"),
        (EngineJob("threads:2"), "did you mean 'threads'"),
        (EngineJob("joblib:loky"), "no engine 'joblib:loky' any more; use threads, processes or"),
        (EngineJob("threads", address="tcp://127.0.0.1:1"), "engine.address is for dask"),
    ],
)
def test_names_that_are_not_understood(job: EngineJob, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_engine(job)

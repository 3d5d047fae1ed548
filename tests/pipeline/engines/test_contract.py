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

JOBLIB = ["joblib:sequential", "joblib:multiprocessing"]
NAMES = [name for name in ENGINES.names() if name != "joblib"] + JOBLIB
SLOW = "joblib:multiprocessing"
"""Its pools take seconds to begin, and few use it."""


def needed(name: str) -> str:
    """Skip where an engine's extra is not installed."""
    if ENGINES.entries[name.partition(":")[0]].missing:
        pytest.skip(f"{name} is not installed")
    return name


def marked(names: list[str]) -> list[Any]:
    """Leave the slow one to `make test-slow`."""
    return [pytest.param(n, marks=pytest.mark.slow) if n == SLOW else n for n in names]


@pytest.fixture(params=marked(NAMES))
def name(request: pytest.FixtureRequest) -> str:
    return needed(request.param)


@pytest.fixture(params=["processes", "dask"])
def mortal(request: pytest.FixtureRequest) -> str:
    """An engine whose workers may die."""
    return needed(request.param)


def test_each_unit_is_done_once_and_errors_are_their_own(name: str) -> None:
    with open_engine(EngineJob(name, workers=2)) as engine:
        assert list(engine.map(units.square, [])) == []
        assert engine.facts()["did"] == []
        for many in (1, 23):
            assert sorted(engine.map(units.square, range(many))) == [n * n for n in range(many)]
        facts = engine.facts()
        assert (facts["name"], facts["workers"], facts["lost"]) == (name, 2, 0)
        assert sum(one["units"] for one in facts["did"]) == 24
        assert 1 <= len(facts["did"]) <= 3
        assert [one["seconds"] >= 0 for one in facts["did"]] == [True] * len(facts["did"])
        assert {n for found in engine.map(units.threads, range(4)) for n in found} == {1}
        with pytest.raises(DataError, match=r"row 3 of .* is wrong"):
            list(engine.map(units.wrong, range(6)))
        assert sorted(engine.map(units.square, range(3))) == [0, 1, 4]


@pytest.mark.parametrize("name", marked([n for n in NAMES if n not in ("threads", "dask")]))
def test_all_have_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Those of dask are compared in `test_dask`, where workers are at hand."""
    labelled = {"path": str(write_labelled(tmp_path / "vectors.parquet"))}
    select = {"strategy": "hardest", "options": {"k": 3}, "max_triplets": 100}
    for number, dataset in enumerate((labelled, write_pairs(tmp_path))):
        seen = []
        for engine in ({}, {"name": name, "workers": 2}):
            sections: dict[str, Any] = {"dataset": dataset, "select": select, "engine": engine}
            sections["output"] = {"path": str(tmp_path / f"{number}{len(seen)}")}
            seen.append(payload(miner.mine(sections)))
        assert seen[0] == seen[1]


def test_a_dead_worker_is_made_up_for(mortal: str, tmp_path: Path) -> None:
    with open_engine(EngineJob(mortal, workers=2)) as engine:
        done = list(engine.map(units.dies_once, [(n, str(tmp_path)) for n in range(12)]))
        assert (tmp_path / "died").exists()
        assert sorted(done) == list(range(12))
        assert sorted(engine.map(units.square, range(3))) == [0, 1, 4]


def test_a_deadly_unit_ends_it(mortal: str) -> None:
    done, began = [], time.monotonic()
    with (
        pytest.raises(EngineError, match=f"engine {mortal}: .* goes on from here"),
        open_engine(EngineJob(mortal, workers=2)) as engine,
    ):
        for unit in engine.map(units.dies, range(8)):
            done.append(unit)
    assert {0, 1, 2} <= set(done) < set(range(8))
    assert len(done) == len(set(done))
    assert time.monotonic() - began < 30


@pytest.mark.filterwarnings(r"ignore:.*\d+ tasks :UserWarning")  # pytest forgets our own filter
def test_leaving_early_takes_no_time(name: str) -> None:
    with open_engine(EngineJob(name, workers=2)) as engine:
        for _ in engine.map(units.sleepy, range(4 if name in JOBLIB else 400)):
            began = time.monotonic()
            break
    assert time.monotonic() - began < 8


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
        (EngineJob("joblib"), "must be written 'joblib:BACKEND'"),
        (EngineJob("threads:2"), "must be written 'threads'"),
        (EngineJob("joblib:lokky"), "did you mean 'loky'"),
        (EngineJob("joblib:dask"), "write engine 'dask'"),
        (EngineJob("threads", address="tcp://127.0.0.1:1"), "engine.address is for dask"),
    ],
)
def test_names_that_are_not_understood(job: EngineJob, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_engine(job)

"""Shared by all tests: the command line in this process, and small data sets on disk."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.cli.main import main
from tests.sampling import mark_the_rest
from tests.sizes import make_small
from tests.spreading import UNCOMPILED, group_of
from tests.spreading import pytest_xdist_make_scheduler as pytest_xdist_make_scheduler

ROOT = Path(__file__).parent.parent

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """Hear SIGINT: a shell starts jobs in the background deaf to it, and so would be their own."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before those of another mark are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_the_rest(items)
    items.sort(key=lambda item: group_of(item.nodeid))


@dataclass(frozen=True)
class Result:
    """What a call of the command line left: its exit code and what it printed."""

    code: int
    out: str
    err: str


class _ShortNaps:
    """The module `time`, but that it sleeps a tenth as long."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / 10)


@pytest.fixture(autouse=True, scope="session")
def short_naps() -> Iterator[None]:
    """Let joblib look for results each millisecond: ten are more than most units of tests take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("joblib.parallel.time", _ShortNaps())
        yield


@pytest.fixture(autouse=True, scope="module")
def compiled_loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Count all jobs by numba, or by NumPy where tests need no numba: see `tests.spreading`."""
    with pytest.MonkeyPatch.context() as patch:
        compiled = not request.node.nodeid.startswith(UNCOMPILED)
        make_small(patch, tiny=-1 if compiled else 1 << 40, numpy=-1)
        yield


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip flushes in this process: they take most of a small run's time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no report of runs in this process, for the same reason, but in tests marked for it."""
    if request.node.get_closest_marker("report") is None:
        monkeypatch.setattr("miner.pipeline.run.add_report", lambda *_: ([], ""))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Call `mine` with arguments (turned to text), in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(int(exit_.value.code or 0), captured.out, captured.err)

    return call


def write_vectors(
    path: Path, vectors: np.ndarray, labels: list[object], **columns: list[object]
) -> Path:
    """Write a Parquet file of precomputed vectors: id, embedding, label and more columns."""
    table = pa.table(
        {
            "id": [f"i{row}" for row in range(len(vectors))],
            "embedding": pa.array(list(vectors), pa.list_(pa.float32())),
            "label": labels,
            **columns,
        }
    )
    pq.write_table(table, path)
    return path


def write_small(folder: Path) -> Path:
    """Write 60 vectors of 8 dimensions in 5 classes, a Parquet file."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    return write_vectors(folder / "small.parquet", vectors, [f"c{n % 5}" for n in range(60)])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """60 vectors of 8 dimensions in 5 classes, a Parquet file."""
    return write_small(tmp_path)


@pytest.fixture(scope="session")
def mined_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output root of a run of `small`, mined once: tests copy it."""
    folder = tmp_path_factory.mktemp("small")
    out = {"path": str(folder / "out"), "report": False}
    miner.mine({"dataset": {"path": str(write_small(folder))}, "output": out})
    return folder / "out"


@pytest.fixture
def run(mined_small: Path, tmp_path: Path) -> miner.Run:
    """A copy of a run of `small`, in `out`, that a test may damage."""
    return miner.open_run(shutil.copytree(mined_small, tmp_path / "out", symlinks=True))

"""Several devices of sentence-transformers: one process for each, the same vectors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.embedding.models.load import load_model
from miner.errors import DataError, EngineError
from tests.conftest import ROOT
from tests.embedding.models.conftest import TEXTS
from tests.embedding.models.tiny_encoders import encoder_with_code, sentence_transformers

# The library's imports warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ROWS = [" ".join([TEXTS[row % 6]] * (1 + row * 7 % 5)) + f" {row}" for row in range(45)]
TWO = {"devices": ["cpu", "cpu"], "trust_remote_code": True}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes take over `sys.path`, where other tests put a torchvision without operators."""
    monkeypatch.setattr(sys, "path", [one for one in sys.path if Path(one).name != "timm"])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with code of its own, which the processes have to find."""
    assert (
        sentence_transformers.SentenceTransformer
    )  # imported here, where warnings are let through
    folder = tmp_path_factory.mktemp("encoders")
    return encoder_with_code(folder / "code", folder / "ran")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.table({"text": ROWS, "label": [row % 3 for row in range(len(ROWS))]}), path)
    return path


def workers(parent: int | None = None) -> list[int]:
    """The processes of pools that a process (this one) has."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            spawned = b"spawn_main" in (folder / "cmdline").read_bytes()
            if above == (parent or os.getpid()) and spawned:
                found.append(int(folder.name))
    return found


def alive(processes: list[int]) -> list[int]:
    """Those that have not ended; zombies have."""
    states = {}
    for one in processes:
        with contextlib.suppress(OSError):
            states[one] = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()[0]
    return [one for one, state in states.items() if state != "Z"]


def job(encoder: Path, data: Path, out: Path, **options: Any) -> dict[str, Any]:
    return {
        "dataset": {"path": str(data)},
        "model": {
            "name": str(encoder),
            "batch_size": 4,
            "options": {"trust_remote_code": True, **options},
        },
        "gates": {"min_rows": 0},
        "output": {"path": str(out)},
    }


def test_several_processes_give_the_same_bytes(encoder: Path, data: Path, tmp_path: Path) -> None:
    """45 rows in batches of 4: a last group of one whole batch and one row."""
    one = miner.mine(job(encoder, data, tmp_path / "one"))
    two = miner.mine(job(encoder, data, tmp_path / "two", devices=["cpu", "cpu"]))
    assert not workers()
    assert two.manifest["fingerprint"] == one.manifest["fingerprint"]
    shards = [[part["sha256"] for part in run.manifest["shards"]] for run in (one, two)]
    assert shards[0] == shards[1] and two.manifest["embedding"]["computed"] == 45
    again = miner.mine(job(encoder, data, tmp_path / "one", devices=["cpu", "cpu"]))
    assert again.run_id == one.run_id


def test_an_error_ends_the_run_and_the_processes(encoder: Path, data: Path, tmp_path: Path) -> None:
    """The rows that are embedded first are sound: the pool works when the last one is met."""
    table = pq.read_table(data).to_pydict()
    broken = tmp_path / "long.parquet"  # longer than the encoder has positions for
    table["text"][44] = " ".join(["my"] * 99)
    pq.write_table(pa.table(table), broken)
    wanted = job(encoder, broken, tmp_path / "out", devices=["cpu", "cpu"], max_length=99)
    with pytest.raises(DataError, match="failed") as caught:
        miner.mine(wanted)
    assert "\n" not in str(caught.value) and not workers()


@pytest.fixture
def pooled(encoder: Path) -> Iterator[Any]:
    loaded = load_model(str(encoder), "text", TWO)
    assert not workers()  # none before the first batch
    loaded.embed(ROWS[:5])
    assert len(workers()) == 2
    yield loaded
    loaded.model.close()


def test_processes_that_die_are_named_and_the_next_call_has_new_ones(
    encoder: Path, pooled: Any
) -> None:
    first = workers()
    for one in first:
        os.kill(one, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"a process of model\.options\.devices died"):
        pooled.embed(ROWS[:8], "item", "", 4)
    assert not alive(first)
    alone = load_model(str(encoder), "text", {"trust_remote_code": True})
    expected = [alone.embed(ROWS[start : start + 4]) for start in range(0, 8, 4)]
    vectors = pooled.embed(ROWS[:8], "item", "", 4)
    np.testing.assert_array_equal(vectors, np.concatenate(expected))
    last = workers()
    assert len(last) == 2
    pooled.model.close()
    assert not alive(last)


def test_a_model_that_is_dropped_takes_its_processes_along(encoder: Path) -> None:
    loaded = load_model(str(encoder), "text", TWO)
    loaded.embed(ROWS[:1])
    assert len(workers()) == 2
    del loaded
    assert not workers() and not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process(
    number: signal.Signals, encoder: Path, tmp_path: Path
) -> None:
    """A terminal sends SIGINT to the processes too; a killed run cannot end them itself."""
    rows = [f"{ROWS[row % 45]} {row}" for row in range(200_000)]
    table = pa.table({"text": rows, "label": [row % 3 for row in range(len(rows))]})
    pq.write_table(table, tmp_path / "many.parquet")
    options = ["--data", str(tmp_path / "many.parquet"), "--out", str(tmp_path / "out"), "--quiet"]
    options += ["--model", str(encoder), "--set", "model.options.trust_remote_code=true"]
    options += ["--set", 'model.options.devices=["cpu","cpu"]', "--set", "model.batch_size=4"]
    run = subprocess.Popen(
        [sys.executable, "-m", "miner", "run", *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not any((tmp_path / "out" / ".cache").glob("*/*.vectors")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    seen = workers(run.pid)
    assert len(seen) == 2
    if number == signal.SIGINT:
        os.killpg(run.pid, number)
    else:
        run.send_signal(number)
    _, said = run.communicate(timeout=120)
    assert run.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    deadline = time.monotonic() + 30
    while alive(seen):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    if number != signal.SIGKILL:
        lines = [line for line in said.splitlines() if line.strip() and "weights" not in line]
        assert len(lines) == 1 and lines[0].startswith("mine: "), said

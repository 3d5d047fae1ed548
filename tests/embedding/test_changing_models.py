"""A model that becomes another one while it embeds: noticed, named, and not kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import DataError, EngineError
from tests.conftest import Result

HERE = "tests.embedding.test_changing_models"
ROWS = 400
PROBES = {"after every batch": 0.0, "first and last": 1e9}
"""How long a model embeds between two probes, in times of a probe."""


@dataclass
class State:
    """Of the model: how many rows it has embedded, and between which it is another one."""

    rows: int = 0
    after: float = math.inf
    back: float = math.inf
    noise: float = 0.0
    most: float = math.inf  # rows at once
    refused: str = ""


STATE = State()


def embed(batch: list[str]) -> np.ndarray:
    """Count letters; otherwise while it is the other model."""
    if len(batch) > STATE.most:
        raise MemoryError
    if STATE.refused in batch:
        raise RuntimeError("I do not like this text")
    vectors = np.array([[1.0 + text.count(letter) for letter in "abcdefgh"] for text in batch])
    if STATE.after <= STATE.rows < STATE.back:
        vectors = vectors[:, ::-1].copy()
    if STATE.rows:
        vectors[:, 0] *= 1 + STATE.noise * (-1) ** STATE.rows
    STATE.rows += len(batch)
    return vectors


def wider(batch: list[str]) -> np.ndarray:
    """Give vectors of another width while it is the other model."""
    more = STATE.after <= STATE.rows < STATE.back
    vectors = embed(batch)
    return np.pad(vectors, [(0, 0), (0, 1)]) if more else vectors


class Uncached(miner.Model):
    """Not worth a cache."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    cached: ClassVar[bool] = False

    def embed(self, batch: Any) -> np.ndarray:
        return embed(batch)


class Known(miner.Model):
    """Knows its weights."""

    def embed(self, batch: Any) -> np.ndarray:
        return embed(batch)

    def weights(self) -> str:
        return "one"


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.setattr(f"{HERE}.STATE", State())
    return STATE


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    rows = ["".join(rng.choice(list("abcdefgh"), 12)) + f" {n}" for n in range(ROWS)]
    table = pa.table({"id": range(ROWS), "text": rows, "label": [n % 20 for n in range(ROWS)]})
    pq.write_table(table, tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


def job(data: Path, out: str, model: str = "embed", **model_keys: Any) -> dict[str, Any]:
    return {
        "dataset": {"path": str(data)},
        "model": {"name": f"{HERE}:{model}", "batch_size": 16, **model_keys},
        "select": {"max_triplets": 0},
        "output": {"path": str(data.parent / out)},
    }


def stored(run: miner.Run, side: int = 0) -> bytes:
    folder = run.path.parent.parent / ".store" / run.manifest["store"]
    return (folder / f"vectors-{side}.f32").read_bytes()


@pytest.mark.parametrize("often", PROBES)
def test_a_change_ends_the_run_and_nothing_of_it_is_kept(
    often: str,
    texts: Path,
    tmp_path: Path,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("miner.embedding.probed_vectors._WORK_PER_PROBE", PROBES[often])
    STATE.after = 250
    words = ("run", "--data", texts, "--model", f"{HERE}:embed", "--out", tmp_path / "out")
    words += ("--set", "model.batch_size=16", "--max-triplets", "0")
    result = cli(*words)
    assert result.code == 3 and len(result.err.strip().splitlines()[-1:]) == 1
    message = " ".join(result.err.split())
    assert "answers its probe differently after" in message and "run the same" in message
    assert not (tmp_path / "out" / "latest").exists()
    STATE.after = math.inf  # the former model answers again, and what it embedded is there
    run = miner.mine(job(texts, "out"))
    reused = run.manifest["embedding"]["reused"]
    assert 100 < reused < 250 if often == "after every batch" else 8 < reused < 40
    assert stored(run) == stored(miner.mine(job(texts, "fresh")))


def test_a_change_that_stays_is_another_model(texts: Path) -> None:
    STATE.after = 250
    with pytest.raises(DataError, match="answers its probe differently"):
        miner.mine(job(texts, "out"))
    run = miner.mine(job(texts, "out"))
    assert run.manifest["embedding"]["computed"] == ROWS
    assert stored(run) == stored(miner.mine(job(texts, "fresh")))


def test_a_model_that_changes_in_its_last_batch(texts: Path) -> None:
    STATE.after = 8 + ROWS - 20
    with pytest.raises(DataError, match="answers its probe differently"):
        miner.mine(job(texts, "out"))


def test_another_width_is_a_change(texts: Path) -> None:
    STATE.after = 250
    with pytest.raises(DataError, match=r"answers its probe differently after .* rows"):
        miner.mine(job(texts, "out", "wider"))


def test_a_change_among_the_first_rows_of_the_corpus(tmp_path: Path) -> None:
    """The model is identified by queries; the corpus begins with a sample of its own."""
    queries, corpus, links = (tmp_path / f"{name}.parquet" for name in ("q", "c", "l"))
    pq.write_table(pa.table({"id": ["q0", "q1"], "text": ["ab", "cd"]}), queries)
    pq.write_table(pa.table({"id": ["c0", "c1", "c2"], "text": ["abc", "cde", "fgh"]}), corpus)
    pq.write_table(pa.table({"query-id": ["q0", "q1"], "corpus-id": ["c0", "c1"]}), links)
    paths = {"queries": str(queries), "corpus": str(corpus), "links": str(links)}
    jobs = [{**job(queries, out), "dataset": paths} for out in ("out", "fresh")]
    STATE.after = 2
    with pytest.raises(DataError, match="answers its probe differently after 3 rows"):
        miner.mine(jobs[0])
    STATE.after = math.inf
    run, fresh = (miner.mine(one) for one in jobs)
    assert [stored(run, side) for side in (0, 1)] == [stored(fresh, side) for side in (0, 1)]


def test_without_a_cache_nothing_is_published(texts: Path) -> None:
    STATE.after = 250
    with pytest.raises(DataError, match="answers its probe differently after 400 rows"):
        miner.mine(job(texts, "out", "Uncached"))
    STATE.after = math.inf
    run = miner.mine(job(texts, "out", "Uncached"))
    assert stored(run) == stored(miner.mine(job(texts, "fresh")))


def test_rounding_is_no_change(texts: Path) -> None:
    """Less than a ten-thousandth; a model class says by `drift` if it is more."""
    STATE.noise = 3e-5
    assert miner.mine(job(texts, "out")).manifest["embedding"]["computed"] == ROWS


def test_probes_cost_little(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the first batch, and one for fifty times as much work; by the time of the model."""
    clock = SimpleNamespace(monotonic=lambda: float(STATE.rows))
    monkeypatch.setattr("miner.embedding.probed_vectors.time", clock)
    miner.mine(job(texts, "out"))
    assert STATE.rows == ROWS + 2 * 8
    monkeypatch.setattr("miner.embedding.probed_vectors._WORK_PER_PROBE", 10)
    before = STATE.rows
    miner.mine(job(texts, "other"))
    assert STATE.rows - before == ROWS + (1 + ROWS // 80) * 8


def test_what_waits_for_a_probe_is_bounded(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miner.embedding.probed_vectors._WORK_PER_PROBE", 1e9)
    monkeypatch.setattr("miner.embedding.probed_vectors._MOST_HELD", 16 * 8 * 8 * 5)
    miner.mine(job(texts, "out"))
    assert STATE.rows == ROWS + (1 + 4) * 8  # after the first of 25 batches, then after six each


def test_a_model_that_knows_its_weights_is_not_probed(texts: Path) -> None:
    miner.mine(job(texts, "out", "Known"))
    assert STATE.rows == ROWS


def test_a_row_that_the_model_refuses_costs_nothing_of_what_came_before(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miner.embedding.probed_vectors._WORK_PER_PROBE", 1e9)
    STATE.refused = pq.read_table(texts)["text"][ROWS // 2].as_py()
    with pytest.raises(DataError, match="I do not like this text"):
        miner.mine(job(texts, "out"))
    STATE.refused = ""
    before = STATE.rows
    run = miner.mine(job(texts, "out"))
    assert run.manifest["embedding"]["reused"] >= before - 8 - 2 * 8 > 8


def test_a_model_with_room_for_few_rows_is_identified(texts: Path) -> None:
    STATE.most = 3
    run = miner.mine(job(texts, "out"))
    STATE.most = math.inf
    assert stored(run) == stored(miner.mine(job(texts, "fresh")))
    STATE.most = 0
    with pytest.raises(EngineError, match="no memory even for one row alone"):
        miner.mine(job(texts, "other"))

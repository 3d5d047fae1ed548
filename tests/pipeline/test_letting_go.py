"""What a job lets go of when it is of no more use, and that what is left does without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import miner.pipeline.run as running
from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.census.walk.key_rows import BufferPool
from miner.embedding.models.load import load_model
from miner.pipeline.units.miner import UnitMiner
from miner.pipeline.units.spec import open_unit_miner
from miner.selection.selection import Selection
from miner.selection.strategies.all import All
from miner.triplets.distance import normalize_rows
from miner.triplets.relevance import tally
from tests.conftest import write_vectors
from tests.hard_data import labelled, vectors


def test_a_census_that_let_go_counts_the_same() -> None:
    rows = normalize_rows(vectors("random", 80, 6, seed=3))
    relevance, buffers = labelled("skewed", 80, 4), BufferPool()
    stored = Vectors(rows, rows)
    census = Census(stored, relevance, "euclidean", 0.2, keep_bytes=1 << 20, buffers=buffers)
    miner = UnitMiner(census, tally(relevance), Selection(All()), 0, 1 << 20)
    before = miner.count((0, 80))
    miner.counted()
    assert miner.count((0, 80)).tolist() == before.tolist()
    assert len(buffers._free) == 1  # all blocks took the same memory


def test_a_model_that_is_done_keeps_its_name_only() -> None:
    model = load_model("pixels", "image", {})
    done = model.done()
    assert done.name == model.name
    with pytest.raises(RuntimeError, match="was released"):
        done.model.embed(np.zeros((1, 4), dtype=np.float32))


def test_sealing_begins_when_the_passes_let_go(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vectors(tmp_path / "data.parquet", vectors("random", 40, 5, seed=1), ["a", "b"] * 20)
    held = []
    seal = running.seal_shards

    def watched(*arguments: Any) -> Any:
        held.append(open_unit_miner.cache_info().currsize)
        return seal(*arguments)

    monkeypatch.setattr(running, "seal_shards", watched)
    job = {"dataset": {"path": str(tmp_path / "data.parquet")}}
    running.mine({**job, "output": {"path": str(tmp_path / "out")}})
    assert held == [0]

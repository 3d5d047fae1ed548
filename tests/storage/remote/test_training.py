"""A run in object storage feeds PyTorch: its shards are copied once and read from there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("obstore")
pytest.importorskip("torch")

import miner
from miner.embedding.store import open_store
from miner.torch import TripletDataset, TripletIndex
from tests.storage.remote.conftest import Bucket


def test_triplets_of_a_remote_run(bucket: Bucket, small: Path) -> None:
    url = f"{bucket.url}/mined"
    miner.mine({"dataset": {"path": str(small)}, "output": {"path": url}})
    run = miner.open_run(f"{url}/latest")
    stored = run.triplets("hard").to_table()
    ids = [tuple(row.values()) for row in TripletDataset(f"{url}/latest")]
    names = ["anchor_id", "positive_id", "negative_id"]
    assert ids == list(zip(*(stored[name].to_pylist() for name in names), strict=True))
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    first = TripletDataset(run, give="vectors")[0]
    row = store.ids(0).all().to_pylist().index(ids[0][0])
    assert np.array_equal(first["anchor"], store.vectors(0)[row])
    assert len(TripletIndex(run)(run.census()["anchor_id"].to_pylist())[0]) == len(stored)

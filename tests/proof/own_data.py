"""A user's labelled set: its contents as frozen vectors of the default model, under a head."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

import numpy as np

import miner
from miner.embedding.store import open_store
from miner.planning.starter_job import starter_job
from miner.triplets.relevance import LabelRelevance
from tests.proof.data import ProofSet
from tests.proof.networks import head

__all__ = ["own_set"]


def own_set(path: str) -> ProofSet:
    """Return a labelled set, read as `mine init` would read it.

    Raises
    ------
    SystemExit
        When a row does not have exactly one label.
    """
    job = tomllib.loads(starter_job(str(Path(path).resolve()), None).toml)
    with tempfile.TemporaryDirectory() as made:
        output = {"path": made, "report": False}
        run = miner.mine({**job, "select": {"max_triplets": 0}, "output": output})
        store = open_store(Path(made) / ".store" / run.manifest["store"])
        relevance = store.relevance() if store is not None else None
        if store is None or not isinstance(relevance, LabelRelevance):
            raise SystemExit(f"{path}: the proof trains on items with one label each")
        vectors = np.array(store.vectors(0), dtype=np.float32)
    dim = vectors.shape[1]
    return ProofSet(Path(path).stem, vectors, relevance.labels, lambda: head(dim), 3e-4)

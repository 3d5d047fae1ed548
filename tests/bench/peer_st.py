"""The 10 nearest negatives of every query, by sentence-transformers ("theirs") or by `mine`.

Vectors are precomputed for both. Run it as a separate process. It prints one JSON line, and saves
the negatives after the measurement.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import peak_bytes, report, since_start
from tests.bench.shapes import clusters

ROWS, DIM, TOPICS = 100_000, 128, 2_000
DEPTH, NEGATIVES = 100, 10
CLASSES = ("hard", "semi_hard")


def make(folder: Path) -> dict[str, Any]:
    """Write queries, documents and links; query i is linked to document i, which has its topic."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(6)
    topics = rng.integers(0, TOPICS, ROWS)
    centers = rng.standard_normal((TOPICS, DIM))
    rows = np.arange(ROWS)
    for name in ("queries", "corpus"):
        np.savez(folder / f"{name}.npz", embedding=clusters(rng, topics, centers), id=rows)
    pq.write_table(pa.table({"query_id": rows, "corpus_id": rows}), folder / "links.parquet")
    return {}


class Stub:
    """A model that returns precomputed vectors; texts are row numbers."""

    device = "cpu"

    def __init__(self, folder: Path) -> None:
        self._sides = {}
        for name in ("queries", "corpus"):
            with np.load(folder / f"{name}.npz") as data:
                self._sides[name] = data["embedding"]

    def get_embedding_dimension(self) -> int:
        return DIM

    def encode_query(self, texts: list[str], **options: Any) -> np.ndarray:
        return self._rows("queries", texts)

    def encode_document(self, texts: list[str], **options: Any) -> np.ndarray:
        return self._rows("corpus", texts)

    def _rows(self, name: str, texts: list[str]) -> np.ndarray:
        return np.asarray(self._sides[name][[int(text[1:]) for text in texts]])

    def similarity_pairwise(self, left: np.ndarray, right: np.ndarray) -> Any:
        import torch

        return torch.from_numpy((left * right).sum(-1))


def theirs(folder: Path) -> dict[str, Any]:
    """Run `mine_hard_negatives` with FAISS."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    model: Any = Stub(folder)
    mined = mine_hard_negatives(
        Dataset.from_dict(
            {
                "query": [f"q{row}" for row in range(ROWS)],
                "document": [f"d{row}" for row in range(ROWS)],
            }
        ),
        model,
        range_max=DEPTH,
        num_negatives=NEGATIVES,
        use_faiss=True,
        output_format="triplet",
        verbose=False,
    )
    facts = {"seconds": since_start(), "peak_bytes": peak_bytes(), "rows": len(mined)}
    # Rows are ordered by query, and the negatives of a query by distance.
    found = np.array([int(text[1:]) for text in mined["negative"]])
    np.save(folder / "theirs.npy", found.reshape(ROWS, NEGATIVES))
    return facts


def ours(folder: Path, select: dict[str, Any]) -> dict[str, Any]:
    """Run our job: the census, and the triplets of `select`."""
    import miner

    run = miner.mine(
        {
            "dataset": {
                "queries": str(folder / "queries.npz"),
                "corpus": str(folder / "corpus.npz"),
                "links": str(folder / "links.parquet"),
            },
            "mining": {"margin": 0.2},
            "select": select,
            "output": {"path": str(folder / "out"), "content": False},
        },
        force=True,
    )
    facts = {"seconds": since_start(), "peak_bytes": peak_bytes()}
    facts |= {"timings": run.manifest["timings"], "rows": 0}
    if select["max_triplets"]:
        found = nearest(run)
        facts["rows"] = int((found >= 0).sum())
        np.save(folder / "ours.npy", found)
    return facts


def nearest(run: Any) -> np.ndarray:
    """Return the nearest negatives of each query from both classes; -1 fills missing ones."""
    names = ["anchor_id", "negative_id", "d_an"]
    parts = [run.triplets(name).to_table(columns=names) for name in CLASSES]
    query, row, distance = (
        np.concatenate([part[name].to_numpy() for part in parts]) for name in names
    )
    # Hard negatives are nearer and come first; a stable sort keeps the order within each class.
    order = np.lexsort((distance, query))
    query, row = query[order], row[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    few = place < NEGATIVES
    found = np.full((ROWS, NEGATIVES), -1)
    found[query[few], place[few]] = row[few]
    return found


def works() -> dict[str, Any]:
    """The programs that can be measured."""
    hardest = {"strategy": "hardest", "options": {"k": NEGATIVES}, "max_triplets": 10**8}
    return {
        "make": make,
        "theirs": theirs,
        "census": lambda folder: ours(folder, {"max_triplets": 0}),
        "ours": lambda folder: ours(folder, hardest),
    }


if __name__ == "__main__":
    report(works()[sys.argv[1]](Path(sys.argv[2])))

"""Sources of batches: random draws, sentence-transformers' miner, and runs of `mine`.

A source is called with a `Place` and the number of the round. It finds its triplets (the time of
mining), and then yields batches without end: arrays of rows of shape (roles, n).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import miner
from miner.torch import TripletDataset
from tests.proof.losses import MARGIN
from tests.proof.networks import embedded

__all__ = [
    "Place",
    "Source",
    "class_batches",
    "cleaned",
    "cycled",
    "mined",
    "pair_batches",
    "peer",
    "random_triplets",
]


@dataclass(frozen=True)
class Place:
    """The network and the training items at the start of a round."""

    folder: Path
    network: torch.nn.Module
    inputs: np.ndarray
    labels: np.ndarray
    items: int
    seed: int

    def checkpoint(self, number: int) -> Path:
        """Return the file with the network before a round."""
        return self.folder / f"network-{number}.pt"

    def rng(self, number: int) -> np.random.Generator:
        """Return the random generator of a round."""
        return np.random.default_rng([11, self.seed, number])


Source = Callable[[Place, int], Iterator[np.ndarray]]


def _pairs(place: Place, number: int, size: int) -> Iterator[np.ndarray]:
    """Draw anchors that have a positive, and one positive of each."""
    by_class = np.argsort(place.labels, kind="stable")
    _, starts, sizes = np.unique(place.labels[by_class], return_index=True, return_counts=True)
    start, count = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    some = np.flatnonzero(count > 1)
    rng = place.rng(number)
    while True:
        at = rng.choice(some, size)
        step = rng.integers(
            1, count[at]
        )  # a step within the class that never returns to the anchor
        other = start[at] + (at - start[at] + step) % count[at]
        yield np.stack([by_class[at], by_class[other]])


def pair_batches(place: Place, number: int) -> Iterator[np.ndarray]:
    """Draw anchors with one positive each; the other items of the batch are the negatives."""
    return _pairs(place, number, place.items // 2)


def random_triplets(place: Place, number: int) -> Iterator[np.ndarray]:
    """Draw anchors, a positive of each, and any item of another class."""
    rng = np.random.default_rng([12, place.seed, number])
    for pairs in _pairs(place, number, place.items // 3):
        negatives = rng.integers(len(place.labels), size=pairs.shape[1])
        wrong = place.labels[negatives] == place.labels[pairs[0]]
        while wrong.any():
            negatives[wrong] = rng.integers(len(place.labels), size=int(wrong.sum()))
            wrong = place.labels[negatives] == place.labels[pairs[0]]
        yield np.vstack([pairs, negatives])


def class_batches(place: Place, number: int) -> Iterator[np.ndarray]:
    """Draw classes and at least four items of each, until the batch is full."""
    members = [np.flatnonzero(place.labels == name) for name in np.unique(place.labels)]
    rng = place.rng(number)
    each = max(4, -(-place.items // len(members)))
    most = -(-place.items // 2)  # enough classes even if each had only two items
    while True:
        names = rng.permutation(len(members))[:most]
        drawn = [rng.permutation(members[name])[:each] for name in names]
        yield np.concatenate(drawn)[: place.items][None]


def cycled(triplets: np.ndarray, place: Place, number: int) -> Iterator[np.ndarray]:
    """Yield triplets (3, n), in a new random order in every epoch."""
    rng, size = place.rng(number), place.items // 3
    while triplets.shape[1]:
        order = rng.permutation(triplets.shape[1])
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(triplets.shape[1])])
        for start in range(0, len(order) - size + 1, size):
            yield triplets[:, order[start : start + size]]


class _Encoder:
    """The model interface of `mine_hard_negatives`, for items that are named by their indices."""

    device = torch.device("cpu")

    def __init__(self, place: Place) -> None:
        self._place = place

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        """Embed the items with these indices."""
        rows = np.array([int(text) for text in texts])
        return embedded(self._place.network, self._place.inputs[rows])

    encode_query = encode_document

    def similarity(self, first: Any, second: Any) -> torch.Tensor:
        """Return cosines; the vectors have unit length."""
        return torch.as_tensor(first) @ torch.as_tensor(second).T

    def similarity_pairwise(self, first: Any, second: Any) -> torch.Tensor:
        """Return the cosine of each row with its counterpart."""
        return (torch.as_tensor(first) * torch.as_tensor(second)).sum(-1)


def peer(*, whole: bool = False, **options: Any) -> Source:
    """Mine with sentence-transformers: one negative for each pair of items that share a label.

    Each item is also listed as a positive of itself, and the resulting rows are dropped, because
    the miner masks only listed positives, and the nearest "negative" of an item would be the item
    itself. With `whole` the miner searches all items, so that its filters leave enough candidates.
    """

    def find(place: Place, number: int) -> Iterator[np.ndarray]:
        from datasets import Dataset, disable_progress_bars
        from sentence_transformers.util import mine_hard_negatives

        disable_progress_bars()
        pairs = {
            role: [str(row) for row in rows.tolist()]
            for role, rows in zip(
                ("anchor", "positive"),
                np.nonzero(place.labels[:, None] == place.labels),
                strict=True,
            )
        }
        reach = {"range_max": len(place.labels)} if whole else {}
        with contextlib.redirect_stderr(io.StringIO()):
            found = mine_hard_negatives(
                Dataset.from_dict(pairs),
                _Encoder(place),  # type: ignore[arg-type]
                num_negatives=1,
                verbose=False,
                **reach,
                **options,
            )
        columns = [found.data.column(name).to_pylist() for name in found.column_names]
        triplets = np.array(columns, dtype=np.int64).reshape(3, -1)
        return cycled(triplets[:, triplets[0] != triplets[1]], place, number)

    return find


def mined(select: Mapping[str, Any], difficulty: str) -> Source:
    """Mine with `mine`, and read the triplets with `miner.torch.TripletDataset`."""

    def find(place: Place, number: int) -> Iterator[np.ndarray]:
        run = miner.mine(_job(place, number, select))
        triplets = TripletDataset(run, difficulty, give="rows")
        rows = [tuple(item.values()) for item in triplets.__getitems__(range(len(triplets)))]
        return cycled(np.array(rows, dtype=np.int64).T, place, number)

    return find


def cleaned(source: Source) -> Source:
    """Restrict a source to the items whose labels are not likely wrong."""

    def find(place: Place, number: int) -> Iterator[np.ndarray]:
        run = miner.mine(_job(place, number, {"max_triplets": 0}))
        wrong = pq.read_table(run.path / "label_noise.parquet")["anchor_id"].to_numpy()
        kept = np.setdiff1d(np.arange(len(place.labels)), wrong)
        part = replace(place, inputs=place.inputs[kept], labels=place.labels[kept])
        return (kept[batch] for batch in source(part, number))

    return find


def _job(place: Place, number: int, select: Mapping[str, Any]) -> dict[str, Any]:
    data, inputs = place.folder / "items.parquet", place.folder / "inputs.npy"
    if not data.exists():
        np.save(inputs, place.inputs)
        rows = np.arange(len(place.inputs))
        columns = {"id": rows, "text": rows.astype(str), "label": place.labels}
        pq.write_table(pa.table(columns), data)
    model = {"network": str(place.checkpoint(number)), "inputs": str(inputs)}
    return {
        "dataset": {"path": str(data)},
        "model": {"name": "tests.proof.checkpoint:Checkpoint", "options": model},
        "mining": {"margin": MARGIN},
        "select": {"max_triplets": 30_000, "seed": place.seed, **select},
        "output": {"path": str(place.folder / "mined"), "report": False, "content": False},
        "engine": {"workers": 1},
    }

"""`miner.torch.TripletDataset`: its items, and its use by samplers and loaders."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.errors import MineError, StorageError, UsageError
from tests.training.conftest import GROUP, RunOf
from tests.training.exports.conftest import CLASSES

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, DistributedSampler

from miner.embedding.store import open_store
from miner.torch import TripletDataset

# The warning says that there are more workers than cores; the tests check the split, not the speed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # from torchdata
]

ROLES = ("anchor", "positive", "negative")
MORE = ("d_ap", "d_an", "weight", "difficulty")


def stored(run: miner.Run, difficulty: str, suffix: str = "") -> list[dict[str, Any]]:
    """Return the rows of the shards, in the form of items."""
    rows = []
    for name in CLASSES[difficulty]:
        for row in run.triplets(name).to_table().to_pylist():
            shown = {role: row[role + suffix] for role in ROLES}
            rows.append({**shown, **{one: row.get(one, name) for one in MORE}})
    return rows


def flat(batches: Any) -> list[tuple[Any, ...]]:
    """Return the rows of batches of texts or numbers."""
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        columns = [
            batch[role].tolist() if hasattr(batch[role], "tolist") else batch[role]
            for role in ROLES
        ]
        rows += zip(*columns, strict=True)
    return rows


def keys(items: Any) -> list[tuple[Any, ...]]:
    return [tuple(item[role] for role in ROLES) for item in items]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("difficulty", CLASSES)
@pytest.mark.parametrize("kind", ["texts", "int ids", "text ids", "pairs", "sampled"])
def test_items_are_the_rows_of_the_shards(cut_run: RunOf, kind: str, difficulty: str) -> None:
    run = cut_run(kind)
    wanted = stored(run, difficulty, "_id" if kind.endswith("ids") else "")
    triplets = TripletDataset(run, difficulty, columns=MORE)
    assert len(triplets) == len(wanted) > GROUP
    assert list(triplets) == wanted
    assert triplets.__getitems__(range(len(triplets))) == wanted
    some = [5, -1, 5, 0, -len(wanted)]
    assert triplets.__getitems__(some) == [wanted[place] for place in some]
    assert triplets.__getitems__([]) == []
    ids = TripletDataset(run, difficulty, give="ids", columns=["difficulty"])
    by_id = stored(run, difficulty, "_id")
    assert keys(ids) == keys(by_id)
    assert list(ids[0]) == [*ROLES, "difficulty"]
    for beyond in (len(triplets), -len(triplets) - 1):
        with pytest.raises(IndexError):
            triplets[beyond]


@pytest.mark.parametrize("kind", ["texts", "text ids", "pairs"])
def test_rows_and_vectors_are_those_of_the_store(cut_run: RunOf, kind: str) -> None:
    run = cut_run(kind)
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    ids, rows, vectors = (
        TripletDataset(run, "both", give=give) for give in ("ids", "rows", "vectors")
    )
    for n in (0, len(rows) // 2, len(rows) - 1):
        for role in ROLES:
            side = 0 if role == "anchor" else store.row_side
            row = rows[n][role]
            assert store.ids(side).take(np.array([row]))[0].as_py() == ids[n][role]
            assert np.array_equal(vectors[n][role], store.vectors(side)[row])
            assert vectors[n][role].dtype == np.float32
    batch = next(iter(DataLoader(vectors, batch_size=5)))
    assert batch["negative"].shape == (5, store.dim) and batch["negative"].dtype == torch.float32
    for one in (rows, vectors):  # a process that receives a copy finds the store
        copied = pickle.loads(pickle.dumps(one))[7]
        assert all(np.array_equal(copied[role], one[7][role]) for role in ROLES)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_shuffles_by_its_seed(cut_run: RunOf, workers: int) -> None:
    run = cut_run("texts")
    triplets = TripletDataset(run, "both")
    epochs = []
    for _ in range(2):
        seed = torch.Generator().manual_seed(3)
        loader = DataLoader(triplets, 16, shuffle=True, num_workers=workers, generator=seed)
        epochs.append([flat(loader), flat(loader)])
    assert epochs[0] == epochs[1]
    first, second = epochs[0]
    assert first != second and Counter(first) == Counter(second) == Counter(keys(triplets))


def test_ranks_share_the_triplets(cut_run: RunOf) -> None:
    triplets = TripletDataset(cut_run("texts"), give="ids")
    whole = Counter(keys(triplets))
    given = []
    for rank in range(2):
        sampler: Any = DistributedSampler(triplets, num_replicas=2, rank=rank, drop_last=True)
        epochs = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            epochs.append(flat(DataLoader(triplets, batch_size=16, sampler=sampler)))
        assert epochs[0] != epochs[1]
        given.append(Counter(epochs[0]))
    assert not given[0] & given[1] and not given[0] + given[1] - whole
    assert sum((given[0] + given[1]).values()) == len(triplets) // 2 * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_resumes_it(cut_run: RunOf, workers: int) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    triplets = TripletDataset(cut_run("texts"))

    def loader() -> Any:
        seed = torch.Generator().manual_seed(5)
        return loaders.StatefulDataLoader(
            triplets, batch_size=50, shuffle=True, num_workers=workers, generator=seed
        )

    begun = loader()
    read = iter(begun)
    first = flat(itertools.islice(read, 7))
    state = begun.state_dict()
    rest = flat(read)
    fresh = loader()
    fresh.load_state_dict(state)
    assert flat(fresh) == rest
    assert Counter(first + rest) == Counter(keys(triplets))


def test_spawned_workers_share_its_memory(cut_run: RunOf) -> None:
    triplets = TripletDataset(cut_run("texts"), columns=["weight"])
    first = triplets[len(triplets) - 1]
    loader = DataLoader(triplets, 64, num_workers=1, multiprocessing_context="spawn")
    assert flat(loader) == keys(triplets)
    assert len(ForkingPickler.dumps(triplets)) < 6000 < len(pickle.dumps(triplets))
    last = triplets[len(triplets) - 1]  # pickling has moved its memory
    assert first == last


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"difficulty": "semihard"}, "did you mean 'semi_hard'"),
        ({"give": "text"}, "did you mean 'texts'"),
        ({"columns": ["weigth"]}, "did you mean 'weight'"),
    ],
)
def test_a_wrong_argument_is_told(cut_run: RunOf, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TripletDataset(cut_run("texts"), **arguments)


def test_what_is_not_there_is_told(cut_run: RunOf, own_copy: miner.Run, tmp_path: Path) -> None:
    with pytest.raises(MineError, match="nowhere"):
        TripletDataset(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="has no triplets"):
        TripletDataset(cut_run("nothing mined"))
    with pytest.raises(UsageError, match="hold no texts"):
        TripletDataset(cut_run("int ids"), give="texts")
    (own_copy.root / ".store" / own_copy.manifest["store"] / "store.json").unlink()
    assert len(TripletDataset(own_copy)) > 0
    with pytest.raises(StorageError, match=r"the embedding store .* is not here"):
        TripletDataset(own_copy, give="vectors")
    Path(own_copy.part_paths("hard")[0]).unlink()
    with pytest.raises(MineError, match=r"part-00000\.parquet"):
        TripletDataset(own_copy)


def test_a_teachers_scores_are_columns(tmp_path: Path) -> None:
    teacher = {"model": "tests.pipeline.test_teacher:overlap", "max_score": 0.5}
    path = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": f"word{n} of {n % 3}", "label": n % 3}) for n in range(30)]
    path.write_text("\n".join(lines))
    job: dict[str, Any] = {"dataset": {"path": str(path)}, "output": {"path": str(tmp_path / "o")}}
    plain = miner.mine(job)
    with pytest.raises(UsageError, match="has no scores of a teacher"):
        TripletDataset(plain, "both", columns=["teacher_an"])
    run = miner.mine({**job, "teacher": teacher})
    triplets = TripletDataset(run, "both", columns=["teacher_an", "teacher_ap"])
    stated = [
        row["teacher_an"]
        for name in ("semi_hard", "hard")
        for row in run.triplets(name).to_table().to_pylist()
    ]
    assert sorted(triplets[n]["teacher_an"] for n in range(len(triplets))) == sorted(stated)

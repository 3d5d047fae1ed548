"""`miner.torch.TripletDataset`: what it gives, to whom, in which order, and how it resumes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.errors import MineError, StorageError, UsageError
from tests.training.conftest import GROUP, RunOf
from tests.training.exports.conftest import CLASSES, rows_of

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader

from miner.embedding.store import open_store
from miner.torch import TripletDataset

# More workers than this machine has cores: the split is looked at, not the speed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata's call
]

IDS = ("anchor_id", "positive_id", "negative_id")
ROLES = ("anchor", "positive", "negative")


def keys(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple(row[role] for role in ROLES) for row in rows]


def flat(batches: Any) -> list[tuple[Any, ...]]:
    """The rows of batches of texts or numbers."""
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        columns = [
            batch[role].tolist() if hasattr(batch[role], "tolist") else batch[role]
            for role in ROLES
        ]
        rows += zip(*columns, strict=True)
    return rows


@pytest.mark.sampled(5)
@pytest.mark.parametrize("difficulty", CLASSES)
@pytest.mark.parametrize("kind", ["texts", "int ids", "text ids", "pairs"])
def test_one_reader_has_every_row_once(cut_run: RunOf, kind: str, difficulty: str) -> None:
    run = cut_run(kind)
    triplets = TripletDataset(run, difficulty, buffer=500)
    wanted = rows_of(run, difficulty)
    assert len(triplets) == len(wanted) > GROUP
    given = keys(triplets)
    assert Counter(given) == Counter(keys(wanted))
    assert given == keys(triplets) != keys(TripletDataset(run, difficulty, seed=1))
    ordered = TripletDataset(run, difficulty, shuffle=False, give="ids", buffer=500)
    stored = [
        row for name in CLASSES[difficulty] for row in run.triplets(name).to_table().to_pylist()
    ]
    assert keys(ordered) == [tuple(row[name] for name in IDS) for row in stored]


def test_more_columns_and_their_class(cut_run: RunOf) -> None:
    run = cut_run("sampled")
    columns = ("d_ap", "d_an", "weight", "difficulty")
    rows = list(TripletDataset(run, "both", columns=columns, buffer=500))
    assert list(rows[0]) == [*ROLES, *columns]
    for row in rows:
        assert (row["d_an"] <= row["d_ap"]) == (row["difficulty"] == "hard")
    valid = run.manifest["census"]
    for name in ("hard", "semi_hard"):
        weights = sum(row["weight"] for row in rows if row["difficulty"] == name)
        assert weights == pytest.approx(valid[name], rel=0.05)


@pytest.mark.parametrize("kind", ["texts", "text ids", "pairs"])
def test_rows_and_vectors_are_those_of_the_store(cut_run: RunOf, kind: str) -> None:
    run = cut_run(kind)
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    ids, rows, vectors = (
        list(TripletDataset(run, give=give, buffer=99)) for give in ("ids", "rows", "vectors")
    )
    for n in (0, len(rows) // 2, len(rows) - 1):
        for role in ROLES:
            side = 0 if role == "anchor" else store.row_side
            row = rows[n][role]
            assert store.ids(side).take(np.array([row]))[0].as_py() == ids[n][role]
            assert np.array_equal(vectors[n][role], store.vectors(side)[row])
            assert vectors[n][role].dtype == np.float32
    batch = next(iter(DataLoader(TripletDataset(run, give="vectors"), batch_size=5)))
    assert batch["negative"].shape == (5, store.dim) and batch["negative"].dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_share_the_rows(cut_run: RunOf, workers: int) -> None:
    run = cut_run("texts")
    triplets = TripletDataset(run, "both", buffer=500)
    loader = DataLoader(triplets, batch_size=16, num_workers=workers)
    first = flat(loader)
    assert Counter(first) == Counter(keys(rows_of(run, "both")))
    assert flat(loader) == first
    triplets.set_epoch(1)
    second = flat(loader)
    assert Counter(second) == Counter(first) and second != first


def test_workers_that_persist_hear_of_the_epoch(cut_run: RunOf) -> None:
    triplets = TripletDataset(cut_run("texts"), buffer=500)
    loader = DataLoader(triplets, batch_size=16, num_workers=2, persistent_workers=True)
    first = flat(loader)
    triplets.set_epoch(1)
    second = flat(loader)
    assert second != first and Counter(second) == Counter(first)
    triplets.set_epoch(0)
    assert flat(loader) == first


@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_have_equal_shares(cut_run: RunOf, drop_last: bool) -> None:
    run = cut_run("texts")
    whole = Counter(keys(rows_of(run, "both")))
    given = []
    for rank in range(4):
        part = TripletDataset(run, "both", rank=rank, ranks=4, drop_last=drop_last, buffer=500)
        rows = keys(part)
        assert len(rows) == len(part)
        given.append(rows)
    assert len({len(rows) for rows in given}) == 1
    counts = Counter(row for rows in given for row in rows)
    if drop_last:
        assert sum((whole - counts).values()) == sum(whole.values()) % 4 and not counts - whole
    else:
        assert not whole - counts and sum((counts - whole).values()) == -sum(whole.values()) % 4


@pytest.mark.slow
def test_the_ranks_of_torch_distributed_are_found(cut_run: RunOf, tmp_path: Path) -> None:
    where = (tmp_path / "meeting").as_uri()
    code = f"""
import sys, torch.distributed as dist
from miner.torch import TripletDataset
dist.init_process_group("gloo", init_method={where!r}, rank=int(sys.argv[1]), world_size=2)
print(len(TripletDataset({str(cut_run("texts").path)!r})))
dist.destroy_process_group()
"""
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    told = [int(process.communicate(timeout=240)[0]) for process in started]
    assert told == [-(-len(TripletDataset(cut_run("texts"))) // 2)] * 2


def test_it_goes_on_in_the_middle_of_an_epoch(cut_run: RunOf) -> None:
    run = cut_run("texts")
    triplets = TripletDataset(run, "both", buffer=500)
    triplets.set_epoch(2)
    whole = keys(triplets)
    begun = iter(triplets)
    taken = [next(begun) for _ in range(611)]
    state = json.loads(json.dumps(triplets.state_dict()))
    fresh = TripletDataset(run, "both", buffer=500)
    fresh.load_state_dict(state)
    assert (fresh.epoch, keys(taken)) == (2, whole[:611])
    assert keys(fresh) == whole[611:]
    assert keys(fresh) == whole  # once: the next pass is whole
    fresh.load_state_dict(state)
    fresh.set_epoch(3)
    assert len(keys(fresh)) == len(whole) and keys(fresh) != whole


@pytest.mark.sampled(5)
@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("batches", [0, 1, 8, 10_000])
def test_workers_go_on_after_so_many_batches(cut_run: RunOf, workers: int, batches: int) -> None:
    run = cut_run("texts")
    triplets = TripletDataset(run, buffer=500)
    whole = list(DataLoader(triplets, batch_size=50, num_workers=workers))
    fresh = TripletDataset(run, buffer=500)
    fresh.load_state_dict(triplets.state_after(batches, 50, workers))
    left = flat(DataLoader(fresh, batch_size=50, num_workers=workers))
    assert Counter(left) == Counter(flat(whole[batches:]))


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_resumes_it(cut_run: RunOf, workers: int) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> Any:
        triplets = TripletDataset(cut_run("texts"), buffer=500)
        return loaders.StatefulDataLoader(triplets, batch_size=50, num_workers=workers)

    begun = loader()
    batches, state = [], None
    for number, batch in enumerate(begun, start=1):
        batches.append(batch)
        if number == 7:
            state = begun.state_dict()
    fresh = loader()
    fresh.load_state_dict(state)
    assert flat(fresh) == flat(batches[7:])


def test_a_state_of_something_else_is_refused(cut_run: RunOf) -> None:
    triplets = TripletDataset(cut_run("texts"))
    state = triplets.state_dict()
    with pytest.raises(UsageError, match="seed = 0, this data set 5: the order would be another"):
        TripletDataset(cut_run("texts"), seed=5).load_state_dict(state)
    with pytest.raises(UsageError, match="the state has run"):
        TripletDataset(cut_run("text ids")).load_state_dict(state)
    triplets.load_state_dict(triplets.state_after(3, 10, workers=2))
    with pytest.raises(UsageError, match="of 2 workers, these are 1"):
        next(iter(triplets))


def test_it_travels_to_a_spawned_worker(cut_run: RunOf) -> None:
    triplets = TripletDataset(cut_run("texts"), give="rows")
    rows = keys(triplets)
    assert keys(pickle.loads(pickle.dumps(triplets))) == rows
    loader = DataLoader(triplets, batch_size=64, num_workers=1, multiprocessing_context="spawn")
    assert flat(loader) == rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"difficulty": "semihard"}, "did you mean 'semi_hard'"),
        ({"give": "text"}, "did you mean 'texts'"),
        ({"columns": ["weigth"]}, "did you mean 'weight'"),
        ({"buffer": 0}, "buffer = 0"),
        ({"rank": 1}, "both rank and ranks"),
        ({"rank": 2, "ranks": 2}, "rank 2 of 2 ranks"),
    ],
)
def test_a_wrong_argument_is_told(cut_run: RunOf, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TripletDataset(cut_run("texts"), **arguments)


def test_what_is_not_there_is_told(cut_run: RunOf, own_copy: miner.Run) -> None:
    with pytest.raises(UsageError, match=r"wrote no hard triplets to train on \(0 hard, 0 semi"):
        TripletDataset(cut_run("nothing mined"))
    with pytest.raises(UsageError, match="hold no texts"):
        TripletDataset(cut_run("int ids"), give="texts")
    with pytest.raises(UsageError, match="must not be below 0"):
        TripletDataset(own_copy).set_epoch(-1)
    (own_copy.root / ".store" / own_copy.manifest["store"] / "store.json").unlink()
    assert len(TripletDataset(own_copy)) > 0
    with pytest.raises(StorageError, match=r"the embedding store .* is not here"):
        TripletDataset(own_copy, give="vectors")
    Path(own_copy.part_paths("hard")[0]).unlink()
    with pytest.raises(MineError, match=r"part-00000\.parquet"):
        TripletDataset(own_copy)

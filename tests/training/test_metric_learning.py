"""`miner.torch.TripletIndex`: the triplets inside a batch, and losses that use them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from miner.errors import UsageError
from tests.training.conftest import RunOf
from tests.training.exports.conftest import CLASSES

torch = pytest.importorskip("torch")

from miner.embedding.store import open_store
from miner.torch import TripletDataset, TripletIndex, distinct_items

IDS = ("anchor_id", "positive_id", "negative_id")


def stored(run: Any, difficulty: str) -> list[tuple[Any, ...]]:
    rows = [
        row for name in CLASSES[difficulty] for row in run.triplets(name).to_table().to_pylist()
    ]
    return [tuple(row[name] for name in IDS) for row in rows]


def named(found: Any, ids: list[Any], others: list[Any] | None = None) -> list[tuple[Any, ...]]:
    rest = ids if others is None else others
    a, p, n = (part.tolist() for part in found)
    return [(ids[x], rest[y], rest[z]) for x, y, z in zip(a, p, n, strict=True)]


@pytest.mark.parametrize("difficulty", CLASSES)
@pytest.mark.parametrize("kind", ["int ids", "text ids", "subset"])
def test_the_triplets_inside_a_batch(cut_run: RunOf, kind: str, difficulty: str) -> None:
    run = cut_run(kind)
    index, every = TripletIndex(run, difficulty), stored(run, difficulty)
    assert len(index) == len(every)
    known = sorted({one for triplet in every for one in triplet})
    rng = np.random.default_rng(4)
    for size in (0, 3, 12, len(known)):
        ids = [known[n] for n in rng.permutation(len(known))[:size]]
        inside = [triplet for triplet in every if set(triplet) <= set(ids)]
        found = index(ids)
        assert Counter(named(found, ids)) == Counter(inside)
        assert {part.dtype for part in found} == {torch.int64}
    assert size == len(known) and len(inside) == len(every)


def test_ids_that_stand_twice_or_nowhere(cut_run: RunOf) -> None:
    run = cut_run("int ids")
    index, every = TripletIndex(run), stored(run, "hard")
    a, p, n = every[0]
    found = index(torch.tensor([-5, n, a, p, a]))
    assert (2, 3, 1) in list(zip(*(part.tolist() for part in found), strict=True))
    assert 4 not in found[0]
    with pytest.raises(UsageError, match="the ids of this run are of the type int64"):
        index(["a"])


def test_queries_have_places_of_their_own(cut_run: RunOf) -> None:
    run = cut_run("pairs")
    index, every = TripletIndex(run, "both"), stored(run, "both")
    queries = sorted({triplet[0] for triplet in every})
    documents = sorted({one for triplet in every for one in triplet[1:]})
    assert Counter(named(index(queries, documents), queries, documents)) == Counter(every)
    with pytest.raises(UsageError, match="ref_ids"):
        index(queries)


def test_a_batch_of_triplets_as_items(cut_run: RunOf) -> None:
    loader = torch.utils.data.DataLoader(TripletDataset(cut_run("texts")), batch_size=9)
    batch = next(iter(loader))
    items, places = distinct_items(batch)
    assert len(set(items)) == len(items) < 27
    shown = [batch[role] for role in ("anchor", "positive", "negative")]
    assert named(places, items) == list(zip(*shown, strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["TripletMarginLoss", "MultiSimilarityLoss", "NTXentLoss"])
def test_losses_of_pytorch_metric_learning_take_it(cut_run: RunOf, name: str) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    run = cut_run("int ids")
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    ids = store.ids(0).take(np.arange(store.facts["rows"][0])).to_pylist()
    embeddings = torch.tensor(np.array(store.vectors(0)), requires_grad=True)
    whole = TripletIndex(run, "both")(ids)
    loss = getattr(losses, name)()(embeddings, indices_tuple=whole)
    loss.backward()
    assert loss.item() > 0 and embeddings.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_their_triplet_loss_is_the_census(cut_run: RunOf) -> None:
    """Over all non-easy triplets, the mean loss equals the loss in the manifest."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    run = cut_run("int ids")
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    ids = store.ids(0).take(np.arange(store.facts["rows"][0])).to_pylist()
    embeddings = torch.tensor(np.array(store.vectors(0)))
    loss = losses.TripletMarginLoss(
        margin=run.manifest["job"]["mining"]["margin"],
        distance=distances.LpDistance(normalize_embeddings=False),
        reducer=reducers.MeanReducer(),
    )(embeddings, indices_tuple=TripletIndex(run, "both")(ids))
    assert loss.item() == pytest.approx(run.manifest["census"]["mean_loss"], rel=1e-4)

"""The proof itself, end to end, on a small set: what it draws, mines, trains and prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

import tests.proof.__main__ as proof
from tests.proof.checkpoint import save_checkpoint
from tests.proof.data import noisy, synthetic
from tests.proof.losses import MARGIN, batch_all, ranking, triplet
from tests.proof.methods import BASE, METHODS
from tests.proof.networks import embedded
from tests.proof.nightly import compared, nightly
from tests.proof.sources import Place, class_batches, pair_batches, peer, random_triplets
from tests.proof.split import split_classes
from tests.proof.table import table
from tests.proof.training import Budget, train

SMALL = synthetic(classes=8, size=6, dim=6)
SPLIT = split_classes(SMALL.labels, 0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    inputs = SMALL.inputs[SPLIT.train]
    return Place(tmp_path, SMALL.network(), inputs, SPLIT.labels, items=24, seed=3)


def test_random_triplets_are_valid_and_of_all_rows(place: Place) -> None:
    drawn = np.concatenate(list(islice(random_triplets(place, 0), 60)), axis=1)
    anchors, positives, negatives = place.labels[drawn]
    assert drawn.shape == (3, 60 * 8)
    assert (anchors == positives).all() and (drawn[0] != drawn[1]).all()
    assert (anchors != negatives).all()
    assert all(len(np.unique(rows)) == len(place.labels) for rows in drawn)


def test_batches_embed_what_the_budget_says(place: Place) -> None:
    for source in (random_triplets, pair_batches, class_batches):
        assert next(source(place, 0)).size == place.items
    items = next(class_batches(place, 0))[0]
    assert len(np.unique(items)) == len(items)
    assert np.bincount(place.labels[items])[np.unique(place.labels[items])].min() >= 4


def test_losses_by_hand() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(3, 5, 4, dtype=torch.float64), dim=-1)
    labels = torch.tensor([[0, 1, 2, 0, 1]] * 2 + [[1, 0, 0, 2, 2]])
    anchors, positives, negatives = vectors
    hinges = [
        max(0.0, float((a - p).norm() - (a - n).norm()) + MARGIN)
        for a, p, n in zip(anchors, positives, negatives, strict=True)
    ]
    assert float(triplet(vectors, labels)) == pytest.approx(np.mean(hinges))
    names, items = labels[0], anchors
    every = [
        float((items[a] - items[p]).norm() - (items[a] - items[n]).norm()) + MARGIN
        for a in range(5)
        for p in range(5)
        for n in range(5)
        if a != p and names[a] == names[p] != names[n]
    ]
    alive = [value for value in every if value > 0]
    assert float(batch_all(vectors[:1], labels[:1])) == pytest.approx(np.mean(alive), abs=1e-5)
    losses = []
    for row in range(5):
        others = torch.cat([positives, negatives])
        counted = [n == row or labels[1:].flatten()[n] != names[row] for n in range(10)]
        scores = (others @ anchors[row] * 20)[torch.tensor(counted)]
        losses.append(float(scores.logsumexp(0) - positives[row] @ anchors[row] * 20))
    assert float(ranking(vectors, labels)) == pytest.approx(np.mean(losses))


def test_the_peer_gives_valid_triplets(place: Place) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("datasets")
    drawn = np.concatenate(list(islice(peer()(place, 0), 30)), axis=1)
    anchors, positives, negatives = place.labels[drawn]
    assert (anchors == positives).all() and (anchors != negatives).all()
    assert (drawn[0] != drawn[1]).all()
    vectors = place.inputs / np.linalg.norm(place.inputs, axis=1, keepdims=True)
    scores = np.where(place.labels[:, None] == place.labels, -2, vectors @ vectors.T)
    assert (drawn[2] == scores.argmax(1)[drawn[0]]).all()


def test_a_training_without_triplets_is_not_given_out_as_one() -> None:
    """Its score is that of the untrained network."""

    def nothing(place: Place, number: int) -> Iterator[np.ndarray]:
        return iter(())

    base = train(SMALL, SPLIT, random_triplets, loss="triplet", seed=0, budget=Budget(3, 24))
    none = train(SMALL, SPLIT, nothing, loss="triplet", seed=0, budget=Budget(3, 24))
    assert (base.short, none.short) == (0, 3)
    row = table({BASE: [base], "nothing": [none]}).splitlines()[-1]
    assert row == "| nothing |  |  | too few triplets in 1 of 1 trainings |  |"


@pytest.mark.parametrize("name", ["mine: all hard", "mine: semi-hard", "mine: hardest"])
def test_what_is_mined_is_of_its_class(place: Place, name: str) -> None:
    source = METHODS[name].source
    assert source is not None
    save_checkpoint(place.network, place.checkpoint(0))
    drawn = np.concatenate(list(islice(source(place, 0), 10)), axis=1)
    anchors, positives, negatives = place.labels[drawn]
    assert (anchors == positives).all() and (anchors != negatives).all()
    vectors = embedded(place.network, place.inputs).astype(np.float64)
    near, far = (np.linalg.norm(vectors[drawn[0]] - vectors[rows], axis=1) for rows in drawn[1:])
    if "hard" in name.split()[-1] and "semi" not in name:
        assert (far <= near).all()
    else:
        assert ((far > near) & (far < near + MARGIN)).all()


def test_the_whole_proof_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(proof.SETS, "synthetic", lambda: SMALL)
    monkeypatch.setattr(proof, "warm_up", lambda: None)
    names = [name for name in METHODS if not name.startswith("sentence-transformers")]
    wanted = ["--set", "synthetic", "--quick", "--json", str(tmp_path / "found.json")]
    assert proof.main([*wanted, "--steps", "4", "--methods", *names]) == 0
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "found.json").read_text())["synthetic"]
    assert list(figures) == names
    assert all(len(runs) == 2 for runs in figures.values())
    moved = [runs[0]["by_round"][-1]["map_at_r"] for runs in figures.values()]
    assert len(set(moved)) > len(names) // 2, "training changed nothing"
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == names
    mean = np.mean([run["by_round"][-1]["map_at_r"] for run in figures[BASE]])
    assert f"| {BASE} | " in printed and f"| {mean:.4f} |" in printed


def test_three_nights_are_compared(tmp_path: Path) -> None:
    trained = nightly(noisy(SMALL), "mine: all semi-hard", 0, Budget(30, 24), tmp_path)
    assert len({scores.map_at_r for scores in trained.by_round}) > 1
    said = compared(tmp_path)
    assert len(said) == 2
    assert all("semi-hard" in text for text in said)
    assert len(list((tmp_path / "mined" / "runs").iterdir())) == 3

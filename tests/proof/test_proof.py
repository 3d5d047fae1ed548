"""The proof itself, end to end, on a small set: what it draws, mines, trains and prints."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")

import miner
import tests.proof.__main__ as proof
from tests.conftest import ROOT
from tests.proof import trials
from tests.proof.checkpoint import save_checkpoint
from tests.proof.data import noisy, synthetic
from tests.proof.evaluation import Scores
from tests.proof.figures import read_figures
from tests.proof.losses import MARGIN, batch_all, batch_semi_hard, ranking, triplet
from tests.proof.methods import ADVISED, AFTER_LOOKING, BASE, METHODS
from tests.proof.networks import embedded
from tests.proof.nightly import nights
from tests.proof.own_data import own_set
from tests.proof.sets import SETS
from tests.proof.sources import (
    Place,
    class_batches,
    cleaned,
    pair_batches,
    peer,
    random_triplets,
)
from tests.proof.split import split_classes
from tests.proof.table import summary, table
from tests.proof.training import Budget, Trained, train
from tests.proof.trials import PLAN, QUICK, Trial, own_trials

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


def test_the_nearest_semi_hard_negative_of_a_batch_by_hand() -> None:
    items = torch.nn.functional.normalize(torch.randn(1, 9, 4, dtype=torch.float64), dim=-1)
    names = torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2, 2]])
    hinges = []
    for a in range(9):
        for p in range(9):
            if a == p or names[0, a] != names[0, p]:
                continue
            far = [float((items[0, a] - items[0, n]).norm()) for n in range(9)]
            near = far[p]
            some = [d for d, n in zip(far, names[0], strict=True) if n != names[0, a]]
            some = [d for d in some if near < d < near + MARGIN]
            hinges += [near - min(some) + MARGIN] if some else []
    assert hinges
    assert float(batch_semi_hard(items, names)) == pytest.approx(np.mean(hinges))


def test_cleaned_batches_leave_out_what_is_likely_mislabelled(tmp_path: Path) -> None:
    made = synthetic(classes=6, size=20, dim=6)
    labels = made.labels.copy()
    labels[::20] = (labels[::20] + 1) % 6
    place = Place(tmp_path, made.network(), made.inputs, labels, items=60, seed=0)
    save_checkpoint(place.network, place.checkpoint(0))
    drawn = np.concatenate(list(islice(cleaned(pair_batches)(place, 0), 40)), axis=1)
    (run,) = (tmp_path / "mined" / "runs").iterdir()
    wrong = miner.open_run(run).manifest["census"]["label_noise"]["rows"]
    assert 0 < wrong < 30
    assert len(np.unique(drawn)) == len(labels) - wrong
    assert (labels[drawn[0]] == labels[drawn[1]]).all()


def test_anybodys_set_is_read_as_init_reads_it() -> None:
    given = own_set(str(ROOT / "sample_data/support_requests.csv"))
    assert given.inputs.shape == (400, 256) and len(np.unique(given.labels)) == 25
    assert np.allclose(np.linalg.norm(given.inputs, axis=1), 1)
    kinds = [trial.name for trial in own_trials("data/texts.csv")]
    assert kinds == ["texts", "texts, one label in five wrong"]


@pytest.mark.slow
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
    """The score of a method without triplets equals the score of the untrained network."""

    def nothing(place: Place, number: int) -> Iterator[np.ndarray]:
        return iter(())

    base = train(SMALL, SPLIT, random_triplets, loss="triplet", seed=0, budget=Budget(3, 24))
    none = train(SMALL, SPLIT, nothing, loss="triplet", seed=0, budget=Budget(3, 24))
    assert (base.short, none.short) == (0, 3)
    found = {BASE: [base], "mine: hardest": [none]}
    row = table(found).splitlines()[-1]
    assert row == "| mine: hardest |  |  | too few triplets in 1 of 1 trainings |  |  |"
    assert summary({"set": found}).splitlines()[-1].startswith("| mine: hardest | too few |")


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


@pytest.mark.slow
def test_the_whole_proof_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETS, "small", lambda: SMALL)
    monkeypatch.setitem(PLAN, "small", Trial("small", "small", steps=4))
    monkeypatch.setattr(trials, "begin", lambda: None)
    names = [name for name in METHODS if not name.startswith("sentence-transformers")]
    kept = tmp_path / "found.json"
    wanted = ["--set", "small", "--seeds", "2", "--workers", "1", "--no-nightly"]
    assert proof.main([*wanted, "--json", str(kept), "--methods", *names]) == 0
    printed = capsys.readouterr().out
    sets, facts = read_figures(kept)
    found = sets["small"]
    assert list(found) == names
    assert all(len(runs) == 2 for runs in found.values())
    assert facts["facts"]["seeds"] == 2
    moved = [runs[0].scores.map_at_r for runs in found.values()]
    assert len(set(moved)) > len(names) // 2, "training changed nothing"
    rows = [line for line in table(found).splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == names
    mean = np.mean([run.scores.map_at_r for run in found[BASE]])
    assert f"| {BASE} | " in printed and f"| {mean:.4f} |" in printed


def test_a_look_is_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int, int]] = []

    def seed_of(trial: Trial, seed: int) -> dict[str, Trained]:
        asked.append((trial.name, seed, trial.steps))
        scores = (Scores(0.5, 0.25 + seed / 8),)
        return {name: Trained(scores, 1.0, 0.5, 2.0) for name in trial.methods}

    monkeypatch.setattr(trials, "begin", lambda: None)
    monkeypatch.setattr(trials, "one_seed", seed_of)
    assert proof.main(["--quick", "--workers", "1", "--no-nightly"]) == 0
    names = [trial.name for trial in QUICK]
    assert asked == [(name, seed, 100) for name in names for seed in range(3)]
    head, _, *rows = summary_of(capsys.readouterr().out)
    assert head.startswith(f"| method | {' | '.join(names)} | all sets |")
    assert [row.split("|")[1].strip(" *") for row in rows] == [n for n in METHODS if n in ADVISED]
    assert f"| {BASE} |{' 0.375 |' * len(names)}" in rows[1]
    starred = {row.split("|")[1].strip(" *") for row in rows if " * |" in row}
    assert starred == AFTER_LOOKING


def summary_of(printed: str) -> list[str]:
    return printed[printed.index("(their row: MAP@R itself)") :].strip().splitlines()[2:]


def test_three_nights_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SETS, "small", lambda: noisy(SMALL))
    monkeypatch.setitem(METHODS, "few", METHODS["mine: all semi-hard"])
    found = nights(tmp_path, "small", "few", steps=30)
    assert len({scores["map_at_r"] for scores in found["scores"]}) > 1
    shares = found["triplets"]
    assert len(shares) == 3 and len({share["hard"] for share in shares}) == 3
    said = capsys.readouterr().out
    assert [said.count(f"after night {number}:") for number in (1, 2, 3)] == [1, 1, 1]
    assert f"{shares[2]['hard']:.2%}" in said  # `mine compare` has it
    assert len(list((tmp_path / "mined" / "runs").iterdir())) == 3

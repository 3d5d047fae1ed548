"""`python -m tests.proof.nightly`: mine, train, mine again with what was trained, three rounds.

Between two rounds `mine compare` says what moved. The runs are of the same items, embedded by the
checkpoints of one network.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import tempfile
from pathlib import Path

import torch

from miner.cli import main as mine
from tests.proof.data import SETS, ProofSet
from tests.proof.methods import METHODS
from tests.proof.split import split_classes
from tests.proof.training import Budget, Trained, train

__all__ = ["compared", "nightly"]

_ROUNDS = 3


def nightly(given: ProofSet, method: str, seed: int, budget: Budget, folder: Path) -> Trained:
    """Train in rounds on what a method mines; its runs stay in the folder."""
    split = split_classes(given.labels, seed, given.most, given.wrong)
    chosen = METHODS[method]
    if chosen.source is None:
        raise ValueError(f"{method!r} mines nothing")
    return train(
        given,
        split,
        chosen.source,
        loss=chosen.loss,
        seed=seed,
        budget=budget,
        rounds=_ROUNDS,
        folder=folder,
    )


def compared(folder: Path) -> list[str]:
    """Return what `mine compare` says of each run and the next."""
    runs = sorted((folder / "mined" / "runs").iterdir())  # the names begin with the time
    said = []
    for earlier, later in itertools.pairwise(runs):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            mine(["compare", str(earlier), str(later)])
        said.append(out.getvalue())
    return said


def main(given: list[str] | None = None) -> int:
    """Go through three nights, and print what became of the triplets and of the network."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.nightly", description=__doc__)
    parser.add_argument("--set", default="icd10-tokens", choices=[*SETS])
    parser.add_argument("--method", default="mine: all semi-hard", choices=[*METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Budget().steps, help="of all rounds together")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        budget = Budget(options.steps)
        trained = nightly(SETS[options.set](), options.method, options.seed, budget, folder)
        said = ["", *compared(folder)]
        for number, (scores, words) in enumerate(zip(trained.by_round, said, strict=True), 1):
            print(words)
            found = f"Recall@1 {scores.recall_at_1:.3f}, MAP@R {scores.map_at_r:.4f}"
            print(f"after round {number}: {found}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

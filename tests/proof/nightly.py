"""`python -m tests.proof.nightly`: mine, train, mine again with the trained network, three rounds.

Between two rounds `mine compare` says what changed. All runs have the same items, embedded by the
checkpoints of one network.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import miner
from miner.cli.main import main as mine
from tests.proof.data import ProofSet
from tests.proof.methods import METHODS
from tests.proof.sets import SETS
from tests.proof.split import split_classes
from tests.proof.training import Budget, Trained, train

__all__ = ["compared", "nightly", "nights"]

_ROUNDS = 3


def nightly(given: ProofSet, method: str, seed: int, budget: Budget, folder: Path) -> Trained:
    """Train in rounds on the triplets of a method; its runs stay in the folder."""
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
    """Return the output of `mine compare` for each pair of successive runs."""
    runs = sorted((folder / "mined" / "runs").iterdir())  # the names begin with a time stamp
    said = []
    for earlier, later in itertools.pairwise(runs):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            mine(["compare", str(earlier), str(later)])
        said.append(out.getvalue())
    return said


def _shares(folder: Path) -> list[dict[str, float]]:
    """Return, for each run, the shares of hard and semi-hard triplets among the valid ones."""
    found = []
    for path in sorted((folder / "mined" / "runs").iterdir()):
        census = miner.open_run(path).manifest["census"]
        kinds = ("hard", "semi_hard")
        found.append({kind: round(census[kind] / census["valid"], 6) for kind in kinds})
    return found


def nights(
    folder: Path,
    name: str = "icd10-tokens",
    method: str = "mine: semi-hard",
    *,
    seed: int = 0,
    steps: int = Budget().steps,
) -> dict[str, Any]:
    """Run three nights, print the changes of triplets and network, and return them."""
    trained = nightly(SETS[name](), method, seed, Budget(steps), folder)
    print(f"\nthree nights: {name}, {method}, seed {seed}, {steps} steps in all")
    for number, (scores, words) in enumerate(
        zip(trained.by_round, ["", *compared(folder)], strict=True), 1
    ):
        found = f"Recall@1 {scores.recall_at_1:.3f}, MAP@R {scores.map_at_r:.4f}"
        print(f"{words}\nafter night {number}: {found}", flush=True)
    return {
        "set": name,
        "method": method,
        "seed": seed,
        "steps": steps,
        "triplets": _shares(folder),
        "scores": [asdict(scores) for scores in trained.by_round],
    }


def main(given: list[str] | None = None) -> int:
    """Run three nights with a set and a method of your choice."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.nightly", description=__doc__)
    parser.add_argument("--set", default="icd10-tokens", choices=[*SETS])
    parser.add_argument("--method", default="mine: semi-hard", choices=[*METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, default=Budget().steps, help="steps of all rounds together"
    )
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        nights(Path(made), options.set, options.method, seed=options.seed, steps=options.steps)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m tests.proof`: train with all methods on one set or all, and print the tables."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from tests.proof.data import SETS, ProofSet, synthetic
from tests.proof.methods import METHODS, Method
from tests.proof.split import Split, split_classes
from tests.proof.table import table
from tests.proof.training import Budget, Trained, judge, seeded, train

_REAL = ["icd10-tokens", "icd10-head", "mnist"]
"""What is run unless sets are named."""


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--set", dest="sets", action="append", choices=[*SETS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=Budget().steps)
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--quick", action="store_true", help="two seeds, 40 steps: a look")
    parser.add_argument("--json", type=Path, help="where all figures go as well")
    return parser.parse_args(given)


def _trained(given: ProofSet, split: Split, method: Method, seed: int, budget: Budget) -> Trained:
    if method.source is None:
        with seeded(seed):
            return Trained((judge(given.network(), given, split),), 0.0, 0.0)
    return train(
        given,
        split,
        method.source,
        loss=method.loss,
        seed=seed,
        budget=budget,
        rounds=method.rounds,
    )


def prove(
    given: ProofSet, methods: list[str], seeds: int, budget: Budget, kept: Path | None = None
) -> dict[str, list[Trained]]:
    """Train with each method on the same splits and seeds; figures are kept seed by seed."""
    found: dict[str, list[Trained]] = {name: [] for name in methods}
    for seed in range(seeds):
        split = split_classes(given.labels, seed, given.most, given.wrong)
        for name in methods:
            last = _trained(given, split, METHODS[name], seed, budget)
            found[name].append(last)
            said = f"MAP@R {last.scores.map_at_r:.4f}, {last.seconds:.1f} s"
            print(f"  {given.name}, seed {seed}, {name}: {said}", file=sys.stderr, flush=True)
        if kept is not None:
            _keep(kept, given.name, found)
    return found


def _keep(path: Path, name: str, found: dict[str, list[Trained]]) -> None:
    """Put a set's figures into the file, beside those of other sets."""
    figures = json.loads(path.read_text()) if path.exists() else {}
    figures[name] = {method: [asdict(one) for one in runs] for method, runs in found.items()}
    path.write_text(json.dumps(figures, indent=1) + "\n")


def warm_up() -> None:
    """Mine once, so that no method pays for the imports and for the compiling of loops."""
    made = synthetic()
    split = split_classes(made.labels, 0)
    for name in ("mine: all semi-hard", "sentence-transformers, nearest"):
        _trained(made, split, METHODS[name], 0, Budget(1))


def main(given: list[str] | None = None) -> int:
    """Prove what was asked for, one set after the other."""
    options = _arguments(given)
    torch.set_num_threads(1)
    logging.getLogger("miner").setLevel(logging.WARNING)  # libraries let it speak
    warm_up()
    seeds, steps = (2, 40) if options.quick else (options.seeds, options.steps)
    for name in options.sets or _REAL:
        made, began = SETS[name](), time.perf_counter()
        found = prove(made, options.methods, seeds, Budget(steps), options.json)
        print(f"\n{name}: {seeds} seeds, {steps} steps, {time.perf_counter() - began:.0f} s\n")
        print(table(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A trial: one set and one seed with all methods, run in one of several processes."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import threadpoolctl
import torch

from tests.proof.data import ProofSet, noisy, synthetic
from tests.proof.methods import ADVISED, LONGER, MAIN, METHODS, Method
from tests.proof.own_data import own_set
from tests.proof.sets import SETS
from tests.proof.split import Split, split_classes
from tests.proof.training import Budget, Trained, judge, seeded, train

__all__ = ["PLAN", "QUICK", "Trial", "begin", "one_seed", "own_trials"]

NOISY = " with wrong labels"
"""Suffix of the path of a user's data, for the variant with wrong labels."""


@dataclass(frozen=True)
class Trial:
    """A set, its methods, and the steps of each method."""

    name: str
    source: str
    methods: tuple[str, ...] = tuple(METHODS)
    steps: int = Budget().steps


_MAIN, _LONGER = tuple(MAIN), tuple(LONGER)

PLAN = {
    one.name: one
    for one in (
        Trial("icd10-tokens", "icd10-tokens"),
        Trial("letters", "letters"),
        Trial("intents-head", "intents-head"),
        Trial("icd10-head", "icd10-head", _MAIN),
        Trial("icd10-tokens-noisy", "icd10-tokens-noisy", _MAIN),
        Trial("letters-noisy", "letters-noisy", _MAIN),
        Trial("intents-minilm", "intents-minilm", _MAIN),
        Trial("mnist", "mnist", _MAIN),
        Trial("icd10-tokens-long", "icd10-tokens", _LONGER, 800),
        Trial("icd10-large", "icd10-large", _LONGER),
    )
}
"""The default trials."""

_ADVISED = tuple(ADVISED)
QUICK = [Trial(name, name, _ADVISED) for name in ("icd10-head", "icd10-head-noisy", "intents-head")]
"""The trials of `--quick`."""


def own_trials(path: str) -> list[Trial]:
    """Return the trials of a user's data: with its labels, and with some labels drawn anew."""
    name = Path(path).stem
    return [
        Trial(name, path, _ADVISED),
        Trial(f"{name}, one label in five wrong", path + NOISY, _ADVISED),
    ]


def begin() -> None:
    """Prepare a process: one thread, and imports done, so that the first method is not slower."""
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    logging.getLogger("miner").setLevel(logging.WARNING)  # libraries enable its messages
    # simple_icd_10_cm uses a deprecated function of Python
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    made = synthetic()
    split = split_classes(made.labels, 0)
    for name in ("mine: all semi-hard", "mine: semi-hard", "sentence-transformers, nearest"):
        _trained(made, split, METHODS[name], 0, Budget(1))


@functools.cache
def _made(source: str) -> ProofSet:
    """Make a set by its name; any other name is the path of a user's data."""
    name, wrong = (source.removesuffix(NOISY), source.endswith(NOISY))
    if source in SETS:
        return SETS[source]()
    return noisy(own_set(name)) if wrong else own_set(name)


def one_seed(trial: Trial, seed: int) -> dict[str, Trained]:
    """Train with each method on the same split and seed."""
    given = _made(trial.source)
    split = split_classes(given.labels, seed, given.most, given.wrong)
    found = {}
    for name in trial.methods:
        last = _trained(given, split, METHODS[name], seed, Budget(trial.steps))
        found[name] = last
        said = f"MAP@R {last.scores.map_at_r:.4f}, {last.seconds:.1f} s"
        print(f"  {trial.name}, seed {seed}, {name}: {said}", file=sys.stderr, flush=True)
    return found


def _trained(given: ProofSet, split: Split, method: Method, seed: int, budget: Budget) -> Trained:
    if method.source is None:
        with seeded(seed):
            return Trained((judge(given.network(), given, split),), 0.0, 0.0, 0.0)
    return train(
        given,
        split,
        method.source,
        loss=method.loss,
        seed=seed,
        budget=budget,
        rounds=method.rounds,
    )

"""One training: so many steps of so many items each, whatever the method."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.proof.checkpoint import save_checkpoint
from tests.proof.data import ProofSet
from tests.proof.evaluation import Scores, evaluate
from tests.proof.losses import LOSSES
from tests.proof.networks import embedded
from tests.proof.sources import Place, Source
from tests.proof.split import Split

__all__ = ["Budget", "Trained", "judge", "seeded", "train"]


@dataclass(frozen=True)
class Budget:
    """What every method gets.

    Parameters
    ----------
    steps : int
    items : int
        Embedded in a step: 64 triplets, 96 pairs or 192 items are the same.
    """

    steps: int = 200
    items: int = 192


@dataclass(frozen=True)
class Trained:
    """What a training came to after each round, and what finding its triplets took.

    CPU seconds of finding them say the same on a machine that is busy. `short` is how many steps
    of the budget were not done, because the source gave no triplets.
    """

    by_round: tuple[Scores, ...]
    mining_seconds: float
    mining_cpu_seconds: float
    seconds: float
    short: int = 0

    @property
    def scores(self) -> Scores:
        """What it came to in the end."""
        return self.by_round[-1]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make torch's draws those of a seed, and leave the caller's own as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def train(
    given: ProofSet,
    split: Split,
    source: Source,
    *,
    loss: str,
    seed: int,
    budget: Budget,
    rounds: int = 1,
    folder: Path | None = None,
) -> Trained:
    """Train a new network on what a source gives, and judge it on the classes held out.

    With more than one round the source looks again, with the network of that moment; all rounds
    together have the steps of one. Runs of `mine` are kept where a folder is given.
    """
    began, mining, mining_cpu = time.perf_counter(), 0.0, 0.0
    judged, short = [], 0
    inputs = np.ascontiguousarray(given.inputs[split.train])
    with tempfile.TemporaryDirectory() as made, seeded(seed):
        network = given.network()
        optimiser = torch.optim.Adam(network.parameters(), lr=given.rate)
        for number in range(rounds):
            place = Place(folder or Path(made), network, inputs, split.labels, budget.items, seed)
            save_checkpoint(network, place.checkpoint(number))
            started, started_cpu = time.perf_counter(), time.process_time()
            batches = source(place, number)
            mining += time.perf_counter() - started
            mining_cpu += time.process_time() - started_cpu
            steps = budget.steps * (number + 1) // rounds - budget.steps * number // rounds
            short += steps - _steps(network, optimiser, place, batches, loss, steps)
            judged.append(judge(network, given, split))
    return Trained(tuple(judged), mining, mining_cpu, time.perf_counter() - began, short)


def judge(network: nn.Module, given: ProofSet, split: Split) -> Scores:
    """Return what a network is worth on the classes that were held out."""
    return evaluate(embedded(network, given.inputs[split.test]), given.labels[split.test])


def _steps(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    place: Place,
    batches: Iterator[np.ndarray],
    loss: str,
    steps: int,
) -> int:
    """Train for so many steps, or as long as there are batches; return how many there were."""
    done = 0
    inputs, labels = torch.from_numpy(place.inputs), torch.from_numpy(place.labels)
    for _, rows in zip(range(steps), batches, strict=False):
        items = torch.from_numpy(rows)
        vectors = nn.functional.normalize(network(inputs[items.flatten()]))
        value = LOSSES[loss](vectors.unflatten(0, items.shape), labels[items])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        done += 1
    return done

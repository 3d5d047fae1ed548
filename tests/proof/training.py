"""One training, with the same number of steps and of items per step for every method."""

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

__all__ = ["Budget", "Trained", "judge", "run_steps", "seeded", "train"]


@dataclass(frozen=True)
class Budget:
    """The training steps of every method.

    Parameters
    ----------
    steps : int
    items : int
        Items embedded in a step: 64 triplets, 96 pairs and 192 single items are equal.
    """

    steps: int = 200
    items: int = 192


@dataclass(frozen=True)
class Trained:
    """The scores of a training after each round, and the time of mining.

    CPU seconds of mining depend little on other work on the machine. `short` is the number of steps
    of the budget that were not done, because the source had no triplets.
    """

    by_round: tuple[Scores, ...]
    mining_seconds: float
    mining_cpu_seconds: float
    seconds: float
    short: int = 0

    @property
    def scores(self) -> Scores:
        """The scores after the last round."""
        return self.by_round[-1]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random generator, and restore the caller's state at the end."""
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
    """Train a new network on the batches of a source, and evaluate it on held-out classes.

    In each further round the source mines again with the current network; all rounds together have
    the steps of the budget. Runs of `mine` are kept if a folder is given.
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
            short += steps - run_steps(network, optimiser, place, batches, loss, steps)
            judged.append(judge(network, given, split))
    return Trained(tuple(judged), mining, mining_cpu, time.perf_counter() - began, short)


def judge(network: nn.Module, given: ProofSet, split: Split) -> Scores:
    """Return the scores of a network on the held-out classes."""
    return evaluate(embedded(network, given.inputs[split.test]), given.labels[split.test])


def run_steps(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    place: Place,
    batches: Iterator[np.ndarray],
    loss: str,
    steps: int,
) -> int:
    """Train for `steps` steps, or until batches run out; return the number of steps done."""
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

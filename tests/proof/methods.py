"""The methods that are held against each other: where triplets come from, and which loss."""

from __future__ import annotations

from dataclasses import dataclass

from tests.proof.sources import (
    Source,
    class_batches,
    mined,
    pair_batches,
    peer,
    random_triplets,
)

__all__ = ["BASE", "METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """A way to train; `source` None is not to train at all."""

    source: Source | None
    loss: str = "triplet"
    rounds: int = 1


BASE = "random negatives"
"""What the others are held against."""

_ALL = {"strategy": "all"}
_NEAREST = {"strategy": "hardest"}
_AWARE = {"strategy": "hardest", "relative_margin": 0.05}

METHODS = {
    "untrained": Method(None),
    BASE: Method(random_triplets),
    "in-batch, all triplets": Method(class_batches, "batch-all"),
    "in-batch, ranking loss": Method(pair_batches, "ranking"),
    "sentence-transformers, nearest": Method(peer()),
    "sentence-transformers, margin 5 %": Method(peer(whole=True, relative_margin=0.05)),
    "mine: all semi-hard": Method(mined(_ALL, "semi_hard")),
    "mine: all hard": Method(mined(_ALL, "hard")),
    "mine: semi-hard": Method(mined({"strategy": "semi-hard"}, "semi_hard")),
    "mine: hardest": Method(mined(_NEAREST, "hard")),
    "mine: hardest, margin 5 %": Method(mined(_AWARE, "semi_hard")),
    "mine: distance-weighted": Method(mined({"strategy": "distance-weighted"}, "both")),
    "mine: hardest, ranking loss": Method(mined(_NEAREST, "hard"), "ranking"),
    "mine: all semi-hard, 3 rounds": Method(mined(_ALL, "semi_hard"), rounds=3),
    "mine: all hard, 3 rounds": Method(mined(_ALL, "hard"), rounds=3),
}

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

__all__ = ["BASE", "LONGER", "MAIN", "METHODS", "Method"]


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
_SEMI_HARD = {"strategy": "semi-hard"}
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
    "mine: semi-hard": Method(mined(_SEMI_HARD, "semi_hard")),
    "mine: hardest": Method(mined(_NEAREST, "hard")),
    "mine: hardest, margin 5 %": Method(mined(_AWARE, "semi_hard")),
    "mine: batch-hard": Method(mined({"strategy": "batch-hard"}, "both")),
    "mine: easy-positive": Method(mined({"strategy": "easy-positive"}, "both")),
    "mine: distance-weighted": Method(mined({"strategy": "distance-weighted"}, "both")),
    "mine: simans": Method(mined({"strategy": "simans"}, "both")),
    "mine: warp": Method(mined({"strategy": "warp"}, "both")),
    "mine: hardest, ranking loss": Method(mined(_NEAREST, "hard"), "ranking"),
    "mine: semi-hard, 3 rounds": Method(mined(_SEMI_HARD, "semi_hard"), rounds=3),
    "mine: hardest, 3 rounds": Method(mined(_NEAREST, "hard"), rounds=3),
}

LONGER = [
    "untrained",
    BASE,
    "in-batch, ranking loss",
    "sentence-transformers, nearest",
    "mine: semi-hard",
    "mine: hardest",
    "mine: hardest, 3 rounds",
]
"""What is held against each other where a training takes long."""

MAIN = [
    *LONGER[:4],
    "sentence-transformers, margin 5 %",
    "mine: all semi-hard",
    "mine: all hard",
    "mine: semi-hard",
    "mine: hardest",
    "mine: hardest, margin 5 %",
    "mine: batch-hard",
    "mine: hardest, 3 rounds",
]
"""What is held against each other on sets that are variants of one that has all methods."""

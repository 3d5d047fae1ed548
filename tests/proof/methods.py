"""The compared methods: the source of triplets, and the loss."""

from __future__ import annotations

from dataclasses import dataclass

from tests.proof.sources import (
    Source,
    class_batches,
    cleaned,
    mined,
    pair_batches,
    peer,
    random_triplets,
)

__all__ = ["ADVISED", "AFTER_LOOKING", "BASE", "LONGER", "MAIN", "METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """A method of training; without a `source` there is no training."""

    source: Source | None
    loss: str = "triplet"
    rounds: int = 1


BASE = "random negatives"
"""The base with which the other methods are compared."""

_ALL = {"strategy": "all"}
_NEAREST = {"strategy": "hardest"}
_SEMI_HARD = {"strategy": "semi-hard"}
_AWARE = {"strategy": "hardest", "relative_margin": 0.05}
_LOOSER = {"strategy": "semi-hard", "options": {"nth": 30}}
_DENOISED = {"denoise": True}

METHODS = {
    "untrained": Method(None),
    BASE: Method(random_triplets),
    "in-batch, all triplets": Method(class_batches, "batch-all"),
    "in-batch, ranking loss": Method(pair_batches, "ranking"),
    "in-batch, semi-hard": Method(class_batches, "batch-semi-hard"),
    "in-batch, ranking loss, denoised": Method(cleaned(pair_batches), "ranking"),
    "sentence-transformers, nearest": Method(peer()),
    "sentence-transformers, margin 5 %": Method(peer(whole=True, relative_margin=0.05)),
    "mine: all semi-hard": Method(mined(_ALL, "semi_hard")),
    "mine: all hard": Method(mined(_ALL, "hard")),
    "mine: semi-hard": Method(mined(_SEMI_HARD, "semi_hard")),
    "mine: semi-hard, 30th": Method(mined(_LOOSER, "semi_hard")),
    "mine: semi-hard, denoised": Method(mined({**_SEMI_HARD, **_DENOISED}, "semi_hard")),
    "mine: hardest": Method(mined(_NEAREST, "hard")),
    "mine: hardest, denoised": Method(mined({**_NEAREST, **_DENOISED}, "hard")),
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

AFTER_LOOKING = frozenset({"mine: semi-hard, 30th", "mine: hardest, margin 5 %"})
"""Methods that were chosen after examining such figures; their own figures are slightly biased."""

ADVISED = [
    "untrained",
    BASE,
    "in-batch, ranking loss",
    "in-batch, semi-hard",
    "in-batch, ranking loss, denoised",
    "mine: semi-hard",
    "mine: semi-hard, 30th",
    "mine: semi-hard, denoised",
    "mine: hardest, margin 5 %",
    "mine: hardest",
]
"""Methods that the advice recommends or warns of (`miner/selection/strategies/advice.py`)."""

LONGER = [
    "untrained",
    BASE,
    "in-batch, ranking loss",
    "sentence-transformers, nearest",
    "mine: semi-hard",
    "mine: hardest",
    "mine: hardest, 3 rounds",
]
"""Methods that are compared if a training takes long."""

MAIN = [
    *LONGER[:3],
    "in-batch, semi-hard",
    "in-batch, ranking loss, denoised",
    "sentence-transformers, nearest",
    "sentence-transformers, margin 5 %",
    "mine: all semi-hard",
    "mine: all hard",
    "mine: semi-hard",
    "mine: semi-hard, 30th",
    "mine: semi-hard, denoised",
    "mine: hardest",
    "mine: hardest, denoised",
    "mine: hardest, margin 5 %",
    "mine: batch-hard",
    "mine: hardest, 3 rounds",
]
"""Methods that are compared on variants of a set that has all methods."""

"""The interface of models that score a pair of texts.

A pair is handed on as one text, so that all that holds for embedding models (batches, the cache,
canaries and probes) holds for scores too: a score is a vector of one dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.base import Batch, Model
from miner.errors import DataError

__all__ = ["PairFunction", "PairModel", "PairScorer", "PairTexts", "joined_pair", "split_pair"]

PairTexts = list[tuple[str, str]]
"""Pairs of an anchor's text and the text of one of its positives or negatives."""


def joined_pair(anchor: str, other: str) -> str:
    """Return a pair as one text: the length of the anchor's text, and both texts."""
    return f"{len(anchor)} {anchor}{other}"


def split_pair(text: str) -> tuple[str, str]:
    """Return the pair of `joined_pair`."""
    length, _, both = text.partition(" ")
    return both[: int(length)], both[int(length) :]


class PairModel(Model):
    """Scores pairs of texts: the higher, the more relevant.

    Attributes
    ----------
    logits : bool
        Whether the scores are logits, of which thresholds have no meaning of their own.
    activation : str or None
        ``sigmoid`` if the model has one, which turns its logits into scores from 0 to 1.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    logits: bool = False
    activation: str | None = None


class PairScorer(PairModel):
    """A model that scores a list of pairs."""

    @abstractmethod
    def score(self, pairs: PairTexts) -> Any:
        """Return one number for each pair, before the activation."""

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Return the scores of pairs as vectors of one dimension, shape (b, 1).

        Raises
        ------
        DataError
            If there is not one finite number for each pair.
        """
        scores = np.asarray(self.score([split_pair(text) for text in batch]), dtype=np.float64)
        if scores.shape != (len(batch),) or not np.isfinite(scores).all():
            raise DataError(
                f"teacher.model gave shape {scores.shape} for {len(batch):,} pairs, or numbers "
                "that are not finite; it is given a list of (anchor, other) texts and must return "
                "one number a pair"
            )
        return scores[:, None]


class PairFunction(PairScorer):
    """Wraps a user's function from a list of pairs to numbers."""

    def __init__(self, name: str, function: Callable[[PairTexts], Any]) -> None:
        self._name, self._function = name, function

    def score(self, pairs: PairTexts) -> Any:
        """Return the numbers of the function."""
        return self._function(pairs)

    def facts(self) -> Mapping[str, Any]:
        """Return the function's name."""
        return {"function": self._name}

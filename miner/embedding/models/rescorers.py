"""Scorers of pairs of texts: a cross-encoder, or a user's function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.load import constructed, import_from_here
from miner.errors import DataError, MineError, UsageError
from miner.registry import Registry

__all__ = ["RESCORERS", "Rescorer", "load_rescorer"]

RESCORERS = Registry("rescorer")
RESCORERS.register(
    "cross-encoder",
    "miner.embedding.models.sentence_transformers:CrossEncoderScores",
    "a CrossEncoder of sentence-transformers: a folder, or a name on the hub",
    needs=("sentence_transformers",),
    extra="sentence-transformers",
    argument="path",
)


@dataclass(frozen=True, slots=True)
class Rescorer:
    """Scores pairs of texts and checks the scores.

    Attributes
    ----------
    name : str
        The name in the job.
    call : callable
        Maps a list of pairs to one number for each.
    weights : str or None
        The checksum of its weights; None for a function.
    """

    name: str
    call: Callable[[list[tuple[str, str]]], Any]
    weights: str | None = None

    def score(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        """Return one score for each pair.

        Raises
        ------
        DataError
            If the scorer fails, or does not return one finite number for each pair.
        """
        try:
            scores = np.asarray(self.call(pairs), dtype=np.float64)
        except MineError:
            raise
        except Exception as error:  # a user's code may raise any error
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise DataError(
                f"select.rescore = {self.name!r} failed with {reason}; "
                "it is given a list of (anchor, negative) texts and returns a number for each"
            ) from error
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise DataError(
                f"select.rescore = {self.name!r} gave shape {scores.shape} for {len(pairs):,} "
                "pairs, or numbers that are not finite; it must return one number a pair"
            )
        return scores


def load_rescorer(name: str) -> Rescorer:
    """Load a scorer by name: ``cross-encoder:PATH`` or ``package.module:attribute``.

    Raises
    ------
    UsageError
        If it does not exist or cannot be called.
    """
    family, colon, value = name.partition(":")
    if family not in RESCORERS.names():
        call = import_from_here(name)
        if not callable(call):
            raise UsageError(f"select.rescore = {name!r} is not a function; name one")
        return Rescorer(name, call)
    if not colon or not value:
        raise UsageError(f"select.rescore = {name!r} names no model; write {family}:PATH")
    scorer = constructed(f"select.rescore = {name!r}", partial(RESCORERS.load(family), value))
    return Rescorer(name, scorer, scorer.weights())

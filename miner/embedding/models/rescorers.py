"""What scores a pair of texts: a cross-encoder, or a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.load import import_from_here
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
    """A checked scorer of pairs of texts.

    Attributes
    ----------
    name : str
        As the job has it.
    call : callable
    weights : str or None
        The checksum of its weights, where it knows them.
    """

    name: str
    call: Callable[[list[tuple[str, str]]], Any]
    weights: str | None = None

    def score(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        """Return a score a pair.

        Raises
        ------
        DataError
            When it gives something else than one finite number a pair.
        """
        try:
            scores = np.asarray(self.call(pairs), dtype=np.float64)
        except MineError:
            raise
        except Exception as error:  # the code of others: any error ends here
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
    """Find ``cross-encoder:PATH`` or ``package.module:attribute``.

    Raises
    ------
    UsageError
        When there is no such thing, or it cannot be called.
    """
    family, colon, value = name.partition(":")
    if family not in RESCORERS.names():
        call = import_from_here(name)
        if not callable(call):
            raise UsageError(f"select.rescore = {name!r} is no function; name one")
        return Rescorer(name, call)
    if not colon or not value:
        raise UsageError(f"select.rescore = {name!r} names no model; write {family}:PATH")
    scorer = RESCORERS.load(family)(value)
    return Rescorer(name, scorer, scorer.weights())

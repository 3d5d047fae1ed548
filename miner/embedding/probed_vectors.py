"""Vectors on their way to the cache: those of a model that may change are kept after a probe.

A function or a server may become another model while it embeds: a deployment, a switch of its own.
So its vectors are held back until it has answered its probe as before; what came since the last
good probe is dropped otherwise. A model that is known by the checksum of its weights is loaded once
and needs no probe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from miner.embedding.cache import Digests, Generation
from miner.embedding.model_identity import Probe
from miner.embedding.models.base import LoadedModel
from miner.errors import DataError

__all__ = ["ProbeClock", "ProbedVectors", "check_unchanged"]

_WORK_PER_PROBE = 50
"""Between two probes a model embeds this many times as long as a probe takes: they cost 2 %."""
_MOST_HELD = 64 << 20
"""Bytes of vectors that wait for a probe, at most."""


@dataclass(slots=True)
class ProbeClock:
    """Says when a model is to be probed again: probes shall cost little beside its work."""

    _probed: float = field(default_factory=lambda: time.monotonic())
    _cost: float = 0.0  # seconds of the last probe

    @property
    def due(self) -> bool:
        """Whether the last probe is long ago, measured by what it took; at first always."""
        return time.monotonic() - self._probed >= _WORK_PER_PROBE * self._cost

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Time a probe."""
        began = time.monotonic()
        yield
        self._probed = time.monotonic()
        self._cost = self._probed - began


def check_unchanged(model: LoadedModel, probe: Probe, rows: int, held: int) -> None:
    """Probe a model again.

    Parameters
    ----------
    model : LoadedModel
    probe : Probe
    rows, held : int
        How many rows it has embedded in all, and since the last good probe.

    Raises
    ------
    DataError
        When it answers otherwise than before.
    """
    if not probe.answered_alike(model):
        raise DataError(
            f"model {model.name!r} answered the same probe otherwise after {rows:,} rows than "
            f"before: it changed while it embedded; the {held:,} rows since the last good probe "
            "are not kept, the others are; see to it that one model answers and run the same "
            "command again (if it is one that only rounds differently, raise its `drift`)"
        )


@dataclass(slots=True)
class ProbedVectors:
    """Appends vectors to a generation, those of a model with a probe after good answers to it.

    Parameters
    ----------
    generation : Generation
    model : LoadedModel
    probe : Probe or None
        None of a model that knows its weights: its vectors are not held back.
    """

    generation: Generation
    model: LoadedModel
    probe: Probe | None
    _held: list[tuple[Digests, NDArray[np.floating]]] = field(default_factory=list)
    _rows: int = 0
    _clock: ProbeClock = field(default_factory=ProbeClock)

    def append(self, digests: Digests, vectors: NDArray[np.floating]) -> None:
        """Keep vectors under the digests of their contents, now or after the next probe."""
        self._rows += len(digests)
        if self.probe is None:
            self.generation.append(digests, vectors)
            return
        self._held.append((digests, vectors))
        size = sum(vectors.nbytes for _, vectors in self._held)
        if size > _MOST_HELD or self._clock.due:
            self.confirm()

    def confirm(self) -> None:
        """Probe the model and keep what is held back.

        Raises
        ------
        DataError
            When the model has changed.
        """
        if self.probe is None or not self._held:
            return
        held, self._held = self._held, []
        rows = sum(len(digests) for digests, _ in held)
        with self._clock.probing():
            check_unchanged(self.model, self.probe, self._rows, rows)
        for digests, vectors in held:
            self.generation.append(digests, vectors)

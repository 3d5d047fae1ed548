"""Append vectors to the cache only after a probe shows that the model has not changed.

A function or a server may become another model while it embeds, for example by a deployment. So its
vectors are held back until it answers its probe as before; otherwise the vectors since the last
good probe are dropped. A model that is identified by the checksum of its weights is loaded once and
needs no probe.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from miner.embedding.cache import Digests, VectorCache
from miner.embedding.model_identity import Probe
from miner.embedding.models.base import LoadedModel
from miner.errors import DataError

__all__ = ["ProbeClock", "ProbedVectors", "check_unchanged"]

_WORK_PER_PROBE = 50
"""Time between two probes, as a multiple of the time of a probe: probes cost at most 2 %."""
_MOST_HELD = 64 << 20
"""Most bytes of vectors that are held back for a probe."""


@dataclass(slots=True)
class ProbeClock:
    """Decides when to probe a model again, so that probes cost little time."""

    _probed: float = field(default_factory=lambda: time.monotonic())
    _cost: float = 0.0  # seconds of the last probe

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last probe; True before the first one."""
        return time.monotonic() - self._probed >= _WORK_PER_PROBE * self._cost

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Measure the time of a probe."""
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
        Numbers of rows embedded in all, and since the last good probe.

    Raises
    ------
    DataError
        If it returns other vectors than before.
    """
    if not probe.answered_alike(model):
        raise DataError(
            f"model {model.name!r} answers its probe differently after {rows:,} rows: it changed "
            f"while it embedded; the vectors of the {held:,} rows since the last good probe are "
            "dropped, the others are kept; make sure that one model answers, and run the same "
            "command again (if it only rounds differently, raise its `drift`)"
        )


@dataclass(slots=True)
class ProbedVectors:
    """Appends vectors to a generation; if the model has a probe, after a good probe.

    Parameters
    ----------
    generation : VectorCache
    model : LoadedModel
    probe : Probe or None
        None for a model that identifies its weights: its vectors are not held back.
    """

    generation: VectorCache
    model: LoadedModel
    probe: Probe | None
    _held: list[tuple[Digests, NDArray[np.floating]]] = field(default_factory=list)
    _rows: int = 0
    _clock: ProbeClock = field(default_factory=ProbeClock)

    def append(self, digests: Digests, vectors: NDArray[np.floating]) -> None:
        """Append vectors under the digests of their contents, now or after the next probe."""
        self._rows += len(digests)
        if self.probe is None:
            self.generation.append(digests, vectors)
            return
        self._held.append((digests, vectors))
        size = sum(vectors.nbytes for _, vectors in self._held)
        if size > _MOST_HELD or self._clock.due:
            self.confirm()

    def confirm(self) -> None:
        """Probe the model and append the vectors that are held back.

        Raises
        ------
        DataError
            If the model has changed.
        """
        if self.probe is None or not self._held:
            return
        held, self._held = self._held, []
        rows = sum(len(digests) for digests, _ in held)
        with self._clock.probing():
            check_unchanged(self.model, self.probe, self._rows, rows)
        for digests, vectors in held:
            self.generation.append(digests, vectors)

"""Vectors that were computed elsewhere: the content is the embedding."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.base import Batch, Model

__all__ = ["Precomputed"]


class Precomputed(Model):
    """Returns the content unchanged."""

    kinds: ClassVar[frozenset[str]] = frozenset({"vectors"})
    cached: ClassVar[bool] = False

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Return the batch, shape (b, dim), integers converted to float64."""
        vectors = np.asarray(batch)
        return vectors if vectors.dtype.kind == "f" else vectors.astype(np.float64)

    def weights(self) -> str:
        """Return a constant: the model has no weights."""
        return "none"

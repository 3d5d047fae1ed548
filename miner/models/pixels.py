"""Images as the vectors of their pixels: no network, a baseline for small pictures."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from miner.models.base import Batch, Model

__all__ = ["Pixels"]


class Pixels(Model):
    """The pixel values of an image, row after row."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    cached: ClassVar[bool] = False

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Return the values as floats, shape (b, height * width)."""
        return np.asarray(batch, dtype=np.float64)

    def weights(self) -> str:
        """There are none."""
        return "none"

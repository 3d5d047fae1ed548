"""Images as the vectors of their pixels."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.base import Batch, Model
from miner.errors import DataError, UsageError

__all__ = ["Pixels"]

_MODES = ("L", "RGB")


class Pixels(Model):
    """The pixel values of an image, row after row: a baseline for small pictures.

    Parameters
    ----------
    size : int, optional
        Edge to which image files are resized (bilinear); default: not resized, and then all
        images must have one size.
    mode : str
        ``L`` (grey, the default) or ``RGB``, for image files.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    cached: ClassVar[bool] = False

    def __init__(self, size: int | None = None, mode: str = "L") -> None:
        if mode not in _MODES:
            raise UsageError(f"model.options.mode = {mode!r} must be L or RGB")
        if size is not None and size < 1:
            raise UsageError(f"model.options.size = {size} must be 1 or more")
        self._size, self._mode = size, mode

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Return the pixel values as float64, shape (b, values); image files have 0 to 255."""
        if isinstance(batch, np.ndarray):
            return np.asarray(batch, dtype=np.float64)
        images: list[Any] = list(batch)
        rows = [self._row(image) for image in images]
        for image, row in zip(images, rows, strict=True):
            if len(row) != len(rows[0]):
                first = images[0].size
                raise DataError(
                    f"images of {first[0]} x {first[1]} and of {image.size[0]} x "
                    f"{image.size[1]} pixels: vectors need one length; set model.options.size = 32"
                )
        return np.asarray(rows, dtype=np.float64)

    def _row(self, image: Any) -> NDArray[np.uint8]:
        image = image.convert(self._mode)
        if self._size is not None:
            image = image.resize((self._size, self._size), resample=2)  # bilinear
        return np.asarray(image, dtype=np.uint8).reshape(-1)

    def weights(self) -> str:
        """Return a constant: the model has no weights."""
        return "none"

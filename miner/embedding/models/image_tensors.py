"""Images as the input of networks: resized, cropped to the middle, standardised."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from miner.embedding.models.base import Batch
from miner.errors import DataError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "image_tensor"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's training images, in RGB from 0 to 1, as the models of torchvision expect."""


def image_tensor(
    batch: Batch, size: int, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Bring images to one shape.

    The shorter edge is resized to `size` (bicubic), the middle square is cut out.

    Parameters
    ----------
    batch : list of PIL.Image.Image, or ndarray of shape (b, values)
        Numbers in a row are the pixels of a square grey image, 0 black.
    size : int
        Pixels of an edge.
    mean, std : sequence of 3 floats
        Of the channels, where 1 is white.

    Returns
    -------
    ndarray of shape (b, 3, size, size), float32
    """
    images = _squares(batch) if isinstance(batch, np.ndarray) else batch
    prepared = np.stack([_prepared(image, size) for image in images])
    standard = (prepared - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(standard.transpose(0, 3, 1, 2), dtype=np.float32)


def _prepared(image: Any, size: int) -> NDArray[np.float32]:
    width, height = image.size
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    resized = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    cut = resized.crop((left, top, left + size, top + size))
    return np.asarray(cut, dtype=np.float32) / np.float32(255)


def _squares(batch: NDArray[Any]) -> list[Any]:
    """Take rows of numbers for square images; fractions up to 1, or whole numbers up to 255."""
    edge = isqrt(batch.shape[1])
    if edge * edge != batch.shape[1]:
        raise DataError(
            f"images of {batch.shape[1]} numbers are not square; give image files (PNG, JPEG)"
        )
    fractions = batch.dtype.kind == "f"
    bytes_ = np.clip(batch * 255 if fractions else batch, 0, 255).round().astype(np.uint8)
    return [Image.fromarray(row.reshape(edge, edge)) for row in bytes_]

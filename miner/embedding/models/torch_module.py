"""A user's PyTorch network, by name; images are resized, cropped and standardised."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from miner.embedding.models.base import Batch, Model
from miner.embedding.models.load import import_from_here
from miner.embedding.models.torch_weights import choose_device, load_weights, state_digest
from miner.errors import DataError, UsageError

__all__ = ["Network", "TorchModule", "rgb_images"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's training images, in RGB from 0 to 1."""
_VERSION = 1


def rgb_images(batch: Batch) -> list[Any]:
    """Return a batch as decoded images in RGB.

    Rows of numbers are read as square images, of floats from 0 to 1 or integers from 0 to 255.

    Raises
    ------
    DataError
        If the images are not square, or the numbers lie outside this range.
    """
    if not isinstance(batch, np.ndarray):
        images: list[Any] = list(batch)
        return [image.convert("RGB") for image in images]
    edge = isqrt(batch.shape[1])
    if edge * edge != batch.shape[1]:
        raise DataError(
            f"images of {batch.shape[1]} numbers are not square; give image files (PNG, JPEG)"
        )
    fractions = batch.dtype.kind == "f"
    low, high = batch.min(), batch.max()
    if low < 0 or high > (1 if fractions else 255):
        raise DataError(
            f"images of numbers from {low:g} to {high:g}: this model takes fractions from 0 to 1 "
            "or whole numbers from 0 to 255; scale them, or give image files (PNG, JPEG)"
        )
    bytes_ = (batch * 255 if fractions else batch).round().astype(np.uint8)
    return [Image.fromarray(row.reshape(edge, edge)).convert("RGB") for row in bytes_]


class Network(Model):
    """A ``torch.nn.Module`` that embeds images, or texts if it accepts lists of texts."""

    def __init__(self, module: torch.nn.Module, device: str | None) -> None:
        self._device = choose_device(device)
        self._module = module.eval().to(self._device)

    @abstractmethod
    def images(self, batch: Batch) -> torch.Tensor:
        """Convert images to a tensor in the shape that the module takes."""

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed texts or images; an output with more than two axes is flattened to two."""
        with torch.inference_mode():
            if isinstance(batch, list) and isinstance(batch[0], str):
                output = self._module(batch)
            else:
                output = self._module(self.images(batch).to(self._device))
        return np.asarray(output.flatten(1).float().cpu().numpy())

    def weights(self) -> str:
        """Return the checksum of all tensors and of the structure."""
        return state_digest(self._module.state_dict(), str(self._module))


class TorchModule(Network):
    """A module, or a class or function that makes one, found by name.

    Parameters
    ----------
    target : str
        ``package.module:attribute``, or with a dot before the attribute.
    state : str, optional
        File of weights to load: safetensors, or a PyTorch file with nothing but tensors.
    device : str, optional
    size : int
        Edge of the images that the module takes.
    mean, std : sequence of 3 floats
        Values for standardising images; default: ImageNet's.
    arguments : mapping, optional
        Keyword arguments for the class or function.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image"})
    argument: ClassVar[str] = "target"
    cache_id: ClassVar[str] = "miner.models.torch_module:TorchModule"

    def __init__(
        self,
        target: str,
        state: str | None = None,
        device: str | None = None,
        size: int = 224,
        mean: Sequence[float] = _IMAGENET_MEAN,
        std: Sequence[float] = _IMAGENET_STD,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        found = import_from_here(target if ":" in target else ":".join(target.rsplit(".", 1)))
        if not isinstance(found, torch.nn.Module) and callable(found):
            found = found(**(arguments or {}))
        if not isinstance(found, torch.nn.Module):
            raise UsageError(f"model 'torch': {target} is {found!r}, not a torch.nn.Module")
        if state is not None:
            load_weights(found, state, target)
        super().__init__(found, device)
        self._target = target
        self._shape = (size, tuple(mean), tuple(std))

    def images(self, batch: Batch) -> torch.Tensor:
        """Resize the shorter edge (bicubic), cut out the middle square and standardise."""
        size, mean, std = self._shape
        prepared = np.stack([_prepared(image, size) for image in rgb_images(batch)])
        standard = (prepared - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(standard.transpose(0, 3, 1, 2)))

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the vectors; the code is identified by its name."""
        return {"version": _VERSION, "images": list(self._shape), "target": self._target}


def _prepared(image: Any, size: int) -> NDArray[np.float32]:
    width, height = image.size
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    cut = resized.crop((left, top, left + size, top + size))
    return np.asarray(cut, dtype=np.float32) / np.float32(255)

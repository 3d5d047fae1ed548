"""A network of your own in PyTorch, by the name of the module's attribute."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from miner.embedding.models.base import Batch, Model, import_from_here
from miner.embedding.models.image_tensors import IMAGENET_MEAN, IMAGENET_STD, image_tensor
from miner.embedding.models.torch_weights import choose_device, load_state, state_digest
from miner.errors import UsageError
from miner.storage.urls import expanded

__all__ = ["Network", "TorchModule"]

_VERSION = 1


class Network(Model):
    """A ``torch.nn.Module`` that embeds images, or texts if it takes a list of them."""

    def __init__(
        self,
        module: torch.nn.Module,
        device: str | None,
        size: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        self._device = choose_device(device)
        self._module = module.eval().to(self._device)
        self._shape = (size, tuple(mean), tuple(std))

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed texts or images; what comes back with more than two axes is flattened."""
        with torch.inference_mode():
            if isinstance(batch, list) and isinstance(batch[0], str):
                output = self._module(batch)
            else:
                images = image_tensor(batch, *self._shape)
                output = self._module(torch.from_numpy(images).to(self._device))
        return np.asarray(output.flatten(1).float().cpu().numpy())

    def weights(self) -> str:
        """Return the checksum of all tensors and of the structure."""
        return state_digest(self._module.state_dict(), str(self._module))

    def facts(self) -> Mapping[str, Any]:
        """Return what beside the weights decides the vectors."""
        return {"version": _VERSION, "images": list(self._shape)}


class TorchModule(Network):
    """A module, or a class or function that makes one, found by name.

    Parameters
    ----------
    target : str
        ``package.module:attribute``, or with a dot before the attribute.
    state : str, optional
        Weights to load into it: safetensors, or a file of tensors only.
    device : str, optional
    size : int
        Edge of the images that it takes.
    mean, std : sequence of 3 floats
        By which images are standardised; default: ImageNet's.
    arguments : mapping, optional
        For the class or function.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image"})
    argument: ClassVar[str] = "target"
    cache_id: ClassVar[str] = "miner.embedding.models.torch_module:TorchModule"

    def __init__(
        self,
        target: str,
        state: str | None = None,
        device: str | None = None,
        size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        found = import_from_here(target if ":" in target else ":".join(target.rsplit(".", 1)))
        if not isinstance(found, torch.nn.Module) and (inspect.isclass(found) or callable(found)):
            found = found(**(arguments or {}))
        if not isinstance(found, torch.nn.Module):
            raise UsageError(f"model 'torch': {target} is {found!r}, not a torch.nn.Module")
        if state is not None:
            tensors = load_state(expanded(state))
            try:
                found.load_state_dict(tensors)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                raise UsageError(f"{state} does not fit {target}: {reason}") from error
        super().__init__(found, device, size, mean, std)
        self._target = target

    def facts(self) -> Mapping[str, Any]:
        """Return what beside the weights decides the vectors: the code is known by its name."""
        return {**super().facts(), "target": self._target}

"""Image networks of torchvision without their last layer: the features below the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torchvision import models

from miner.embedding.models.torch_module import Network, load_state
from miner.errors import UsageError, did_you_mean
from miner.storage.urls import expanded

__all__ = ["Torchvision"]

_HEADS = ("fc", "classifier", "head", "heads")


class Torchvision(Network):
    """A classification network of torchvision whose head is taken off.

    Parameters
    ----------
    name : str
        Such as ``resnet18``.
    weights : str
        A file of tensors (safetensors or a state_dict), ``DEFAULT`` for those that torchvision
        downloads, or ``random`` for none: features of an untrained network.
    device : str, optional
    size : int
        Edge of the images that it takes.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    argument: ClassVar[str] = "name"
    cache_id: ClassVar[str] = "miner.models.torchvision:Torchvision"

    def __init__(
        self, name: str, weights: str = "DEFAULT", device: str | None = None, size: int = 224
    ) -> None:
        known = models.list_models(module=models)
        if name not in known:
            raise UsageError(f"torchvision has no model {name!r}: {did_you_mean(name, known)}")
        torch.manual_seed(0)  # random weights are the same ones each time
        try:
            module = models.get_model(name, weights="DEFAULT" if weights == "DEFAULT" else None)
        except OSError as error:
            raise UsageError(
                f"model 'torchvision': the weights of {name} cannot be downloaded ({error}); set "
                "model.options.weights to a file of them"
            ) from error
        if weights not in ("DEFAULT", "random"):
            try:
                module.load_state_dict(load_state(expanded(weights)))
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:200]
                raise UsageError(f"{weights} does not fit {name}: {reason}") from error
        head = next((part for part in _HEADS if hasattr(module, part)), None)
        if head is None:
            raise UsageError(
                f"model 'torchvision': {name} has no head to take off; use model torch"
            )
        setattr(module, head, torch.nn.Identity())
        super().__init__(module, device, size)
        self._name = name

    def facts(self) -> Mapping[str, Any]:
        """Return what beside the weights decides the vectors."""
        return {**super().facts(), "name": self._name}

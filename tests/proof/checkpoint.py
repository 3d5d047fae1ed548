"""A network at some point of its training, as a model that `mine` embeds with.

The content of an item is the index of its input, as text, so that texts and images work alike.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from miner.embedding.models.base import Batch, Model
from tests.proof.networks import embedded

__all__ = ["Checkpoint", "save_checkpoint"]


def save_checkpoint(network: torch.nn.Module, path: Path) -> None:
    """Write a network to a file."""
    torch.save(network, path)


class Checkpoint(Model):
    """Embeds with a saved network; the checksum of the file identifies its weights."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(self, network: str, inputs: str) -> None:
        # this program has just written the file, so unpickling it is safe
        self._network = torch.load(network, weights_only=False).eval()
        self._inputs = np.load(inputs, mmap_mode="r")
        self._files = (Path(network), Path(inputs))

    def embed(self, batch: Batch) -> np.ndarray:
        """Embed the inputs with these indices."""
        rows = [int(str(number)) for number in batch]
        return embedded(self._network, np.ascontiguousarray(self._inputs[rows]))

    def weights(self) -> str:
        """Return one checksum of the network and the inputs."""
        digest = hashlib.sha256()
        for path in self._files:
            digest.update(path.read_bytes())
        return digest.hexdigest()

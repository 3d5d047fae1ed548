"""Weights of models in PyTorch: known by a checksum of their tensors, read without pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors.torch import load_file

from miner.embedding.models.base import error_words
from miner.errors import UsageError
from miner.storage.urls import expanded

__all__ = ["choose_device", "load_weights", "state_digest"]


def state_digest(state: Mapping[str, Any], *more: str) -> str:
    """Identify weights: the SHA-256 of names, types, shapes and bytes of all tensors.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        As ``Module.state_dict()`` gives it.
    more : str
        What else belongs to the model: its structure, its tokenizer.
    """
    whole = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        whole.update(plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    for text in more:
        whole.update(text.encode())
    return f"tensors:{whole.hexdigest()}"


def load_weights(module: torch.nn.Module, file: str, name: str, heads: Iterable[str] = ()) -> None:
    """Load a file of tensors into a module, without those of `heads` that it does not have.

    Raises
    ------
    UsageError
        When the file is missing, holds more than tensors (such a file could run code), or does not
        fit the module.
    """
    path = expanded(file)
    if not path.is_file():
        raise UsageError(f"no such file of weights: {path}; check model.options")
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the formats' readers raise on a strange file
        raise UsageError(
            f"{path} cannot be read as tensors ({error_words(error)}); save the state_dict, best "
            "as safetensors"
        ) from error
    own, left_out = module.state_dict(), tuple(f"{head}." for head in heads)
    state = {
        key: tensor
        for key, tensor in state.get("state_dict", state).items()
        if key in own or not key.startswith(left_out)
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"{file} does not fit {name}: {error_words(error)}") from error


def choose_device(device: str | None) -> str:
    """Return the device that was asked for, or the best there is."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")

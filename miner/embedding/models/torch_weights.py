"""Weights of PyTorch models: identified by a checksum of tensors, and loaded without pickle."""

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
    """Return the SHA-256 of the names, types, shapes and bytes of all tensors.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        The result of ``Module.state_dict()``.
    more : str
        Other parts of the model to include: its structure, its tokenizer.
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
    """Load a file of tensors into a module.

    Tensors of the layers `heads` are skipped if the module does not have them.

    Raises
    ------
    UsageError
        If the file is missing, holds more than tensors (such a file could run code), or does not
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
    except Exception as error:  # the readers raise errors of any type on invalid files
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
    """Return the requested device; by default a GPU if there is one, else the CPU."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")

"""What the families on PyTorch share: weights as a checksum, checkpoints without pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from miner.errors import UsageError

__all__ = ["choose_device", "load_state", "state_digest"]


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


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors: safetensors, or a PyTorch file that holds nothing else.

    Raises
    ------
    UsageError
        When the file is missing, or holds more than tensors: such a file could run code.
    """
    if not path.is_file():
        raise UsageError(f"no such file of weights: {path}; check model.options")
    try:
        if path.suffix == ".safetensors":
            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the formats' readers raise on a strange file
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{path} cannot be read as tensors ({reason}); save the state_dict, best as safetensors"
        ) from error
    inner: dict[str, Any] = state.get("state_dict", state)
    return inner


def choose_device(device: str | None) -> str:
    """Return the device that was asked for, or the best there is."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")

"""The format safetensors: named tensors of numbers after a header in JSON, mapped into memory.

Layout: https://github.com/huggingface/safetensors#format. Nothing in such a file is code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from miner.datasets.base import data_errors
from miner.datasets.formats.arrays import BFLOAT16, ArrayTable, array_table
from miner.errors import DataError

__all__ = ["open_safetensors"]

_LENGTH, _MOST_HEADER = 8, 100_000_000
"""Bytes of the header's length, and most bytes of a header, as in the library."""
_KINDS = {
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    **{
        f"{sign.upper()}{8 * size}": np.dtype(f"<{sign}{size}")
        for sign in "iu"
        for size in (1, 2, 4, 8)
    },
    "BOOL": np.dtype(np.bool_),
    "BF16": BFLOAT16,
}


def open_safetensors(where: str, files: Sequence[Path]) -> ArrayTable:
    """Open a file whose tensors are the columns (`embedding`, `label`, `id`, ...)."""
    path = files[0]
    with data_errors(where):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            start = _LENGTH + length
            if length > _MOST_HEADER or start > size:
                raise DataError(f"{path} is no safetensors file, or cut off; write the file again")
            header = _header(path, file.read(length))
    arrays, faults = {}, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            arrays[name] = _tensor(path, entry, start, size - start)
        except ValueError as error:
            faults[name] = f"{path}: tensor {name!r} {error}"
    return array_table(path, (path,), arrays, faults)


def _header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: its header is no JSON ({error}); write the file again") from error
    if not isinstance(header, dict):
        raise DataError(f"{path}: its header is no JSON object; write the file again")
    return header


def _tensor(path: Path, entry: Any, start: int, room: int) -> Any:
    """Map a tensor.

    Raises
    ------
    ValueError
        If it has a type that is not read, or its place is not as its shape says.
    """
    facts = entry if isinstance(entry, dict) else {}
    kind: Any = _KINDS.get(str(facts.get("dtype")))
    if kind is None:
        raise ValueError(f"has the type {facts.get('dtype')}; save it as F32, or as integers")
    shape, place = _whole(facts.get("shape")), _whole(facts.get("data_offsets"))
    if shape is None or place is None or len(place) != 2:
        raise ValueError("has no shape or place; write the file again")
    size = math.prod(shape) * kind.itemsize
    if place[0] + size != place[1] or place[1] > room:
        raise ValueError(
            f"lies at bytes {place[0]:,} to {place[1]:,} of {room:,}, and its shape needs {size:,};"
            " write the file again"
        )
    if not size:
        return np.empty(shape, kind)
    return np.memmap(path, kind, "r", offset=start + place[0], shape=shape)


def _whole(values: Any) -> tuple[int, ...] | None:
    """Return a list of integers from 0 on; None if a value is none."""
    if not isinstance(values, list):
        return None
    whole = all(type(one) is int and one >= 0 for one in values)
    return tuple(values) if whole else None

"""Products of tiles in a named precision, by PyTorch.

On a CPU the same roundings of the operands are made and the sums are float32, so that the bounds of
`miner.census.device.roundings` are tested where there is no GPU.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

from miner.census.device.roundings import Rounding
from miner.errors import EngineError

__all__ = ["check_products", "has_wide_products", "multiply", "operands"]

Operands = tuple[torch.Tensor, ...]

_SETTING = threading.Lock()
"""Held while PyTorch's setting of float32 products is changed: it is one for all threads."""
_CUT = -1 << 13
"""Clears the bits of a float32 number that tensor cores do not read."""
_SHAPE = (256, 512)
"""Anchors and rows of the product that `check_products` examines."""
_MOST_CHECKED = 1024
"""With more dimensions, the bound of ``fp32`` would allow what ``tf32`` loses of these values."""


def operands(prepared: torch.Tensor, rounding: Rounding) -> Operands:
    """Return what represents float64 vectors, shape (n, d): one or two tensors of that shape."""
    if rounding.wide:
        return (prepared,)
    narrow = prepared.to(torch.float32)
    if rounding.name != "3xbf16":
        return (narrow,)
    high = narrow.to(torch.bfloat16)
    return high, (narrow - high.to(torch.float32)).to(torch.bfloat16)


def multiply(queries: Operands, rows: Operands, rounding: Rounding) -> torch.Tensor:
    """Return the products of all pairs, shape (b, t): float64 for ``fp64``, else float32."""
    with torch.autocast(queries[0].device.type, enabled=False):  # a training loop may be the caller
        return _multiply(queries, rows, rounding)


def _multiply(queries: Operands, rows: Operands, rounding: Rounding) -> torch.Tensor:
    if rounding.name != "3xbf16":
        own, other = queries[0], rows[0].T
        if rounding.name == "tf32" and own.device.type == "cpu":
            return _cut(own) @ _cut(other)
        with _float32_products(tf32=rounding.name == "tf32", on=own):
            return own @ other
    (high, low), (rows_high, rows_low) = queries, rows
    cross = _wide_product(high, rows_low) + _wide_product(low, rows_high)
    return cross.add_(_wide_product(high, rows_high))


def _wide_product(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the float32 product of bfloat16 matrices (b, d) and (t, d)."""
    if own.device.type == "cpu":
        return own.to(torch.float32) @ other.to(torch.float32).T
    return torch.mm(own, other.T, out_dtype=torch.float32)


def has_wide_products() -> bool:
    """Whether this PyTorch returns float32 products of bfloat16 matrices on a GPU (from 2.8 on)."""
    first, second, *_ = torch.__version__.split(".")
    return (int(first), int(second)) >= (2, 8)


def _cut(numbers: torch.Tensor) -> torch.Tensor:
    """Return float32 numbers with 11 significant bits; the others are cut off."""
    return (numbers.contiguous().view(torch.int32) & _CUT).view(torch.float32)


@contextlib.contextmanager
def _float32_products(*, tf32: bool, on: torch.Tensor) -> Iterator[None]:
    """Set whether float32 matrices are rounded to ``tf32`` when they are multiplied."""
    if on.device.type == "cpu" or on.dtype != torch.float32:
        yield
        return
    matmul: Any = torch.backends.cuda.matmul
    name: str = "fp32_precision"
    value: str | bool = "tf32" if tf32 else "ieee"
    if not hasattr(matmul, name):  # before PyTorch 2.9
        name, value = "allow_tf32", tf32
    with _SETTING:
        before = getattr(matmul, name)
        if before == value:  # a value that is set no longer follows PyTorch's general one
            yield
            return
        setattr(matmul, name, value)
        try:
            yield
        finally:
            setattr(matmul, name, before)


def check_products(device: torch.device, dim: int, rounding: Rounding) -> None:
    """Check that products on a device are within their bound; the environment may change them.

    All values are ``1 + 2^-12``, which ``tf32`` cannot represent, so what is lost adds up.

    Raises
    ------
    EngineError
        If a product is off by more.
    """
    value, dim = 1.0 + 2.0**-12, min(dim, _MOST_CHECKED)
    own, rows = (
        operands(torch.full((n, dim), value, dtype=torch.float64, device=device), rounding)
        for n in _SHAPE
    )
    found, true = multiply(own, rows, rounding).to(torch.float64), dim * value * value
    bound = 1.01 * rounding.relative(dim) * true + 1e-13 * true
    off = float((found - true).abs().max())
    if not off <= bound:
        raise EngineError(
            f"engine.device: products on {device} are off by {off / true:.2g}, more than "
            f"{rounding.name} allows ({bound / true:.2g}); unset NVIDIA_TF32_OVERRIDE and "
            "CUBLAS_EMULATE_SINGLE_PRECISION, or set engine.device = 'cpu'"
        )

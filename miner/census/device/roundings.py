"""How a device multiplies vectors, and rigorous bounds of its rounding errors; needs no PyTorch.

All bounds are multiples of ``|q||w|``, the norms of the two prepared vectors, and hold for any
order of summation. d is the number of dimensions and u = 2^-24, the unit roundoff of float32.

``fp64``
    The bound of `miner.census.walk.key_space.KeySpace.key_error`.
``fp32``
    Two operands are rounded once each, and a sum of d products, with or without fused operations,
    is off by at most ``d u`` to first order (Higham, Accuracy and Stability of Numerical
    Algorithms, 2nd ed., sections 3.1 and 4.2): ``(d + 2) u``.
``tf32``
    The tensor cores read 11 significant bits of each operand. Whether the rest is rounded or cut
    off is not documented, so ``2^-10`` is lost of each. Products are exact. They are added to the
    accumulator in groups: the terms of a group are aligned to the largest one, each is cut off
    below 24 bits or more, and so is their sum (for the A100: Fasi, Higham, Mikaitis and Pranesh,
    Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 7:e330, 2021; for both the
    A100 and the H100, compared with the hardware bit by bit: Khattak and Mikaitis, Accurate Models
    of NVIDIA Tensor Cores, arXiv:2512.07004, 2025, with 1 and 2 bits more). A group of k
    products loses at most ``(k + 2) 2^-23`` of the sum of all absolute products; with groups of any
    size k >= 1 this is at most ``3 d 2^-23 = 6 d u``.
``3xbf16``
    Each operand is split into two bfloat16 numbers of 8 significant bits, ``x = hi + lo + rest``
    with ``|lo| <= 2^-8 |x|`` and ``|rest| <= 2^-16 |x|``; the product is ``hi hi + hi lo + lo hi``.
    It leaves out ``lo lo`` and what is multiplied by a rest: ``3 * 2^-16`` to first order. Tensor
    cores accumulate as for ``tf32``. The two smaller products are added to the greater one in
    float32, which the rounding of a key, counted threefold in `Rounding.error`, covers.

A product that underflows, or an operand that a device takes for zero because it is subnormal, is
off by less than 2^-126.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from miner.triplets.distance import UNIT_ROUNDOFF_32
from miner.triplets.types import Float64

__all__ = ["BY_SPEED", "ROUNDINGS", "Rounding"]

_TENSOR_CORES = 6.0
"""The accumulation error of tensor cores, as a multiple of that of float32 additions."""
_SUBNORMAL = 2.0**-124
"""More than an operand or a product changes where it underflows, and its split parts with it."""
_FIRST_ORDER = 0.0099
"""Bounds to first order hold, with a factor of 1.01, up to this size."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """How products are computed, and what they lose.

    Attributes
    ----------
    name : str
    operands : float
        What representing both operands loses.
    sums : float
        What adding one product loses, as a multiple of u.
    """

    name: str
    operands: float
    sums: float

    @property
    def wide(self) -> bool:
        """Whether keys are float64."""
        return self.name == "fp64"

    @property
    def reduced(self) -> bool:
        """Whether products lose so much that distances are not summed from them."""
        return self.operands > 2.0**-20

    def relative(self, dim: int) -> float:
        """Return the bound of a product of `dim` dimensions as a share of ``|q||w|``."""
        return self.operands + (self.sums * dim + 2) * UNIT_ROUNDOFF_32

    def fits(self, dim: int) -> bool:
        """Whether the bound holds for this number of dimensions."""
        return self.wide or self.relative(dim) < _FIRST_ORDER

    def error(self, dim: int, norms: Float64, max_norm: float, *, euclidean: bool) -> Float64:
        """Return a bound on the difference of these keys and float64 keys, shape (b,).

        A key is a bias, at most ``max_norm^2 / 2`` and rounded once, minus a product; the
        difference is rounded once.

        Parameters
        ----------
        dim : int
        norms : ndarray of shape (b,), float64
            The norms of the prepared anchors.
        max_norm : float
            The greatest norm of a prepared row.
        euclidean : bool
            Whether keys have a bias.
        """
        if self.wide:
            return np.zeros(len(norms))
        scale = norms * max_norm
        own = 2 * max_norm * max_norm if euclidean else 0.0
        tiny = _SUBNORMAL * (dim + math.sqrt(dim) * (norms + max_norm))
        products = self.relative(dim) * scale + UNIT_ROUNDOFF_32 * (3 * scale + own)
        bound: Float64 = 1.01 * products + tiny
        return bound


_ALL = (
    Rounding("tf32", 2 * 2.0**-10 + 2.0**-20, _TENSOR_CORES * (1 + 2.0**-9)),
    Rounding("3xbf16", 3 * 2.0**-16 * (1 + 2.0**-7), _TENSOR_CORES * (1 + 2.0**-5)),
    Rounding("fp32", 0.0, 1.0),
    Rounding("fp64", 0.0, 0.0),
)
ROUNDINGS = {one.name: one for one in _ALL}
BY_SPEED = tuple(ROUNDINGS)
"""The names, fastest first on a GPU with tensor cores."""

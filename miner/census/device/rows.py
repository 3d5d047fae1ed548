"""The stored rows on a device, and the keys that are computed from them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from miner.census.device.products import Operands, multiply, operands
from miner.census.device.roundings import Rounding
from miner.census.walk.key_space import KeySpace
from miner.triplets.types import Float32

__all__ = ["DeviceRows", "sent"]

_LEAST_TILE, _MOST_TILE = 1 << 20, 256 << 20
"""Bytes of the float64 vectors that are prepared at once: an eighth of a block within these."""

_MOST_STEP = 1 << 17
"""The most rows of a tile, whose products with a block are fewer than 2^31."""


def sent(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array on a device."""
    return torch.from_numpy(values if values.flags.writeable else values.copy()).to(device)


class DeviceRows:
    """The rows of a census on a device: all of them if they fit, else sent tile by tile.

    Parameters
    ----------
    space : KeySpace
    rows : ndarray of shape (n, d), float32
    device : torch.device
    room : int
        The most bytes of rows and of prepared rows that stay on the device.
    block : int
        The bytes of a block.
    """

    def __init__(
        self, space: KeySpace, rows: Float32, device: torch.device, room: int, block: int
    ) -> None:
        self._space, self._rows, self.device = space, rows, device
        self._center = sent(space.center, device)
        tile = max(_LEAST_TILE, min(_MOST_TILE, block // 8))
        self._step = max(1, min(_MOST_STEP, tile // (8 * max(1, rows.shape[1]))))
        self._whole: torch.Tensor | None = None
        with contextlib.suppress(torch.cuda.OutOfMemoryError):  # other processes may use the device
            self._whole = self._sent(rows) if rows.nbytes <= room else None
        self._room = room - rows.nbytes if self._whole is not None else 0
        self._kept: dict[tuple[str, int], tuple[Operands, torch.Tensor]] = {}

    def release_rows(self) -> None:
        """Drop what is kept for products; it is prepared again when needed."""
        self._kept, self._room = {}, 0

    def keys(self, queries: torch.Tensor, rounding: Rounding) -> torch.Tensor:
        """Return the keys of all rows for some anchors, shape (b, n).

        Parameters
        ----------
        queries : Tensor of shape (b, d), float64
            The prepared vectors of the anchors.
        rounding : Rounding
        """
        kind = torch.float64 if rounding.wide else torch.float32
        own = operands(queries, rounding)
        keys = torch.empty(len(queries), len(self._rows), dtype=kind, device=self.device)
        for start in range(0, len(self._rows), self._step):
            rows, bias = self._operands(start, rounding)
            part = keys[:, start : start + len(bias)]
            torch.sub(bias.to(kind), multiply(own, rows, rounding), out=part)
        return keys

    def pair_keys(
        self, queries: torch.Tensor, lines: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Return the float64 keys of some pairs of anchors and rows, shape (k,)."""
        keys = torch.empty(len(rows), dtype=torch.float64, device=self.device)
        for start in range(0, len(rows), self._step):
            part = slice(start, start + self._step)
            prepared = self._prepared(self._taken(rows[part]))
            keys[part] = self._bias(prepared) - (prepared * queries[lines[part]]).sum(-1)
        return keys

    def _operands(self, start: int, rounding: Rounding) -> tuple[Operands, torch.Tensor]:
        """Return what represents the rows of a tile, and the float64 bias of each."""
        kept = self._kept.get((rounding.name, start))
        if kept is not None:
            return kept
        stop = start + self._step
        raw = self._sent(self._rows[start:stop]) if self._whole is None else self._whole[start:stop]
        prepared = self._prepared(raw)
        made = operands(prepared, rounding), self._bias(prepared)
        size = sum(one.nbytes for one in (*made[0], made[1]))
        if size <= self._room:
            self._room -= size
            self._kept[rounding.name, start] = made
        return made

    def _taken(self, rows: torch.Tensor) -> torch.Tensor:
        if self._whole is not None:
            return self._whole[rows]
        return self._sent(self._rows[rows.cpu().numpy()])

    def _sent(self, rows: Float32) -> torch.Tensor:
        """Return a copy of stored rows on the device."""
        whole = torch.empty(rows.shape, dtype=torch.float32, device=self.device)
        for start in range(0, len(rows), self._step):
            part = np.array(rows[start : start + self._step])  # a copy: PyTorch wants to own it
            whole[start : start + len(part)] = torch.from_numpy(part)
        return whole

    def _prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the float64 vectors whose inner products make the keys; see `KeySpace.prepare`."""
        wide = rows.to(torch.float64)
        if self._space.euclidean:
            wide -= self._center
        elif self._space.metric == "cosine":
            norms = (wide * wide).sum(-1).sqrt_()
            wide /= torch.where(norms == 0, 1.0, norms)[:, None]
        return wide

    def _bias(self, prepared: torch.Tensor) -> torch.Tensor:
        """Return the term that each row adds to its keys, float64."""
        if self._space.euclidean:
            return (prepared * prepared).sum(-1) / 2
        return torch.zeros(len(prepared), dtype=torch.float64, device=self.device)

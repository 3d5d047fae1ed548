"""The thresholds of a block on a device: ascending for each anchor, padded to one length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from miner.census.walk.pair_thresholds import Pairs, PairThresholds
from miner.triplets.types import Rows

__all__ = ["DeviceThresholds", "threshold_bytes"]

_COPIES = 64
"""Bytes of a padded threshold and of what is computed from it."""


def threshold_bytes(lines: int, positives: int) -> int:
    """Return the bytes of the thresholds of anchors with at most `positives` positives each."""
    return 2 * lines * positives * _COPIES


@dataclass(frozen=True, slots=True)
class DeviceThresholds:
    """Both thresholds of each pair, sorted by anchor.

    With w the largest number of positives of an anchor, each anchor has 2 w places. Those that it
    does not need hold infinity.

    Attributes
    ----------
    keys : Tensor of shape (b, 2 w), float64
        Ascending.
    of : Tensor of shape (b, 2 w), int64
        The pair of each threshold; for semi-hard thresholds the number of pairs is added; -1 for
        places that are not needed.
    above : Tensor of shape (b, 2 w + 1), int64
        How many thresholds are at or after each position: hard ones in the low 32 bits, semi-hard
        ones in the high bits.
    pairs : int
        The number of pairs.
    """

    keys: torch.Tensor
    of: torch.Tensor
    above: torch.Tensor
    pairs: int

    @classmethod
    def sort(
        cls, pairs: Pairs, thresholds: PairThresholds, device: torch.device
    ) -> DeviceThresholds:
        """Send the thresholds of a block to a device and sort them."""
        lines, count, first = len(pairs.anchors), len(pairs.positives), pairs.starts[:-1]
        widest = int(np.diff(pairs.starts).max())
        place = torch.from_numpy(np.arange(count) - first[pairs.lines]).to(device)
        line, number = (
            torch.from_numpy(given).to(device) for given in (pairs.lines, np.arange(count))
        )
        keys = torch.full((lines, 2 * widest), torch.inf, dtype=torch.float64, device=device)
        of = torch.full((lines, 2 * widest), -1, dtype=torch.int64, device=device)
        for shift, values in enumerate((thresholds.hard, thresholds.non_easy)):
            keys[line, place + shift * widest] = torch.from_numpy(values).to(device)
            of[line, place + shift * widest] = number + shift * count
        keys, order = keys.sort(dim=1, stable=True)
        of = of.gather(1, order)
        kinds = (of >= 0).to(torch.int64) + (of >= count) * ((1 << 32) - 1)
        above = torch.zeros(lines, 2 * widest + 1, dtype=torch.int64, device=device)
        above[:, :-1] = kinds.flip(1).cumsum(1).flip(1)
        return cls(keys, of, above, count)

    def edges(
        self, tolerance: torch.Tensor, kind: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each threshold plus the tolerance, and the width below it that is undecided.

        The upper ends are rounded up to the type of the keys; the width covers that rounding too.

        Parameters
        ----------
        tolerance : Tensor of shape (b,), float64
        kind : dtype

        Returns
        -------
        edges : Tensor of shape (b, 2 w)
        wide : Tensor of shape (b, 1)
        """
        edges = self.keys + tolerance[:, None]
        size = torch.where(edges.isfinite(), edges.abs(), 0.0).amax(1, keepdim=True)
        wide = (2 * tolerance[:, None] + 8 * torch.finfo(kind).eps * size).to(kind)
        beyond = torch.tensor(torch.inf, dtype=kind, device=edges.device)
        if kind != torch.float64:
            edges = torch.nextafter(edges.to(kind), beyond)
        return edges.contiguous(), torch.nextafter(wide, beyond)

    def narrowed(
        self, lines: torch.Tensor, keys: torch.Tensor, tolerance: torch.Tensor, begin: torch.Tensor,
        end: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Return the ranges of thresholds that float64 keys leave undecided.

        Parameters
        ----------
        lines, begin, end : Tensor of shape (k,), int64
            The anchor of each key, and a range of its thresholds that contains the undecided ones.
        keys : Tensor of shape (k,), float64
        tolerance : Tensor of shape (b,), float64
            A float64 key that is this near to a threshold is undecided.
        """
        tolerance = tolerance[lines]
        begin = self._first(lines, begin, end, keys - tolerance, right=False)
        return begin, self._first(lines, begin, end, keys + tolerance, right=True)

    def _first(
        self, lines: torch.Tensor, low: torch.Tensor, high: torch.Tensor, keys: torch.Tensor, *,
        right: bool,
    ) -> torch.Tensor:  # fmt: skip
        """Return the first threshold in a range that is not below a key; above it if `right`."""
        most = self.keys.shape[1] - 1
        for _ in range((most + 1).bit_length()):
            middle = (low + high) >> 1
            found = self.keys[lines, middle.clamp(max=most)]
            below = ((found <= keys) if right else (found < keys)) & (low < high)
            low = torch.where(below, middle + 1, low)
            high = torch.where(below, high, middle)
        return low

    def per_pair(self, counts: torch.Tensor) -> Rows:
        """Return the counts of both thresholds of each pair, shape (2, pairs).

        Parameters
        ----------
        counts : Tensor of shape (b, 2 w), int64
            The count of each threshold.
        """
        result = torch.zeros(2 * self.pairs, dtype=torch.int64, device=counts.device)
        there = self.of >= 0
        result[self.of[there]] = counts[there]
        return np.asarray(result.cpu().numpy()).reshape(2, self.pairs)

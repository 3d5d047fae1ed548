"""The thresholds of a block on a device: ascending for each anchor, padded to one length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from miner.census.device.rows import sent
from miner.census.walk.direct import Undecided
from miner.census.walk.pair_thresholds import Pairs, PairThresholds
from miner.triplets.types import Rows

__all__ = ["DeviceThresholds", "Regions", "threshold_bytes"]

_COPIES = 128
"""Bytes of a padded threshold and of the tables that are computed from it."""


def threshold_bytes(lines: int, positives: int) -> int:
    """Return the bytes of the thresholds of anchors with at most `positives` positives each."""
    return 2 * lines * positives * _COPIES


@dataclass(frozen=True, slots=True)
class Regions:
    """The keys of each anchor, divided into r regions by r - 1 edges.

    Attributes
    ----------
    edges : Tensor of shape (b, r - 1), of the type of the keys
        Ascending. The region of a key is the number of edges below it.
    begin, end : Tensor of shape (b, r), int64
        How many thresholds are below the keys of a region, and below them or undecided.
    undecided : Tensor of shape (b, r), bool
        Whether keys of the region are undecided.
    """

    edges: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor
    undecided: torch.Tensor


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
    above : Tensor of shape (2, b, 2 w + 1), int32
        How many thresholds are at or after each position: hard ones, and semi-hard ones.
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
        order = np.arange(count)
        given = (order, pairs.lines, order - first[pairs.lines])
        number, line, place = (sent(one, device) for one in given)
        keys = torch.full((lines, 2 * widest), torch.inf, dtype=torch.float64, device=device)
        of = torch.full((lines, 2 * widest), -1, dtype=torch.int64, device=device)
        for shift, values in enumerate((thresholds.hard, thresholds.non_easy)):
            keys[line, place + shift * widest] = sent(values, device)
            of[line, place + shift * widest] = number + shift * count
        keys, places = keys.sort(dim=1, stable=True)
        of = of.gather(1, places)
        above = torch.zeros(2, lines, 2 * widest + 1, dtype=torch.int32, device=device)
        for which, mine in enumerate(((of >= 0) & (of < count), of >= count)):
            above[which, :, :-1] = mine.flip(1).cumsum(1).flip(1)
        return cls(keys, of, above, count)

    def regions(self, tolerance: torch.Tensor, unclear: torch.Tensor, kind: torch.dtype) -> Regions:
        """Return the regions into which thresholds and their tolerance divide the keys of anchors.

        Parameters
        ----------
        tolerance, unclear : Tensor of shape (b,), float64
            How near to a threshold a key is undecided, and below which key all are.
        kind : dtype
            The type of the keys. Lower ends are rounded down and upper ends up, so that a region
            of undecided keys only grows.
        """
        lines, width = self.keys.shape
        beyond = torch.tensor(torch.inf, dtype=kind, device=self.keys.device)
        reach = tolerance[:, None]
        low = torch.nextafter((self.keys - reach).to(kind), -beyond)
        high = torch.nextafter((self.keys + reach).to(kind), beyond)
        ends = torch.cat([low, high, unclear.to(kind)[:, None]], dim=1)
        edges, order = ends.sort(dim=1, stable=True)
        passed = torch.zeros(3, lines, 2 * width + 2, dtype=torch.int64, device=edges.device)
        for count, (first, stop) in zip(
            passed, ((0, width), (width, 2 * width), (2 * width, 2 * width + 1)), strict=True
        ):
            count[:, 1:] = ((order >= first) & (order < stop)).cumsum(1)
        end, begin, clear = passed
        return Regions(edges, begin, end, (begin < end) | (clear == 0))

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

    def undecided(self, listed: list[tuple[torch.Tensor, ...]]) -> Undecided:
        """Return undecided rows, with positions in all thresholds of the block.

        Parameters
        ----------
        listed : list of tuple of Tensor of shape (k,), int64
            Lines, rows, the first undecided threshold of each, and the one after the last.
        """
        lines, rows, begin, end = (
            np.asarray(torch.cat(parts).cpu().numpy()) for parts in zip(*listed, strict=True)
        )
        if not len(lines):
            none = np.empty(0, dtype=np.int64)
            return Undecided(lines, rows, begin, end, none, none)
        hard, soft = self.above.cpu().numpy().astype(np.int64)
        of = np.full_like(hard, -1)
        of[:, :-1] = self.of.cpu().numpy()
        first = lines * of.shape[1]
        above = (hard + (soft << 32)).ravel()
        return Undecided(lines, rows, first + begin, first + end, of.ravel(), above)

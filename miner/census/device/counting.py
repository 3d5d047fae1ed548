"""Counts of a block on a device: each key is looked up among the thresholds of its anchor.

Keys that float32 leaves undecided are computed again in float64. What is still undecided is decided
by the definition, on the CPU: `miner.census.walk.direct.Definition`. All counts are integers, so
their order does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from miner.census.column_sums import ColumnSums
from miner.census.device.rows import DeviceRows, sent
from miner.census.device.thresholds import DeviceThresholds, Regions
from miner.census.walk.direct import Undecided
from miner.triplets.types import Float64, Rows

__all__ = ["COUNT_BYTES", "BlockKeys", "DeviceCount", "RowSums"]

COUNT_BYTES = 64
"""Bytes that counting needs for each key, in addition to the key."""


@dataclass(frozen=True, slots=True)
class BlockKeys:
    """The keys of a block of anchors, on a device.

    Attributes
    ----------
    rows : DeviceRows
    queries : Tensor of shape (b, d), float64
        The prepared vectors of the anchors.
    keys : Tensor of shape (b, n), float32 or float64
        NaN where a row is not a negative.
    """

    rows: DeviceRows
    queries: torch.Tensor
    keys: torch.Tensor

    @property
    def wide(self) -> bool:
        """Whether the keys are float64."""
        return bool(self.keys.dtype == torch.float64)


class RowSums:
    """The triplets of each row, and of each pair of labels, of one block.

    Parameters
    ----------
    sums : ColumnSums
        What the sums are added to by `hand_over`.
    anchors : ndarray of shape (b,), int64
    rows : int
    device : torch.device
    """

    def __init__(self, sums: ColumnSums, anchors: Rows, rows: int, device: torch.device) -> None:
        self._sums, self._device = sums, device
        runs = sums.runs(anchors)
        self._anchors = anchors[[first for first, _ in runs]]
        run = np.repeat(np.arange(len(runs)), [stop - first for first, stop in runs])
        self._run = sent(run, device)
        self._totals = torch.zeros(2, rows, dtype=torch.int64, device=device)
        self._seen = torch.zeros(rows, dtype=torch.int64, device=device)
        self._labels = sums.label_count
        codes = sent(sums.row_codes, device)
        self._codes = torch.where(codes < 0, self._labels, codes)
        self._met: list[tuple[Rows, Rows, Rows]] = []

    def add(self, hard: torch.Tensor, soft: torch.Tensor, first: int) -> None:
        """Add the triplets of each key of some lines, from line `first` on.

        Parameters
        ----------
        hard, soft : Tensor of shape (t, n), int32
            The pairs that the row is hard for, and hard or semi-hard.
        first : int
        """
        self._seen += (hard > 0).sum(0)
        for total, counts in zip(self._totals, (hard, soft), strict=True):
            total += counts.sum(0)
        if not self._labels:
            return
        run = self._run[first : first + len(hard)]
        start = int(run[0])
        shape = (int(run[-1]) - start + 1, hard.shape[1])
        by_run = [
            torch.zeros(shape, dtype=torch.int32, device=self._device).index_add_(
                0, run - start, counts
            )
            for counts in (hard, soft)
        ]
        self._note_labels(by_run[0], by_run[1], start)

    def _note_labels(self, hard: torch.Tensor, soft: torch.Tensor, start: int) -> None:
        """Note the counts of each run by the label of the row."""
        shape = (len(hard), self._labels + 1)  # the last is for rows without a label
        found = [
            torch.zeros(shape, dtype=torch.int64, device=self._device).index_add_(
                1, self._codes, counts.to(torch.int64)
            )[:, :-1]
            for counts in (hard, soft)
        ]
        run, label = found[1].nonzero(as_tuple=True)
        counts = torch.stack([one[run, label] for one in found])
        own = ((run + start).cpu().numpy(), label.cpu().numpy(), counts.cpu().numpy())
        self._met.append(own)

    def hand_over(self) -> None:
        """Add the sums of the block to those of its unit."""
        self._sums.totals += self._totals.cpu().numpy()
        self._sums.seen += self._seen.cpu().numpy().astype(np.uint32)
        for run, label, counts in self._met:
            self._sums.add_labels(self._anchors[run], label, counts)


@dataclass(frozen=True, slots=True)
class _Listed:
    """The undecided keys of some anchors, computed again.

    Attributes
    ----------
    lines, rows : Tensor of shape (k,), int64
    begin, end : Tensor of shape (k,), int64
        The range of thresholds that each key may be on either side of.
    left : Tensor of shape (k,), bool
        Which ones are still undecided.
    distances : Tensor of shape (k,), float64, or None
        The distances, if the keys were computed again.
    """

    lines: torch.Tensor
    rows: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor
    left: torch.Tensor
    distances: torch.Tensor | None = None

    def undecided(self, first: int) -> tuple[torch.Tensor, ...]:
        """Return what is still undecided; `first` is the first line."""
        left = self.left
        return self.lines[left] + first, self.rows[left], self.begin[left], self.end[left]


@dataclass(frozen=True, slots=True)
class DeviceCount:
    """Counts a block of anchors.

    Attributes
    ----------
    block : BlockKeys
    thresholds : DeviceThresholds
    tolerance, wide_tolerance : ndarray of shape (b,), float64
        How near to a threshold a key is undecided, and a float64 key is.
    unclear, wide_unclear : ndarray of shape (b,), float64
        The key, and the float64 key, below which distances are too inexact to sum the loss.
    offset : ndarray of shape (b,), float64
        See `miner.census.walk.key_space.KeySpace.offset`.
    slope, root : float, bool
        See `KeySpace`.
    lines : int
        The number of anchors to count at once.
    """

    block: BlockKeys
    thresholds: DeviceThresholds
    tolerance: Float64
    wide_tolerance: Float64
    unclear: Float64
    wide_unclear: Float64
    offset: Float64
    slope: float
    root: bool
    lines: int

    def count(self, loss: bool, sums: RowSums | None) -> tuple[Rows, Float64, Undecided]:
        """Return the counts of each pair, the summed distances of each anchor, and undecided rows.

        Parameters
        ----------
        loss : bool
            Whether to sum distances; else they are zero.
        sums : RowSums, optional
            The triplets of each row are added to it.

        Returns
        -------
        counts : ndarray of shape (2, pairs), int64
            The negatives of each pair that are hard, and that are hard or semi-hard.
        losses : ndarray of shape (b,), float64
            The distances of these rows, each once per pair.
        undecided : Undecided
        """
        keys, above = self.block.keys, self.thresholds.above
        unclear = self.unclear if loss else np.full(len(keys), -np.inf)
        given = (sent(self.tolerance, keys.device), sent(unclear, keys.device), keys.dtype)
        regions = self.thresholds.regions(*given)
        counts = torch.zeros(above.shape[1:], dtype=torch.int64, device=keys.device)
        losses = torch.zeros(len(keys), dtype=torch.float64, device=keys.device)
        undecided = []
        for start in range(0, len(keys), self.lines):
            part = slice(start, start + self.lines)
            found = _flat_regions(keys[part], regions.edges[part])
            listed = self._listed(part, regions, found, loss)
            undecided.append(listed.undecided(start))
            _add_counts(counts[part], regions.end[part], found, listed)
            if sums is not None or loss:
                soft = self._above(1, part, regions, found, listed)
                if sums is not None:
                    sums.add(self._above(0, part, regions, found, listed), soft, start)
                if loss:
                    losses[part] = self._summed(part, soft, listed)
        by_pair = self.thresholds.per_pair(counts.cumsum(1)[:, :-1])
        return by_pair, np.asarray(losses.cpu().numpy()), self.thresholds.undecided(undecided)

    def _listed(self, part: slice, regions: Regions, found: torch.Tensor, loss: bool) -> _Listed:
        """Return the undecided keys of some lines; float32 ones are computed again in float64."""
        undecided = _looked_up(regions.undecided[part], found)
        lines, rows = undecided.nonzero(as_tuple=True)
        where = found[lines, rows].to(torch.int64)
        begin, end = (table[part].reshape(-1)[where] for table in (regions.begin, regions.end))
        if self.block.wide or not len(lines):
            return _Listed(lines, rows, begin, end, torch.ones_like(lines, dtype=torch.bool))
        at, device = lines + part.start, lines.device
        exact = self.block.rows.pair_keys(self.block.queries, at, rows)
        tolerance = sent(self.wide_tolerance, device)
        begin, end = self.thresholds.narrowed(at, exact, tolerance, begin, end)
        left = begin != end
        if loss:
            left |= exact < sent(self.wide_unclear, device)[at]
        distances = self._distances(exact, sent(self.offset, device)[at])
        return _Listed(lines, rows, begin, end, left, distances)

    def _above(
        self, which: int, part: slice, regions: Regions, found: torch.Tensor, listed: _Listed
    ) -> torch.Tensor:
        """Return how many hard (0) or semi-hard (1) thresholds each key is below, shape (t, n)."""
        above = self.thresholds.above[which, part]
        many = _looked_up(above.gather(1, regions.end[part]), found)
        many[listed.lines, listed.rows] = above[listed.lines, listed.end]
        return many

    def _distances(self, keys: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Return the distances of keys; see `KeySpace.distance`."""
        value = torch.add(offset.to(keys.dtype), keys, alpha=self.slope)
        return value.sqrt_() if self.root else value

    def _summed(self, part: slice, many: torch.Tensor, listed: _Listed) -> torch.Tensor:
        """Return the distances of decided rows, each `many` times, added up by anchor.

        Rows that are not negatives have no distance (NaN), nor has a row with a root below zero,
        which is undecided.
        """
        offset = sent(self.offset, many.device)[part, None]
        distances = self._distances(self.block.keys[part], offset)
        if listed.distances is not None:
            distances[listed.lines, listed.rows] = listed.distances.to(distances.dtype)
        many[listed.lines[listed.left], listed.rows[listed.left]] = 0
        return distances.mul_(many).nansum(1, dtype=torch.float64)


def _flat_regions(keys: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Return the region of each key, as a position in a table of all lines; shape (t, n), int32."""
    found = torch.searchsorted(edges.contiguous(), keys, out_int32=True)
    many = edges.shape[1] + 1
    found += torch.arange(0, many * len(keys), many, dtype=torch.int32, device=keys.device)[:, None]
    return found


def _looked_up(table: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Return the value of each key's region."""
    return table.reshape(-1).index_select(0, found.view(-1)).view(found.shape)


def _add_counts(
    counts: torch.Tensor, end: torch.Tensor, found: torch.Tensor, listed: _Listed
) -> None:
    """Add the number of keys that each number of thresholds is below, by line.

    Keys that were computed again move to fewer thresholds.
    """
    regions = torch.bincount(found.view(-1), minlength=end.numel()).view(end.shape)
    counts.scatter_add_(1, end, regions)
    before = end.reshape(-1)[found[listed.lines, listed.rows].to(torch.int64)]
    one = torch.ones_like(before)
    counts.index_put_((listed.lines, before), -one, accumulate=True)
    counts.index_put_((listed.lines, listed.end), one, accumulate=True)

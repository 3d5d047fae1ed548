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
from miner.census.device.rows import DeviceRows
from miner.census.device.thresholds import DeviceThresholds
from miner.census.walk.direct import Undecided
from miner.triplets.types import Float64, Rows

__all__ = ["COUNT_BYTES", "BlockKeys", "DeviceCount", "RowSums"]

COUNT_BYTES = 64
"""Bytes that counting needs for each key, in addition to the key."""
_LOW = 0xFFFFFFFF


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
        self._run = torch.from_numpy(run).to(device)
        self._totals = torch.zeros(2, rows, dtype=torch.int64, device=device)
        self._seen = torch.zeros(rows, dtype=torch.int64, device=device)
        self._labels = sums.label_count
        codes = torch.from_numpy(np.asarray(sums.row_codes, dtype=np.int64)).to(device)
        self._codes = torch.where(codes < 0, self._labels, codes)
        self._met: list[tuple[Rows, Rows, Rows]] = []

    def add(self, values: torch.Tensor, first: int) -> None:
        """Add the counts of each key of some lines; values are as in `DeviceThresholds.above`."""
        self._seen += ((values & _LOW) > 0).sum(0)
        run = self._run[first : first + len(values)]
        start = int(run[0])
        by_run = torch.zeros(
            int(run[-1]) - start + 1, values.shape[1], dtype=torch.int64, device=self._device
        ).index_add_(0, run - start, values)
        for which, counts in enumerate((by_run & _LOW, by_run >> 32)):
            self._totals[which] += counts.sum(0)
        if self._labels:
            self._note_labels(by_run, start)

    def _note_labels(self, by_run: torch.Tensor, start: int) -> None:
        """Note the counts of each run by the label of the row."""
        shape = (len(by_run), self._labels + 1)  # the last is for rows without a label
        hard, non_easy = (
            torch.zeros(shape, dtype=torch.int64, device=self._device).index_add_(
                1, self._codes, counts
            )[:, :-1]
            for counts in (by_run & _LOW, by_run >> 32)
        )
        run, label = non_easy.nonzero(as_tuple=True)
        counts = torch.stack([hard[run, label], non_easy[run, label]])
        own = ((run + start).cpu().numpy(), label.cpu().numpy(), counts.cpu().numpy())
        self._met.append(own)

    def hand_over(self) -> None:
        """Add the sums of the block to those of its unit."""
        self._sums.totals += self._totals.cpu().numpy()
        self._sums.seen += self._seen.cpu().numpy().astype(np.uint32)
        for run, label, counts in self._met:
            self._sums.add_labels(self._anchors[run], label, counts)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """The keys of some anchors, looked up.

    Attributes
    ----------
    ends : Tensor of shape (t, n), int64
        The number of thresholds below each key, and of those that it may be on either side of.
    undecided_keys : Tensor of shape (t, n), bool
    nearer : tuple of Tensor, or None
        The lines and rows of keys that were computed again, and their distances.
    undecided : tuple of Tensor
        The undecided rows: lines, rows, the first undecided threshold, and the one after the last.
    """

    ends: torch.Tensor
    undecided_keys: torch.Tensor
    nearer: tuple[torch.Tensor, ...] | None
    undecided: tuple[torch.Tensor, ...]


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
        edges, wide = self.thresholds.edges(self._sent(self.tolerance), keys.dtype)
        counts = torch.zeros_like(above)
        losses = torch.zeros(len(keys), dtype=torch.float64, device=keys.device)
        listed = []
        for start in range(0, len(keys), self.lines):
            part = slice(start, start + self.lines)
            ranked = self._looked_up(part, edges[part], wide[part], loss)
            listed.append(ranked.undecided)
            counts[part] = _histogram(ranked.ends, above.shape[1])
            if loss or sums is not None:
                values = above[part].gather(1, ranked.ends)
                if sums is not None:
                    sums.add(values, start)
                if loss:
                    losses[part] = self._summed(part, values >> 32, ranked)
        found = self.thresholds.per_pair(counts.cumsum(1)[:, :-1])
        return found, np.asarray(losses.cpu().numpy()), self._undecided(listed)

    def _sent(self, values: Float64) -> torch.Tensor:
        """Return one float64 number for each anchor on the device, shape (b,)."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.block.keys.device)

    def _looked_up(
        self, part: slice, edges: torch.Tensor, wide: torch.Tensor, loss: bool
    ) -> _Ranked:
        """Look the keys of some anchors up among their thresholds."""
        keys = self.block.keys[part]
        begins = torch.searchsorted(edges, keys, out_int32=True)
        ends = torch.searchsorted(edges, keys + wide)
        undecided = begins != ends
        if loss:
            unclear = self._sent(self.unclear)[part, None].to(keys.dtype)
            undecided |= keys < unclear
        lines, rows = undecided.nonzero(as_tuple=True)
        begin, end, at = begins[lines, rows].to(torch.int64), ends[lines, rows], lines + part.start
        if self.block.wide or not len(lines):
            return _Ranked(ends, undecided, None, (at, rows, begin, end))
        exact = self.block.rows.pair_keys(self.block.queries, at, rows)
        begin, end = self.thresholds.narrowed(
            at, exact, self._sent(self.wide_tolerance), begin, end
        )
        left = begin != end
        if loss:
            left |= exact < self._sent(self.wide_unclear)[at]
        ends[lines, rows], undecided[lines, rows] = end, left
        nearer = (lines, rows, self._distances(exact, self._sent(self.offset)[at]))
        return _Ranked(ends, undecided, nearer, (at[left], rows[left], begin[left], end[left]))

    def _distances(self, keys: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Return the distances of keys; see `KeySpace.distance`."""
        value = offset.to(keys.dtype) + self.slope * keys
        return value.clamp_(min=0.0).sqrt_() if self.root else value

    def _summed(self, part: slice, many: torch.Tensor, ranked: _Ranked) -> torch.Tensor:
        """Return the distances of decided rows, each `many` times, added up by anchor."""
        distances = self._distances(self.block.keys[part], self._sent(self.offset)[part, None])
        if ranked.nearer is not None:
            lines, rows, found = ranked.nearer
            distances[lines, rows] = found.to(distances.dtype)
        many.masked_fill_(ranked.undecided_keys, 0)
        return torch.where(many > 0, distances * many, 0.0).sum(1, dtype=torch.float64)

    def _undecided(self, listed: list[tuple[torch.Tensor, ...]]) -> Undecided:
        """Return the listed rows, with positions in all thresholds of the block."""
        lines, rows, begin, end = (
            np.asarray(torch.cat(parts).cpu().numpy()) for parts in zip(*listed, strict=True)
        )
        if not len(lines):
            none = np.empty(0, dtype=np.int64)
            return Undecided(lines, rows, begin, end, none, none)
        above = np.asarray(self.thresholds.above.cpu().numpy())
        of = np.full_like(above, -1)
        of[:, :-1] = self.thresholds.of.cpu().numpy()
        first = lines * above.shape[1]
        return Undecided(lines, rows, first + begin, first + end, of.ravel(), above.ravel())


def _histogram(ranks: torch.Tensor, size: int) -> torch.Tensor:
    """Return how many keys of each line have each rank, shape (t, size)."""
    lines = torch.arange(len(ranks), device=ranks.device)[:, None]
    found = torch.bincount((ranks + size * lines).view(-1), minlength=size * len(ranks))
    return found.view(len(ranks), size)

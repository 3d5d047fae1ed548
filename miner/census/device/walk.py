"""The exact pass on a device: blocks of anchors, each with the same counts as on the CPU.

The products, the search among thresholds, the sums and the lists are made on the device;
thresholds, sorted entries and what the definition decides are those of `miner.census.walk`. A block
has as many anchors as the device has room for, and half of them if its memory is used up all the
same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from miner.census.device.counting import COUNT_BYTES, BlockKeys, DeviceCount, RowSums
from miner.census.device.devices import Device
from miner.census.device.listing import list_entries, nearest_max_keys
from miner.census.device.products import check_products, has_wide_products
from miner.census.device.roundings import BY_SPEED, ROUNDINGS, Rounding
from miner.census.device.rows import DeviceRows, sent
from miner.census.device.thresholds import DeviceThresholds, threshold_bytes
from miner.census.walk import precision
from miner.census.walk.block_maker import BlockMaker, CensusRequest
from miner.census.walk.pair_thresholds import PAIR_BYTES, PairThresholds
from miner.census.walk.precision import QueryBlock
from miner.census.walk.ranked_block import RankedBlock
from miner.errors import EngineError
from miner.triplets.types import Float64, Rows

__all__ = ["DeviceWalk"]

_MOST_LINES = 8192
"""The most anchors of a block; more would not make products faster."""
_MOST_KEYS = 1 << 30
"""The most keys that are looked through at once: PyTorch counts some elements in 32 bits."""
_KNOWN_TENSOR_CORES = ((8, 0), (9, 0))
"""Compute capabilities whose sums were examined (A100, H100); see `roundings`."""


def _usable_roundings(device: torch.device) -> Sequence[str]:
    """Return the names of the roundings whose bounds hold on a device, fastest first."""
    if device.type != "cuda" or torch.version.hip:
        return BY_SPEED[-2:]
    if torch.cuda.get_device_capability(device) not in _KNOWN_TENSOR_CORES:
        return BY_SPEED[-2:]
    return [name for name in BY_SPEED if name != "3xbf16" or has_wide_products()]


def _lacks_memory(error: RuntimeError) -> bool:
    """Whether PyTorch, or the library of its products, had too little memory."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "ALLOC_FAILED" in str(error)


@dataclass(frozen=True)
class _Measured:
    """Anchors whose products are made."""

    group: QueryBlock
    thresholds: PairThresholds
    block: BlockKeys
    error: Float64 | None
    """The largest error of each anchor's keys; None of float64 keys."""


class DeviceWalk:
    """Makes the blocks of one census on a device.

    Parameters
    ----------
    maker : BlockMaker
    device : Device
    """

    def __init__(self, maker: BlockMaker, device: Device) -> None:
        self._maker, self._device = maker, device
        self._bytes, on = device.bytes, torch.device(device.name)
        self._rows = DeviceRows(maker.space, maker.vectors.rows, on, device.room, device.bytes)
        self._roundings = [ROUNDINGS[name] for name in device.roundings or _usable_roundings(on)]
        self._checked: set[str] = set()

    def release_rows(self) -> None:
        """Drop what is kept for products."""
        self._rows.release_rows()

    def blocks(self, anchors: Rows, memory: int, request: CensusRequest) -> Iterator[RankedBlock]:
        """Yield counted blocks of anchors, in the given order; see `Census.blocks`.

        Raises
        ------
        EngineError
            If a single anchor does not fit in the device's memory.
        """
        done = 0
        while done < len(anchors):
            group = anchors[done : done + self._fitting(anchors[done:], memory)]
            try:
                for block in self._blocks(group, memory, request):
                    done += len(block.anchors)
                    yield block
                    block.lister = None  # it holds the keys, and the caller may hold the block
                continue
            except RuntimeError as error:
                if not _lacks_memory(error):
                    raise
                if len(group) == 1:
                    raise EngineError(
                        f"{self._device.name} has too little memory for one anchor and "
                        f"{len(self._maker.vectors.rows)} rows ({str(error).splitlines()[0]}); set "
                        "engine.device = 'cpu', or give fewer --workers"
                    ) from error
            self._bytes //= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _most_lines(self, key_bytes: int) -> int:
        """Return the number of anchors whose keys take half of a block's memory."""
        rows = max(1, len(self._maker.vectors.rows))
        return max(1, min(_MOST_LINES, self._bytes // 2 // (key_bytes * rows)))

    def _fitting(self, anchors: Rows, memory: int) -> int:
        """Return how many of the anchors make the next block."""
        positives = self._maker.relevance.positive_counts[anchors[: self._most_lines(4)]]
        widest = np.maximum.accumulate(positives)
        on_device = threshold_bytes(1, 1) * widest * np.arange(1, len(positives) + 1)
        fits = (np.cumsum(PAIR_BYTES * positives) <= memory) & (on_device <= self._bytes // 8)
        return max(1, int(np.argmin(np.append(fits, False))))

    def _blocks(self, anchors: Rows, memory: int, request: CensusRequest) -> Iterator[RankedBlock]:
        """Yield the blocks of anchors that fit together."""
        group = self._maker.prepare(anchors)
        queries, pairs = sent(group.queries, self._rows.device), group.pairs
        own = (sent(one, queries.device) for one in (pairs.lines, pairs.positives))
        found = self._rows.pair_keys(queries, *own).cpu().numpy()
        thresholds = self._maker.thresholds_of_keys(group, found)
        rounding = self._chosen(group, thresholds, request)
        most = self._most_lines(8)
        if rounding.wide and len(anchors) > most:
            for start in range(0, len(anchors), most):
                yield from self._blocks(anchors[start : start + most], memory, request)
            return
        keys = self._rows.keys(queries, rounding)
        masked = (sent(one, keys.device) for one in self._maker.masked_rows(pairs))
        keys[tuple(masked)] = torch.nan
        error = None if rounding.wide else self._error(group, rounding)
        measured = _Measured(group, thresholds, BlockKeys(self._rows, queries, keys), error)
        if request.ranks or self._maker.exact or group.undecided > precision.MAX_UNDECIDED:
            yield from self._listed(measured, memory, request)
        else:
            counted = self._counted(measured, memory, request)
            if counted is not None:
                yield counted
                return
            del keys, measured  # more rows are equally near than there is memory for
            for half in np.array_split(anchors, 2):
                yield from self._blocks(half, memory, request)

    def _chosen(
        self, group: QueryBlock, thresholds: PairThresholds, request: CensusRequest
    ) -> Rounding:
        """Return the first rounding that decides nearly all keys of some anchors."""
        dim, rounding = self._maker.vectors.dim, ROUNDINGS["fp64"]
        for one in () if self._maker.exact else self._roundings:
            if one.wide or not one.fits(dim) or (one.reduced and (request.loss or request.ranks)):
                continue
            error = self._error(group, one)
            if self._maker.precision.suits(group, thresholds, error, loss=request.loss):
                rounding = one
                break
        else:
            self._maker.precision.estimate_shares(group)
        if rounding.name not in self._checked:
            check_products(self._rows.device, dim, rounding)
            self._checked.add(rounding.name)
        return rounding

    def _error(self, group: QueryBlock, rounding: Rounding) -> Float64:
        space, dim = self._maker.space, self._maker.vectors.dim
        return rounding.error(dim, group.norms, space.max_norm, euclidean=space.euclidean)

    def _counting_lines(self) -> int:
        """Return the number of anchors to count at once, of fewer than 2^31 keys together."""
        rows = max(1, len(self._maker.vectors.rows))
        return max(1, min(self._bytes // 4 // COUNT_BYTES, _MOST_KEYS) // rows)

    def _counted(
        self, measured: _Measured, memory: int, request: CensusRequest
    ) -> RankedBlock | None:
        """Return a block that was counted without sorting; it lists the nearest rows only.

        The result is None if these are too many, because they are equally near.
        """
        maker, group, thresholds = self._maker, measured.group, measured.thresholds
        keys, lines = measured.block.keys, self._counting_lines()
        tolerance, gap = maker.tolerances(group, thresholds, measured.error)
        wide_tolerance, wide_gap = maker.tolerances(group, thresholds, None)
        counting = DeviceCount(
            measured.block,
            DeviceThresholds.sort(group.pairs, thresholds, keys.device),
            tolerance,
            wide_tolerance,
            maker.precision.unclear(group.offset, gap),
            maker.precision.unclear(group.offset, wide_gap),
            group.offset,
            maker.space.slope,
            maker.space.root,
            lines,
        )
        sums, rows = request.sums, keys.shape[1]
        own = None if sums is None else RowSums(sums, group.pairs.anchors, rows, keys.device)
        entries, firsts = np.empty(0), np.zeros(len(group.offset) + 1, dtype=np.int64)
        if request.neighbours:
            nearest = nearest_max_keys(keys, request.neighbours, 4 * tolerance, lines)
            room = np.inf if len(keys) == 1 else memory // 16
            listed = list_entries(keys, nearest, maker.bits, lines, room=room)
            if listed is None:
                return None
            entries, firsts = listed
            maker.loops.sort_lines(entries, firsts)
        counts, losses, undecided = counting.count(request.loss, own)
        if own is not None:  # after all that may run out of memory and is repeated then
            own.hand_over()
        definition = maker.definition(group, thresholds, measured=False)
        definition.decide(undecided, sums, counts, losses)
        made = maker.block(group, thresholds, tolerance, gap, entries, firsts)
        made.hard, made.non_easy, made.loss = definition.finish(counts, losses)

        def lister(which: Rows, max_keys: Float64) -> tuple[Float64, Rows]:
            """List the rows of some of the anchors up to the given keys."""
            return self._sorted_entries(keys, max_keys, lines, which)

        made.lister = lister
        return made

    def _sorted_entries(
        self, keys: torch.Tensor, max_keys: Float64, lines: int, which: Rows | None = None
    ) -> tuple[Float64, Rows]:
        """Return the entries of `list_entries`, sorted."""
        given, listed = (keys, max_keys, self._maker.bits), None
        with contextlib.suppress(torch.cuda.OutOfMemoryError):  # others may use the device
            listed = list_entries(*given, lines, which=which)
        listed = listed or list_entries(*given, 1, which=which)
        assert listed is not None  # only with a limit
        self._maker.loops.sort_lines(*listed)
        return listed

    def _listed(
        self, measured: _Measured, memory: int, request: CensusRequest
    ) -> Iterator[RankedBlock]:
        """Yield blocks with ranked rows, of as many anchors as have their entries in memory."""
        maker, group, thresholds = self._maker, measured.group, measured.thresholds
        keys, error = measured.block.keys, measured.error
        tolerance, gap = maker.tolerances(group, thresholds, error)
        unclear = maker.unclear(group, thresholds, gap, narrow=error is not None)
        lines = max(1, min(self._counting_lines(), memory // (16 * keys.shape[1])))
        nearest = nearest_max_keys(keys, request.neighbours, 4 * tolerance, lines)
        most = np.maximum(maker.max_keys(group, thresholds, tolerance), nearest)
        for first in range(0, len(keys), lines):
            part = slice(first, min(first + lines, len(keys)))
            entries = self._sorted_entries(keys[part], most[part], lines)
            own = (tolerance[part], gap[part], unclear[part], *entries)
            made = (thresholds.part(group.pairs.starts, part), *own)
            yield maker.summed_block(group.part(part), made, request)

"""Compiled steps over one anchor's keys, on plain arrays: what the pass spends its time in."""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.float64_keys import FEW
from miner.census.kernels.jit import compiled
from miner.census.kernels.lookup_tables import MIXED, cell_of

__all__ = [
    "add_counts",
    "list_mixed",
    "list_within_reach",
    "narrow",
    "note",
    "strike",
    "sum_few",
    "sum_loss",
    "sum_many",
    "survivors",
]

_F0, _F1 = np.float32(0.0), np.float32(1.0)  # they widen to float64 without loss
_LOW16, _BY16, _BY31 = np.uint32(0xFFFF), np.uint32(16), np.uint32(31)
_NONE, _WITHIN = np.uint32(0), np.uint32(1 << 16)


@compiled
def narrow(rows: Any, center: Any, scale: Any, out: Any) -> None:  # pragma: no cover  (compiled)
    """Put rows in key space, made in float64 and rounded once to float32, without room for both."""
    for row in range(len(rows)):
        for axis in range(len(center)):
            out[row, axis] = np.float32((np.float64(rows[row, axis]) - center[axis]) * scale[row])


@compiled
def survivors(products: Any, bias: Any, top: Any) -> Any:  # pragma: no cover  (compiled)
    """Count the keys within reach."""
    found = np.int32(0)
    for column in range(products.size):
        found += np.int32(bias[column] - products[column] <= top)
    return found


@compiled
def _look_up(
    products: Any, bias: Any, low: Any, scale: Any, last: Any, keys: Any, cells: Any
) -> None:  # pragma: no cover  (compiled)
    """Turn products into keys and their cells."""
    for column in range(products.size):
        key = bias[column] - products[column]
        keys[column] = key
        x = (key - low) * scale + _F1
        x = x if x > _F0 else _F0
        x = x if x < last else last
        cells[column] = np.int32(x)


@compiled
def _gather(table: Any, cells: Any, out: Any) -> None:  # pragma: no cover  (compiled)
    for column in range(cells.size):
        out[column] = table[cells[column]]


def _add_counts_loop(found: Any) -> Any:  # pragma: no cover  (compiled)
    hard, within, flags = np.int32(0), np.int32(0), np.uint32(0)
    for column in range(found.size):
        value = found[column]
        flags |= value
        plain = value if value < MIXED else _NONE
        hard += np.int32(plain & _LOW16)
        within += np.int32(plain >> _BY16)
    return hard, within, flags >> _BY31


def _add_loss_loop(
    keys: Any, found: Any, sums: Any, shift: Any, root: Any
) -> Any:  # pragma: no cover  (compiled)
    total, offset, slope = shift[0] * _F0, shift[0], shift[1]
    for column in range(found.size):
        distance = offset + slope * keys[column]
        if root:
            distance = np.sqrt(distance if distance > _F0 else _F0)
        value = found[column]
        times = np.float32(np.int32((value if value < MIXED else _NONE) >> _BY16))
        more = sums[column] - times * distance
        total += more if times > _F0 else _F0
    return total


add_counts = compiled(_add_counts_loop, reorder=True)
_add_loss = compiled(_add_loss_loop, reorder=True)


@compiled
def sum_loss(
    keys: Any, found: Any, values: Any, sums: Any, shift: Any, root: Any
) -> Any:  # pragma: no cover  (compiled)
    """Return the loss of what was looked up, but for mixed cells; `values` is room."""
    for column in range(found.size):
        value = found[column]
        values[column] = sums[(value if value < MIXED else _NONE) >> _BY16]
    return np.float64(_add_loss(keys, found, values, shift, root))


@compiled
def sum_few(
    look: Any, start: Any, products: Any, bias: Any, grid: Any, counts: Any, sums: Any, shift: Any,
    root: Any, total: Any, few: Any, again: Any, packed: Any, seen: Any, one: Any, note: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Add up the keys of some columns; return the loss and how many are in mixed cells.

    Plain arrays only: tuples of arrays in such a loop cost more than all else.
    """
    low, scale, last, _ = grid
    offset, slope = np.float64(shift[0]), np.float64(shift[1])
    hard: Any = 0
    within: Any = 0
    mixed: Any = 0
    lost, noted = 0.0, total[3]
    for column in look:
        key = bias[column] - products[column]
        cell = cell_of(key, low, scale, last)
        value = counts[cell]
        if value >= MIXED:
            again[mixed] = column
            mixed += 1
            continue
        times = np.int64(value >> _BY16)
        if note:
            packed[column] += value
            seen[column] += one if value & _LOW16 else _NONE
        hard += np.int64(value & _LOW16)
        within += times
        distance = offset + slope * np.float64(key)
        if root:
            distance = np.sqrt(max(distance, 0.0))
        lost += sums[times] - times * distance
        if times > 0:
            if noted < FEW:
                few[noted] = start + column
            noted += 1
    total[0] += hard
    total[1] += within
    total[3] = noted
    return lost, mixed


@compiled
def list_within_reach(products: Any, bias: Any, top: Any, look: Any) -> Any:  # pragma: no cover
    """List the columns within reach, without a branch: it would be taken at random."""
    looked: Any = 0
    for column in range(products.size):
        look[looked] = column
        looked += np.int64(bias[column] - products[column] <= top)
    return looked


@compiled
def list_mixed(found: Any, look: Any) -> Any:  # pragma: no cover  (compiled)
    """List the columns of mixed cells, without a branch; return how many there are."""
    looked: Any = 0
    for column in range(found.size):
        look[looked] = column
        looked += np.int64(found[column] >> _BY31)
    return looked


@compiled
def sum_many(
    products: Any, bias: Any, grid: Any, counts: Any, sums: Any, shift: Any, root: Any, loss: Any,
    total: Any, room: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Add up all keys of a line in steps that a CPU does many keys at a time."""
    keys, cells, found, values = room
    _look_up(products, bias, grid[0], grid[1], grid[2], keys, cells)
    _gather(counts, cells, found)
    hard, within, mixed = add_counts(found)
    total[0] += hard
    total[1] += within
    lost = 0.0
    if loss and within:
        lost = sum_loss(keys, found, values, sums, shift, root)
    return lost, mixed


@compiled
def note(found: Any, start: Any, total: Any, few: Any) -> None:  # pragma: no cover  (compiled)
    """Note the rows within reach."""
    noted = total[3]
    for column in range(found.size):
        if _WITHIN <= found[column] < MIXED:
            if noted < FEW:
                few[noted] = start + column
            noted += 1
    total[3] = noted


@compiled
def strike(
    products: Any, start: Any, starts: Any, columns: Any, reached: Any
) -> None:  # pragma: no cover  (compiled)
    """Put minus infinity at some columns of a tile; each line's ascend, and are gone on with."""
    stop = start + products.shape[1]
    for line in range(products.shape[0]):
        place = reached[line]
        while place < starts[line + 1] and columns[place] < stop:
            products[line, columns[place] - start] = -np.inf
            place += 1
        reached[line] = place

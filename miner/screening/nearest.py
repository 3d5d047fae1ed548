"""Compiled loops that keep the keys of the nearest rows of each anchor, as the keys go by."""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.screening.compiling import compiled
from miner.screening.steps import survivors

__all__ = ["candidates", "first_tops", "scan"]

_GROUP = 256


@compiled
def _kth(values: Any, best: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the k-th smallest value, infinity where there are fewer; k is the room in `best`."""
    size = 0
    for value in values:
        if size == best.size and value >= best[size - 1]:
            continue
        place = min(size, best.size - 1)
        while place > 0 and best[place - 1] > value:
            best[place] = best[place - 1]
            place -= 1
        best[place] = value
        size = min(size + 1, best.size)
    return best[size - 1] if size == best.size else np.inf


@compiled
def first_tops(
    starts: Any, keys: Any, error: Any, most: Any, tops: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the key above which no row can be among the nearest, from the positives alone."""
    best = np.empty(most)
    for line in range(tops.size):
        last = _kth(keys[starts[line] : starts[line + 1]], best) + 3 * error[line]
        tops[line] = min(last, np.float64(tops[line]))


@compiled
def _thin(keys: Any, rows: Any, error: Any, best: Any) -> Any:  # pragma: no cover  (compiled)
    """Drop what cannot be among the nearest; return how many stay, and the key that bounds them."""
    top = _kth(keys, best) + 3 * error
    kept = 0
    for place in range(keys.size):
        if keys[place] <= top:
            keys[kept], rows[kept] = keys[place], rows[place]
            kept += 1
    return kept, top


@compiled
def scan(
    products: Any, start: Any, bias: Any, error: Any, most: Any, tops: Any, keys: Any, rows: Any,
    held: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Go through some rows of all anchors.

    Parameters
    ----------
    error : ndarray of shape (b,), float64
        How far a key may be from the true one.
    tops : ndarray of shape (b,), of the keys' type
        Only keys up to it are of interest.
    keys, rows : ndarray of shape (b, room), float64 and int64
        What may be among the nearest.
    held : ndarray of shape (b,), int64
        How many of them there are; -1 when there were too many.
    """
    best = np.empty(most)
    for line in range(products.shape[0]):
        top, count = tops[line], held[line]
        for begin in range(0, products.shape[1], _GROUP):
            end = min(begin + _GROUP, products.shape[1])
            part, own = products[line, begin:end], bias[begin:end]
            if count < 0 or survivors(part, own, top) == 0:
                continue
            for column in range(part.size):
                key = own[column] - part[column]
                if key <= top and count >= 0:
                    keys[line, count], rows[line, count] = key, start + begin + column
                    count += 1
                    if count == keys.shape[1]:
                        count, less = _thin(keys[line], rows[line], error[line], best)
                        tops[line] = min(less, np.float64(top))
                        top = tops[line]
                        if 2 * count > keys.shape[1]:
                            count = -1
        held[line] = count


@compiled
def candidates(
    starts: Any, own: Any, columns: Any, error: Any, most: Any, keys: Any, rows: Any, held: Any,
    lines: Any, found: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """List what may be among the nearest, positives too; return how much it is."""
    best, count = np.empty(most), 0
    for line in range(held.size):
        if held[line] < 0:
            continue
        mine = slice(starts[line], starts[line + 1])
        both = np.concatenate((keys[line, : held[line]], own[mine]))
        numbers = np.concatenate((rows[line, : held[line]], columns[mine]))
        top = _kth(both, best) + 3 * error[line]
        for place in range(both.size):
            if both[place] <= top:
                lines[count], found[count] = line, numbers[place]
                count += 1
    return count

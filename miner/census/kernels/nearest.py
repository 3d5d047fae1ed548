"""Compiled loops that keep the keys of the nearest rows of each anchor, as the keys go by."""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled

__all__ = ["candidates", "first_tops", "keep_up_to", "nearest_room", "scan"]

_GROUPS = 512
"""Groups that a line's rows are put in: a CPU finds the least keys of many groups at once."""


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
def keep_up_to(top: Any, keys: Any, rows: Any) -> Any:  # pragma: no cover  (compiled)
    """Move the keys up to `top`, and their rows, to the front; return how many they are."""
    kept = 0
    for place in range(keys.size):
        if keys[place] <= top:
            keys[kept], rows[kept] = keys[place], rows[place]
            kept += 1
    return kept


@compiled
def _thin(keys: Any, rows: Any, error: Any, best: Any) -> Any:  # pragma: no cover  (compiled)
    """Drop what cannot be among the nearest; return how many stay, and the key that bounds them."""
    top = _kth(keys, best) + 3 * error
    return keep_up_to(top, keys, rows), top


@compiled
def _least(products: Any, bias: Any, least: Any) -> None:  # pragma: no cover  (compiled)
    """Lower the least key of each group: group g has columns g, g + groups and so on."""
    for column in range(products.size):
        key = bias[column] - products[column]
        least[column] = key if key < least[column] else least[column]


@compiled
def nearest_room(most: Any, bias: Any) -> Any:  # pragma: no cover  (compiled)
    """Return room for `scan`: the k smallest keys, and the least of each group of columns."""
    return np.empty(most), np.empty(min(_GROUPS, bias.size), bias.dtype)


@compiled
def scan(
    line: Any, products: Any, start: Any, bias: Any, near: Any, room: Any
) -> None:  # pragma: no cover  (compiled)
    """Go through some rows of one anchor.

    The least keys of groups of rows are keys too: the k-th of them bounds the k nearest, and only
    the groups whose least is within that bound are gone through.

    Parameters
    ----------
    near : (most, error, tops, keys, rows, held)
        How many rows are wanted, none for 0. Per anchor: how far a key may be from the true one;
        the key up to which keys are of interest (of the keys' type); keys and rows (float64 and
        int64) of what may be among the nearest; how much that is, -1 when it was too much.
    """
    _, error, tops, keys, rows, held = near
    best, least = room
    count, groups = held[line], least.size
    if count < 0:
        return
    least[:] = np.inf
    for begin in range(0, products.size, groups):
        part = slice(begin, min(begin + groups, products.size))
        _least(products[part], bias[part], least)
    top = min(_kth(least, best) + 3 * error[line], np.float64(tops[line]))
    for group in range(groups):
        if least[group] > top:
            continue
        for column in range(group, products.size, groups):
            key = np.float64(bias[column] - products[column])
            if key <= top and count >= 0:
                keys[line, count], rows[line, count] = key, start + column
                count += 1
                if count == keys.shape[1]:
                    count, less = _thin(keys[line], rows[line], error[line], best)
                    top = min(top, less)
                    count = count if 2 * count <= keys.shape[1] else -1
    tops[line], held[line] = top, count


@compiled
def candidates(
    starts: Any, own: Any, columns: Any, error: Any, most: Any, keys: Any, rows: Any, held: Any,
    nearest: Any, sure: Any, lines: Any, found: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Choose the nearest rows by their keys, the positives too, as far as those tell.

    Fills the rows of `nearest` that are among them for sure, and how many these are; lists the
    lines and rows that compete for the places that are left, and returns how much that is.
    """
    best, count = np.empty(most), 0
    for line in range(held.size):
        if held[line] < 0:
            continue
        mine = slice(starts[line], starts[line + 1])
        both = np.concatenate((keys[line, : held[line]], own[mine]))
        numbers = np.concatenate((rows[line, : held[line]], columns[mine]))
        last, begin = _kth(both, best), count
        for place in range(both.size):
            if both[place] < last - 3 * error[line]:
                nearest[line, sure[line]] = numbers[place]
                sure[line] += 1
            elif both[place] <= last + 3 * error[line]:
                lines[count], found[count] = line, numbers[place]
                count += 1
        if sure[line] + count - begin <= most:  # no competition
            for entry in range(begin, count):
                nearest[line, sure[line]] = found[entry]
                sure[line] += 1
            count = begin
    return count

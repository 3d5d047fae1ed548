"""Compiled loops that keep the rows within reach of each anchor, as its keys go by."""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled
from miner.census.kernels.nearest import keep_up_to

__all__ = ["keep", "keeps", "shorten"]


@compiled
def _thin(keys: Any, rows: Any, most: Any) -> Any:  # pragma: no cover  (compiled)
    """Keep the nearest; return how many that are, ties included, and up to which key."""
    top = np.partition(keys, most - 1)[most - 1]
    return keep_up_to(top, keys, rows), top


@compiled
def keeps(line: Any, alive: Any, sparse: Any, kept: Any) -> Any:  # pragma: no cover  (compiled)
    """Whether rows of an anchor are kept, so many of a tile being within reach.

    Where they are not sparse the nearest would hardly ever be all that is needed.
    """
    if not kept[0] or kept[3][line] < 0:
        return False
    if not sparse and 2 * alive > kept[1].shape[1]:
        kept[3][line] = -1
        return False
    return True


@compiled
def keep(
    line: Any, look: Any, start: Any, products: Any, bias: Any, kept: Any
) -> None:  # pragma: no cover  (compiled)
    """Keep some columns of a tile, of one anchor.

    Parameters
    ----------
    kept : (whether, rows, keys, held, tops)
        Per anchor: room for rows (int32) and keys (float32); how many there are, -1 when there were
        too many; up to which key they are all there.
    """
    rows, keys = kept[1][line], kept[2][line]
    count, top = kept[3][line], kept[4][line]
    for column in look:
        key = np.float32(bias[column] - products[column])
        if key > top:
            continue
        if count == keys.size:
            count, top = _thin(keys, rows, keys.size // 2)
            if count == keys.size:
                count = -1
                break
            if key > top:
                continue
        keys[count], rows[count] = key, start + column
        count += 1
    kept[3][line], kept[4][line] = count, top


@compiled
def shorten(
    starts: Any, needs: Any, keys: Any, rows: Any, held: Any, tops: Any, errors: Any, vain: Any
) -> None:  # pragma: no cover  (compiled)
    """Keep of each anchor what is needed; see `miner.census.fast.candidate_pass.shorten`."""
    for line in range(held.size):
        if held[line] < 0:
            continue
        mine = slice(starts[line], starts[line + 1])
        own, numbers = keys[mine], rows[mine]
        need = needs[line]
        if need < 0:
            held[line] = held[line] if np.isinf(tops[line]) else vain
            continue
        if need == 0:
            held[line], tops[line] = 0, -np.inf
            continue
        if need > own.size:
            held[line] = vain
            continue
        last = np.float64(np.partition(own, need - 1)[need - 1])
        top = np.float32(last + 4.5 * np.float64(errors[line]))
        if top >= tops[line]:
            held[line] = held[line] if np.isinf(tops[line]) else vain
            continue
        held[line], tops[line] = keep_up_to(top, own, numbers), top

"""Compiled loops that find rows by rank: only the cells that hold a wanted rank are sorted.

Neighbours in the order of the keys that are no further apart than the slack form a run: the
measured distance puts it in order. A cell is wider than the slack, so a run that leaves the cells
that were gathered shows in the last of them; its line is left to the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled
from miner.census.kernels.rank_grid import CHUNK, cells_of, sort_both

__all__ = ["find_rows"]

_LONGEST = 4096
"""A longer run of ties is left to the reference."""


@compiled
def _cell_at(held: Any, cells: Any, rank: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the cell that holds a rank: the last before which there are no more keys."""
    low, high = 0, cells
    while high - low > 1:
        middle = (low + high) // 2
        if held[middle] <= rank:
            low = middle
        else:
            high = middle
    return low


@compiled
def _want(ranks: Any, held: Any, cells: Any, begin: Any) -> None:  # pragma: no cover  (compiled)
    """Fill where each cell's keys will begin: those of wanted cells and of their neighbours.

    -1 for cells that are not gathered; at the end stands how many keys are. Many ranks want all.
    """
    few = ranks.size < held[cells]
    begin[: cells + 1] = -1 if few else 0
    for rank in ranks[: ranks.size if few else 0]:
        cell = _cell_at(held, cells, rank)
        for near in range(max(cell - 1, 0), min(cell + 2, cells)):
            begin[near] = 0
    total = 0
    for cell in range(cells):
        if begin[cell] == 0:
            begin[cell] = total
            total += held[cell + 1] - held[cell]
    begin[cells] = total


@compiled
def _gather(
    keys: Any, grid: Any, cells: Any, begin: Any, found: Any, rows: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill keys and rows of the cells that are gathered, cell by cell."""
    place, look = np.empty(CHUNK, np.int32), np.empty(CHUNK + 1, np.int32)
    free, wanted = begin[:cells].copy(), np.empty(cells, np.uint8)  # the latter stays in a cache
    for cell in range(cells):
        wanted[cell] = begin[cell] >= 0
    for start in range(0, keys.size, CHUNK):
        part = keys[start : start + CHUNK]
        cells_of(part, grid[0], grid[1], cells - 1.0, place)
        looked = 0
        for column in range(part.size):
            look[looked] = column
            looked += wanted[place[column]] & (part[column] <= grid[3])
        for column in look[:looked]:
            at = free[place[column]]
            found[at], rows[at] = part[column], start + column
            free[place[column]] = at + 1


@compiled
def _run(at: Any, found: Any, slack: Any) -> Any:  # pragma: no cover  (compiled)
    """Return where the run of a gathered key begins and ends."""
    first, last = at, at + 1
    while first > 0 and found[first] - found[first - 1] <= slack:
        first -= 1
    while last < found.size and found[last] - found[last - 1] <= slack:
        last += 1
    return first, last


@compiled
def _leaves(
    first: Any, last: Any, found: Any, grid: Any, cells: Any, begin: Any
) -> Any:  # pragma: no cover  (compiled)
    """Whether a run may go on in a cell that was not gathered."""
    ends = np.empty(2, np.int32)
    cells_of(found[first : first + 1], grid[0], grid[1], cells - 1.0, ends[:1])
    cells_of(found[last - 1 : last], grid[0], grid[1], cells - 1.0, ends[1:])
    under = ends[0] > 0 and begin[ends[0] - 1] < 0
    over = ends[1] + 1 < cells and begin[ends[1] + 1] < 0
    return under or over or last - first > _LONGEST


@compiled
def _larger(array: Any, more: Any) -> Any:  # pragma: no cover  (compiled)
    """Return an array with room for more values, the old ones at its beginning."""
    larger = np.empty(2 * array.size + more, array.dtype)
    larger[: array.size] = array
    return larger


@compiled
def _emit(
    wanted: Any, found: Any, rows: Any, slack: Any, grid: Any, held: Any, cells: Any, begin: Any,
    mine: Any, flat: Any, number: Any, runs: Any, size: Any, run: Any, place: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Enter a line's wanted rows, each once and with its whole run, and each rank's place.

    Returns where the next row is entered, the last number of a run, and whether all was found.
    """
    given = np.full(found.size, -1, np.int64)
    whole = found.size == held[cells]
    for pick in range(wanted.size):
        at = wanted[pick]
        if not whole:
            cell = _cell_at(held, cells, at)
            at += begin[cell] - held[cell]
        if given[at] < 0:
            first, last = _run(at, found, slack)
            run += last - first > 1
            if last - first > 1 and _leaves(first, last, found, grid, cells, begin):
                return size, run, False
            for member in range(first, last):
                flat[size], number[size] = rows[member], mine
                runs[size] = run if last - first > 1 else 0
                given[member] = size
                size += 1
        place[pick] = given[at]
    return size, run, True


@compiled
def find_rows(
    keys: Any, slack: Any, grids: Any, sizes: Any, held: Any, lines: Any, starts: Any, ranks: Any,
    place: Any, sure: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Find the rows at some ranks of some lines, each once.

    Parameters
    ----------
    keys, slack, grids, sizes, held
        See `miner.census.kernels.rank_grid.count_lines`.
    lines : ndarray of shape (k,), int64
    starts : ndarray of shape (k + 1,), int64
        The ranks of ``lines[i]`` are ``ranks[starts[i]:starts[i + 1]]``, in any order.
    ranks : ndarray of int64
    place : ndarray of int64
        Is filled: where in the result each rank's row is, once its run is in order.
    sure : ndarray of shape (k,), bool
        Is filled: False for lines that are left to the reference.

    Returns
    -------
    rows, number, run : ndarray of int32
        Rows, which of `lines` each belongs to, and the number of its run; 0 where it is alone. The
        rows of a run stand together and are not in order.
    """
    flat = np.empty(ranks.size + 64, np.int32)
    number, runs = np.empty(flat.size, np.int32), np.empty(flat.size, np.int32)
    begin = np.empty(held.shape[1], np.int32)
    size, run = 0, 0
    for mine in range(lines.size):
        line = lines[mine]
        cells, grid, wanted = sizes[line], grids[line], ranks[starts[mine] : starts[mine + 1]]
        sure[mine] = grid[2] > 0
        if not sure[mine]:
            continue
        _want(wanted, held[line], cells, begin)
        found, rows = np.empty(begin[cells]), np.empty(begin[cells], np.int32)
        _gather(keys[line], grid, cells, begin, found, rows)
        for cell in range(cells):
            if begin[cell] >= 0 and held[line, cell + 1] - held[line, cell] > 1:
                part = slice(begin[cell], begin[cell] + held[line, cell + 1] - held[line, cell])
                sort_both(found[part], rows[part])
        if size + found.size > flat.size:
            flat, number = _larger(flat, found.size), _larger(number, found.size)
            runs = _larger(runs, found.size)
        size, run, sure[mine] = _emit(
            wanted, found, rows, slack[line], grid, held[line], cells, begin, mine, flat, number,
            runs, size, run, place[starts[mine] : starts[mine + 1]],
        )  # fmt: skip
    return flat[:size], number[:size], runs[:size]

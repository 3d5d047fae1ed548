"""Compiled loops in float64: keys of pairs and single rows, borders, and the loss of few rows.

For their arguments see `miner.census.kernels.count_lookup`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled

__all__ = [
    "FEW",
    "distance",
    "dot",
    "exact_key",
    "gather_keys",
    "key_pairs",
    "place_borders",
    "settle_loss",
]

FEW = 64
"""An anchor with fewer rows within reach has its loss summed in float64."""


def _dot_loop(query: Any, vector: Any, center: Any) -> Any:  # pragma: no cover  (compiled)
    total = 0.0
    for axis in range(query.size):
        total += query[axis] * (np.float64(vector[axis]) - center[axis])
    return total


dot = compiled(_dot_loop, reorder=True)


@compiled
def exact_key(space: Any, line: Any, row: Any) -> Any:  # pragma: no cover  (compiled)
    """Return a float64 key: that of `KeySpace`, within its slack."""
    queries, rows, center, scale, bias = space[:5]
    return bias[row] - dot(queries[line], rows[row], center) * scale[row]


@compiled
def distance(space: Any, line: Any, key: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the distance of a key."""
    value = space[5][line] + space[6] * np.float64(key)
    return np.sqrt(max(value, 0.0)) if space[8] else value


@compiled
def key_pairs(
    space: Any, starts: Any, columns: Any, out: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the float64 key of every pair: ``columns[starts[i]:starts[i + 1]]`` for anchor i."""
    for line in range(starts.size - 1):
        for place in range(starts[line], starts[line + 1]):
            out[place] = exact_key(space, line, columns[place])


@compiled
def gather_keys(
    products: Any, bias: Any, starts: Any, columns: Any, keys: Any
) -> None:  # pragma: no cover  (compiled)
    """Take the keys of pairs from the products of whole rows."""
    for line in range(products.shape[0]):
        for pair in range(starts[line], starts[line + 1]):
            column = columns[pair]
            keys[pair] = bias[column] - products[line, column]


@compiled
def _border(
    space: Any, line: Any, hard: Any, slack: Any, steep: Any, unit: Any, given: Any
) -> Any:  # pragma: no cover  (compiled)
    """Return d(a,p), the key where semi-hard ends, and how unsure both borders are.

    d(a,p) is infinite where it has to be measured and `given` has no value.
    """
    offset, slope, margin, root = space[5][line], space[6], space[7], space[8]
    distance, growth = offset + slope * hard, 1.0
    if root:
        square = distance
        distance = np.sqrt(max(square, 0.0))
        if distance + margin > steep * distance or square < 128 * slack:
            if np.isnan(given):
                return np.inf, hard, 0.0
            distance = given
        else:
            growth = (distance + margin) / distance
    border = distance + margin
    size = border * border if root else abs(distance) + margin
    value = border * border if root else border
    error = 2.5 * growth * slack + 16 * unit * (size + abs(offset))
    return distance, (value - offset) / slope, error


@compiled
def _place_plain(
    hard: Any, within: Any, d_ap: Any, slope: Any, offset: Any, margin: Any, root: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the distances and upper borders of pairs of which none has to be measured."""
    for pair in range(hard.size):
        value = offset + slope * hard[pair]
        distance = np.sqrt(max(value, 0.0)) if root else value
        border = distance + margin
        d_ap[pair] = distance
        within[pair] = ((border * border if root else border) - offset) / slope


@compiled
def _worst_error(
    space: Any, line: Any, low: Any, high: Any, slack: Any, steep: Any, unit: Any
) -> Any:  # pragma: no cover  (compiled)
    """Bound how unsure the borders of an anchor are whose keys lie between `low` and `high`.

    They grow most at the nearest positive and are rounded most at the farthest. Infinite where a
    pair has to be measured.
    """
    offset, slope, margin, root = space[5][line], space[6], space[7], space[8]
    least, most = offset + slope * low, offset + slope * high
    growth, size = 1.0, max(abs(least), abs(most)) + margin
    if root:
        distance = np.sqrt(max(least, 0.0))
        if distance + margin > steep * distance or least < 128 * slack:
            return np.inf
        growth, size = (distance + margin) / distance, (np.sqrt(most) + margin) ** 2
    return 2.5 * growth * slack + 16 * unit * (size + abs(offset))


@compiled
def place_borders(
    pairs: Any, space: Any, slack: Any, steep: Any, unit: Any, given: Any, tolerance: Any
) -> Any:  # pragma: no cover  (compiled)
    """Fill the distances and upper borders of all pairs, and each anchor's tolerance.

    The formulas are those of `miner.census.reference`. Returns how many pairs have to be measured
    first.
    """
    starts, hard, within, d_ap = pairs
    missing = 0
    for line in range(starts.size - 1):
        first, end = starts[line], starts[line + 1]
        low, high, worst = np.inf, -np.inf, 0.0
        for pair in range(first, end):
            low, high = min(low, hard[pair]), max(high, hard[pair])
        if low <= high:
            worst = _worst_error(space, line, low, high, slack[line], steep, unit)
            _place_plain(
                hard[first:end], within[first:end], d_ap[first:end], space[6], space[5][line],
                space[7], space[8],
            )  # fmt: skip
        if np.isinf(worst):
            worst = 0.0
            for pair in range(first, end):
                d_ap[pair], within[pair], error = _border(
                    space, line, hard[pair], slack[line], steep, unit, given[pair]
                )
                missing += np.isinf(d_ap[pair])
                worst = max(worst, error)
        tolerance[line] = worst
    return missing


@compiled
def settle_loss(pairs: Any, space: Any, results: Any) -> None:  # pragma: no cover  (compiled)
    """Sum the loss anew, in float64, of anchors with few rows within reach."""
    starts, _, within, d_ap = pairs
    totals, losses, few = results
    for line in range(starts.size - 1):
        count = totals[line, 3]
        if count >= FEW or count * (starts[line + 1] - starts[line]) > FEW * FEW:
            continue
        total = 0.0
        for row in few[line, :count]:
            key = exact_key(space, line, row)
            d_an = distance(space, line, key)
            for place in range(starts[line], starts[line + 1]):
                if key < within[place]:
                    total += d_ap[place] + space[7] - d_an
        losses[line] = total

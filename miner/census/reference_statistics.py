"""The reference's triplets row by row: of how many each row is the negative; the nearest rows."""

from __future__ import annotations

import numpy as np

from miner.census.block import BlockCounts, near
from miner.census.column_sums import ColumnSums
from miner.census.measure import Vectors
from miner.census.neighbors import NearestRows, settle_nearest
from miner.census.reference import Census
from miner.triplets.distance import Metric
from miner.triplets.hardness import count_positives
from miner.triplets.relevance import Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["add_columns", "find_nearest", "nearest_by_definition"]


def add_columns(census: Census, block: BlockCounts, line: int, sums: ColumnSums) -> None:
    """Add up what an anchor of a counted block makes of each of its negatives.

    A key that is further than the tolerance from every threshold is compared with all of them. Of
    the others, the distances decide: theirs, and those of the positives whose threshold is near.
    """
    pairs = slice(block.starts[line], block.starts[line + 1])
    tolerance = block.edges.tolerance[line]
    columns = np.flatnonzero(block.keys[line] <= block.reach[line])
    keys = block.keys[line][columns]
    borders = block.edges.hard[pairs], block.edges.within[pairs]
    close = near(keys, np.sort(np.concatenate(borders)), tolerance)
    anchor = block.anchors[line : line + 1]
    d_an = census.vectors.measure(census.metric, anchor, columns[close])
    counts = []
    for which, border in enumerate(borders):
        found = _above(border, keys)
        open_ = near(border, np.sort(keys[close]), tolerance) if close.any() else border != border
        if open_.any():
            measured = census.vectors.measure(census.metric, anchor, block.positives[pairs][open_])
            decided = count_positives(d_an, np.sort(measured), census.margin)[which]
            found[close] = _above(border[~open_], keys[close]) + decided
        counts.append(found)
    hard, within = counts[0], np.maximum(*counts)
    there = within > 0
    sums.add(int(block.anchors[line]), columns[there], hard[there], within[there])


def _above(borders: Float64, keys: Float64) -> Rows:
    """Count the borders above each key."""
    return len(borders) - np.sort(borders).searchsorted(keys, side="right")


def find_nearest(census: Census, block: BlockCounts, line: int, most: int) -> NearestRows:
    """Find an anchor's nearest rows that are not hidden; ties break by row number."""
    pairs = slice(block.starts[line], block.starts[line + 1])
    rows = np.flatnonzero(block.keys[line] < np.inf)
    keys = np.concatenate([block.keys[line][rows], block.edges.hard[pairs]])
    rows = np.concatenate([rows, block.positives[pairs]])
    if len(rows) > most:
        last = np.partition(keys, most - 1)[most - 1]
        rows = rows[keys <= last + 2 * block.slack[line]]
    lines = np.zeros(len(rows), dtype=np.int64)
    anchor = block.anchors[line : line + 1]
    found = np.full((1, most), -1, dtype=np.int64)
    chosen = (anchor, lines, rows, np.array([most]))
    _, rank, row = settle_nearest(census.vectors, census.metric, *chosen)
    found[0, rank] = row
    return NearestRows(anchor, found)


def nearest_by_definition(
    vectors: Vectors, relevance: Relevance, metric: Metric, anchor: int, most: int
) -> Rows:
    """Measure all rows that are not hidden from an anchor, and return the nearest."""
    there = np.ones(len(vectors.rows), dtype=np.bool_)
    there[relevance.hidden(anchor)] = False
    rows, lines = np.flatnonzero(there), np.zeros(int(there.sum()), dtype=np.int64)
    wanted = np.array([most])
    return settle_nearest(vectors, metric, np.array([anchor]), lines, rows, wanted)[2]

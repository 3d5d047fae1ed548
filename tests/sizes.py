"""Sizes of chunks and blocks, made small: with data as large as the real ones tests would be slow.

No other test module names these constants of the package.
"""

from __future__ import annotations

import pytest

__all__ = ["make_small"]

_HOMES = {
    "all_listed": "miner.pipeline.units.miner._ENTRIES",  # listed rows of all anchors together
    "at_once": "miner.census.walk.ranked_block._LISTED",  # entries listed for candidate lists
    "capped": "miner.pipeline.cap_negatives._CHUNK",  # records read at once, of a cap on negatives
    "chunk": "miner.pipeline.units.block_writer._CHUNK",  # triplets held before they are written
    "device_tile": "miner.census.device.rows._LEAST_TILE",  # of rows that are prepared at once
    "each_listed": "miner.pipeline.units.miner._EACH",  # or so many for each anchor
    "entries": "miner.pipeline.units.unit_writer._ENTRIES",  # listed rows done at once
    "group": "miner.runs.shards._GROUP_ROWS",
    "held": "miner.pipeline.cap_negatives._HELD",  # numbers held to find where hubs are cut
    "few": "miner.census.walk.precision.MAX_NARROW_POSITIVES",  # of float32 keys
    "json_block": "miner.datasets.formats.json_lines._BLOCK",  # bytes
    "fewest": "miner.census.walk.census._FEWEST",  # anchors whose whole products must fit
    "lines": "miner.census.walk.census._LINES",  # anchors of a block
    "line": "miner.datasets.formats.bounded_lines.MOST_LINE",  # bytes
    "listed": "miner.pipeline.units.miner._MOST",  # rows that are listed of an anchor
    "much": "miner.census.walk.direct.MIN_DIRECT_SHARE",  # to count unsorted
    "numpy": "miner.census.kernels._SMALL",  # keys that NumPy counts unless loops are compiled
    "open": "miner.census.walk.precision.MAX_UNDECIDED",  # share of keys
    "part": "miner.pipeline.seal.PART_ROWS",
    "judged": "miner.pipeline.teacher.judge._CHUNK",  # triplets that a teacher decides at once
    "scored": "miner.pipeline.teacher.teachers._CHUNK",  # pairs whose texts are read at once
    "slice": "miner.runs.shards._SLICE_ROWS",  # rows of a group whose texts are read at once
    "tile": "miner.census.walk.census._TILE",  # rows that are multiplied at once, at least
    "tiny": "miner.census.kernels._TINY",  # keys that NumPy always counts
    "stretch": "miner.pipeline.units.unit_writer._STRETCH",  # triplets of anchors done at once
    "trial": "miner.pipeline.units.sampled._ROWS_A_TRIAL",  # rows that cost what a trial does
}
"""What is bounded, and the name of the bound."""


def make_small(monkeypatch: pytest.MonkeyPatch, **sizes: float) -> None:
    """Set some of the sizes of `_HOMES`."""
    for name, size in sizes.items():
        monkeypatch.setattr(_HOMES[name], size)

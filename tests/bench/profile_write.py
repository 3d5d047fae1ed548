"""Profile the write pass of one shape: which functions take the time, per anchor.

Not a bench of its own: run it by hand when the write pass is slow,
``python -m tests.bench.profile_write --rows 30000 --most 1000000``.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.job_sections import SelectJob
from miner.pipeline.passes import share_out
from miner.pipeline.units.layout import cut_units
from miner.pipeline.units.miner import Miner
from miner.selection.selection import Selection
from miner.selection.strategies.all import All
from miner.triplets.hardness import MINED
from miner.triplets.relevance import tally
from tests.bench.census_speed import MARGIN, MEMORY, WORKERS
from tests.bench.common import timed
from tests.bench.shapes import skewed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--most", type=int, default=1_000_000, help="triplets of each class")
    parser.add_argument("--lines", type=int, default=25)
    given = parser.parse_args()
    shape = skewed(given.rows)
    census = Census(
        Vectors(shape.anchors, shape.rows),
        shape.relevance,
        "euclidean",
        MARGIN,
        keep_bytes=MEMORY // 2,
    )
    selection = Selection(All())
    miner = Miner(census, tally(shape.relevance), selection, 0, MEMORY // 2 // WORKERS)
    units = cut_units(given.rows, given.rows, shape.rows.shape[1])
    with threadpool_limits(1, user_api="blas"), tempfile.TemporaryDirectory() as folder:
        miner.count((0, 64))  # compiles
        counted: list[np.ndarray] = []
        counting = timed(lambda: counted.extend(map(miner.count, units)))
        shares = share_out(np.concatenate(counted), SelectJob(max_triplets=given.most))
        paths = {name: Path(folder) / f"{name}.bin" for name in MINED}

        def write() -> None:
            for unit in units:
                parts = {name: share.part(slice(*unit)) for name, share in shares.items()}
                miner.write(unit, parts, paths)

        writing = timed(write)
        profile = cProfile.Profile()
        profile.runcall(write)
    rows = sum(share.total for share in shares.values())
    sys.stdout.write(
        f"{rows:,} triplets of {given.rows:,} anchors on one thread: counting {counting:.1f} s, "
        f"writing {writing:.1f} s: {1e6 * writing / given.rows:.0f} microseconds an anchor\n"
    )
    stats = pstats.Stats(profile, stream=sys.stdout).strip_dirs()
    stats.sort_stats("tottime").print_stats(given.lines)
    names = r"^(census|mining|writing|sieve|grids|picking|ranking|caps|all|base|distance)\.py"
    stats.sort_stats("cumtime").print_stats(names, given.lines)


if __name__ == "__main__":
    main()

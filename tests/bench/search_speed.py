"""An approximate run compared with FAISS alone: the same vectors, index, settings and threads.

`python -m tests.bench.search_speed --rows N` makes clustered vectors and alternates between two
programs: a user's script (read, train, add, search all rows), and the whole run (reading, storing,
tuning, searching candidates, measuring every candidate by the definition, auditing, writing and
publishing). With `--bare FILE` this module is the script, and prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from miner.indexes.factory import FactoryIndex
from tests.bench.common import median, peak_bytes, report, run_module
from tests.bench.growth import make
from tests.bench.planning import watched

FACTORY, CANDIDATES, MARGIN = "IVF4096,Flat", 100, 0.05


def bare(path: Path, factory: str, nearest: int, nprobe: int) -> dict[str, Any]:
    """Search all rows with FAISS, without keeping the results.

    Training uses as many rows as `mine` does; by default FAISS would use all of a million rows and
    be many times slower.
    """
    import faiss

    began = time.perf_counter()
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    with np.load(path) as arrays:
        vectors = arrays["embedding"]
    index = faiss.index_factory(vectors.shape[1], factory)
    chosen = np.random.default_rng(0).permutation(len(vectors))[
        : FactoryIndex.training_rows(factory)
    ]
    index.train(vectors[chosen])
    trained = time.perf_counter()
    index.add(vectors)
    added = time.perf_counter()
    faiss.extract_index_ivf(index).nprobe = nprobe
    for start in range(0, len(vectors), 10_000):
        index.search(vectors[start : start + 10_000], nearest)
    ended = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": ended - began,
        "cpu": used.ru_utime + used.ru_stime,
        "train": trained - began,
        "add": added - trained,
        "search": ended - added,
        "memory": peak_bytes(),
    }


def whole(path: Path, factory: str, out: Path) -> dict[str, Any]:
    """Mine the vectors."""
    arguments = ["--data", str(path), "--index", factory, "--margin", str(MARGIN)]
    arguments += ["--set", f"index.candidates={CANDIDATES}", "--set", 'select.classes=["hard"]']
    arguments += ["--workers", str(os.cpu_count())]
    seen = watched(arguments, out)
    manifest = seen["manifest"]
    return {
        "seconds": seen["wall"],
        "cpu": seen["cpu"],
        "memory": seen["memory"],
        "timings": manifest["timings"],
        "recall": manifest["index"]["recall"],
        "settings": manifest["index"]["settings"],
        "hard": manifest["census"]["hard"],
        "written": manifest["written"]["hard"]["rows"],
    }


def measure(rows: int, factory: str, rounds: int, folder: Path | None) -> dict[str, Any]:
    """Alternate between both programs; a ratio compares two successive measurements."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="mine-search-", dir=folder) as temporary:
        data = Path(temporary) / "data.npz"
        make(data, rows)
        for turn in range(rounds):
            ours.append(whole(data, factory, Path(temporary) / f"out{turn}"))
            nprobe = int(ours[-1]["settings"]["nprobe"])
            given = ["--bare", data, "--factory", factory, "--nprobe", nprobe]
            theirs.append(run_module("tests.bench.search_speed", *given))
            one, other = ours[-1], theirs[-1]
            sys.stderr.write(
                f"mine {one['seconds']:.1f} s (CPU {one['cpu']:.1f}), "
                f"FAISS {other['seconds']:.1f} s (CPU {other['cpu']:.1f})\n"
            )
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "rows": rows,
        "factory": factory,
        "load": round(os.getloadavg()[0], 1),
        "ratio": median([one["seconds"] / other["seconds"] for one, other in pairs]),
        "cpu_ratio": median([one["cpu"] / other["cpu"] for one, other in pairs]),
        "memory": max(one["memory"] for one in ours),
        "bound": rows * 128 * 4 + (2 << 30),
        "mine": ours,
        "faiss": theirs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--factory", default=FACTORY)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--bare", type=Path, help="search this file with FAISS alone")
    parser.add_argument("--nprobe", type=int, default=1)
    given = parser.parse_args()
    if given.bare:
        report(bare(given.bare, given.factory, CANDIDATES, given.nprobe))
    else:
        facts = measure(given.rows, given.factory, given.rounds, given.folder)
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()

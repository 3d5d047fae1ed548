"""Mine a data set once in this process; print the time and memory of the process as one JSON line.

The data set is a folder that `tests.bench.whole_runs` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import miner
from tests.bench.common import cpu_seconds, peak_bytes, report, since_start

WORKERS = 2


def dataset(folder: Path) -> dict[str, str]:
    """Return the section `dataset` of the job, for a folder."""
    names = sorted(folder.glob("*.parquet"))
    if len(names) == 1:
        return {"path": str(names[0])}
    return {name.stem: str(name) for name in names}


def mine(folder: Path, out: Path, select: dict[str, Any]) -> dict[str, Any]:
    """Mine with the default tables and without a report."""
    run = miner.mine(
        {
            "dataset": dataset(folder),
            "select": select,
            "output": {"path": str(out), "report": False},
            "engine": {"workers": WORKERS},
        }
    )
    took = {"cpu": round(cpu_seconds(), 3), "wall": round(since_start(), 3)}
    counts = {name: run.manifest["census"][name] for name in ("easy", "semi_hard", "hard")}
    rows = sum(shard["rows"] for shard in run.manifest["shards"])
    facts = {"peak_bytes": peak_bytes(), "stages": run.manifest["timings"]}
    return {**took, **facts, "counts": counts, "written": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("select", type=json.loads, help="the section `select` of the job, as JSON")
    given = parser.parse_args()
    report(mine(given.folder, given.out, given.select))


if __name__ == "__main__":
    main()

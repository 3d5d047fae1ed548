"""Growth of the time with the number of rows, for exact and approximate runs of `mine run`.

`python -m tests.bench.growth --json FILE` makes clustered vectors of several sizes, runs each in a
separate process with an empty output folder, prints a table and the exponents, and writes all
figures to FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from miner.indexes.tuning import choose_factory
from tests.bench.planning import watched

ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
DIM, CLASS, FAMILY = 128, 10, 20
NEAR, NOISE = 0.6, 0.7
NOISY = 20.0
"""CPU seconds; the fit leaves out shorter runs, because start-up dominates them."""
_SLICE = 50_000
STAGES = ("embed", "index", "count", "audit", "write", "seal")


def make(path: Path, rows: int) -> None:
    """Return vectors in classes of 10 rows, 20 classes around a point; few triplets are hard."""
    rng = np.random.default_rng(rows)
    classes = rows // CLASS
    families = rng.standard_normal((max(1, classes // FAMILY), DIM), dtype=np.float32)
    centers = families[rng.integers(0, len(families), classes)]
    centers += NEAR * rng.standard_normal(centers.shape, dtype=np.float32)
    labels = np.arange(rows) % classes
    vectors = np.empty((rows, DIM), np.float32)
    for start in range(0, rows, _SLICE):
        part = slice(start, start + _SLICE)
        noise = rng.standard_normal((len(labels[part]), DIM), dtype=np.float32)
        vectors[part] = centers[labels[part]] + NOISE * noise
        vectors[part] /= np.linalg.norm(vectors[part], axis=1, keepdims=True)
    np.savez(path, embedding=vectors, label=labels)


def run(kind: str, rows: int, given: argparse.Namespace) -> dict[str, Any]:
    """Mine a data set of one size once."""
    factory = "Flat"
    if kind == "approximate":
        factory = choose_factory(rows, rows, DIM, minutes=0, memory=1 << 62)
    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mine-growth-", dir=given.folder) as temporary:
        folder = Path(temporary)
        make(folder / "data.npz", rows)
        arguments = ["--data", str(folder / "data.npz"), "--index", factory]
        arguments += ["--workers", str(given.workers), "--set", "index.min_recall=1e-9"]
        arguments += ["--max-triplets", str(given.max_triplets)]
        seen = watched(arguments, folder / "out")
    manifest = seen["manifest"]
    recall = manifest["index"].get("recall", {})
    return {
        "kind": kind,
        "rows": rows,
        "factory": factory,
        "settings": manifest["index"].get("settings", {}),
        "stages": {name: manifest["timings"].get(name, 0.0) for name in STAGES},
        "seconds": round(sum(manifest["timings"].values()), 2),
        "wall": round(seen["wall"], 2),
        "cpu": round(seen["cpu"], 2),
        "memory": seen["memory"],
        "disk": seen["disk"],
        "recall": {name: [one["recall"], *one["interval"]] for name, one in recall.items()},
        "written": sum(one["rows"] for one in manifest["written"].values()),
    }


def exponent(rows: list[int], times: list[float]) -> float | None:
    """Return the least-squares slope of log(time) on log(rows); None for fewer than 2 points."""
    points = [(n, t) for n, t in zip(rows, times, strict=True) if t > 0]
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points)).T
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def exponents(runs: list[dict[str, Any]], noisy: float) -> dict[str, Any]:
    """Fit the runs of a kind that take long enough: total time, CPU seconds, and each stage."""
    found = {}
    for kind in sorted({one["kind"] for one in runs}):
        mine = [one for one in runs if one["kind"] == kind and one["cpu"] >= noisy]
        rows = [one["rows"] for one in mine]
        found[kind] = {
            "fitted": rows,
            "seconds": exponent(rows, [one["seconds"] for one in mine]),
            "cpu": exponent(rows, [one["cpu"] for one in mine]),
            "stages": {
                name: exponent(rows, [one["stages"][name] for one in mine]) for name in STAGES
            },
        }
    return found


def table(facts: dict[str, Any]) -> str:
    """Return a table of all runs, followed by the exponents."""
    head = f"{'':<12}{'rows':>9} {'seconds':>9} {'CPU':>8}"
    lines = [head + "".join(f"{name:>8}" for name in STAGES) + "   peak MiB  recall"]
    for one in facts["runs"]:
        stages = "".join(f"{one['stages'][name]:>8.1f}" for name in STAGES)
        recall = ", ".join(f"{name} {value[0]:.3f}" for name, value in one["recall"].items())
        lines.append(
            f"{one['kind']:<12}{one['rows']:>9,} {one['seconds']:>9.1f} {one['cpu']:>8.1f}{stages}"
            f" {one['memory'] / 2**20:>10,.0f}  {recall}"
        )
    for kind, fit in facts["exponents"].items():
        sizes = ", ".join(f"{rows:,}" for rows in fit["fitted"])
        lines.append(f"{kind}: CPU seconds grow as rows^{fit['cpu']}, seconds as {fit['seconds']}")
        lines.append(f"  fitted over {sizes} rows: {facts['noisy']} CPU seconds and more")
    return "\n".join(lines)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run all sizes; save the figures after each, because a long run may be stopped."""
    facts: dict[str, Any] = {
        "dim": DIM,
        "class": CLASS,
        "cores": os.cpu_count(),
        "workers": given.workers,
        "max_triplets": given.max_triplets,
        "noisy": given.noisy,
        "runs": [],
    }
    for rows in given.rows:
        kinds = ["exact"] if rows <= given.most_exact else []
        for kind in [*kinds, "approximate"]:
            load = round(os.getloadavg()[0], 1)
            facts["runs"].append({**run(kind, rows, given), "load": load})
            facts["exponents"] = exponents(facts["runs"], given.noisy)
            if given.json:
                given.json.write_text(json.dumps(facts, indent=2) + "\n")
            one = facts["runs"][-1]
            sys.stderr.write(f"{kind} {rows:,}: {one['seconds']} s (load {load})\n")
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--most-exact", type=int, default=300_000, help="most rows of an exact run")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--max-triplets", type=int, default=1_000_000)
    parser.add_argument(
        "--noisy", type=float, default=NOISY, help="least CPU seconds of a run in the fit"
    )
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    facts = measure(given)
    facts |= {"noisy": given.noisy, "exponents": exponents(facts["runs"], given.noisy)}
    print(table(facts))


if __name__ == "__main__":
    main()

"""Plan a job, run it, and compare the prediction with the run.

`python -m tests.bench.planning NAME` prints one JSON line. The run is a separate process that is
observed from outside: the seconds of its stages, its peak memory and the largest size of its output
folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import SLOWER, report
from tests.conftest import ROOT

_EVERY = 0.02


def labelled(folder: Path, rows: int, dim: int, classes: int, noise: float) -> list[str]:
    """Return options for a data set of clustered vectors."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, dim))
    labels = rng.integers(0, classes, rows)
    vectors = (centers[labels] + noise * rng.standard_normal((rows, dim))).astype(np.float32)
    np.savez(folder / "data.npz", embedding=vectors, label=labels)
    return ["--data", str(folder / "data.npz")]


def pairs(folder: Path) -> list[str]:
    """Return options for 5,000 queries, each near one of 20,000 documents."""
    rng = np.random.default_rng(1)
    topics = rng.standard_normal((500, 256))
    documents = topics[rng.integers(0, 500, 20_000)] + rng.standard_normal((20_000, 256))
    linked = rng.integers(0, 20_000, 5_000)
    queries = documents[linked] + 2.0 * rng.standard_normal((5_000, 256))
    for name, vectors in (("queries", queries), ("corpus", documents)):
        narrow = vectors.astype(np.float32)
        np.savez(folder / f"{name}.npz", id=np.arange(len(narrow)), embedding=narrow)
    lines = [f"{query},{row}" for query, row in enumerate(linked)]
    (folder / "links.csv").write_text("\n".join(["query_id,corpus_id", *lines]) + "\n")
    names = {"queries": "queries.npz", "corpus": "corpus.npz", "links": "links.csv"}
    return [f"--set=dataset.{key}={folder / name}" for key, name in names.items()]


def _digits(folder: Path) -> list[str]:
    return [str(ROOT / "jobs/default.toml"), "--data", str(ROOT / "sample_data/digits.parquet")]


def _nominated(folder: Path) -> list[str]:
    index = ["--index", "IVF256,Flat", "--set", "index.min_recall=0.001"]
    return labelled(folder, 50_000, 64, 5_000, 0.8) + index


JOBS: dict[str, tuple[str, Callable[[Path], list[str]]]] = {
    "digits": ("the default job: 1,797 digits", _digits),
    "labelled": (
        "20,000 x 64 in 200 classes",
        lambda folder: labelled(folder, 20_000, 64, 200, 1.0),
    ),
    "hardest": (
        "the same, the strategy hardest",
        lambda folder: [*labelled(folder, 20_000, 64, 200, 1.0), "--select", "hardest"],
    ),
    "pairs": ("5,000 queries x 20,000 documents x 256", pairs),
    "nominated": ("50,000 x 64 in 5,000 classes, IVF256,Flat", _nominated),
}


def command(verb: str, arguments: list[str]) -> list[str]:
    """Return the command line of `mine`."""
    return [sys.executable, "-m", "miner", verb, *arguments, "--json"]


def environment() -> dict[str, str]:
    """Return the environment of this process, with the fastest BLAS kernel."""
    return {name: value for name, value in os.environ.items() if name not in SLOWER}


def folder_bytes(folder: Path) -> int:
    """Return the current size of a folder, in bytes."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:  # the file was renamed in the meantime
                continue
    return total


def peak_of(process: int) -> int:
    """Return the peak memory of a process, if it can still be read."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(x.split()[1]) << 10 for x in status.splitlines() if x.startswith("VmHWM")), 0)


def watched(arguments: list[str], out: Path) -> dict[str, Any]:
    """Run a job; return its manifest and the observed figures."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    disk = peak = 0
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command("run", [*arguments, "--out", str(out)]),
            stdout=said, stderr=errors, env=environment(), cwd=ROOT,
        )  # fmt: skip
        while process.poll() is None:
            disk, peak = max(disk, folder_bytes(out)), max(peak, peak_of(process.pid))
            time.sleep(_EVERY)
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        errors.seek(0)
        assert process.returncode == 0, errors.read()[-2000:]
        said.seek(0)
        manifest = json.load(said)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"manifest": manifest, "wall": wall, "cpu": cpu, "disk": disk, "memory": peak}


def planned(arguments: list[str], out: Path) -> dict[str, Any]:
    """Plan a job."""
    done = subprocess.run(
        command("plan", [*arguments, "--out", str(out)]),
        capture_output=True, text=True, env=environment(), cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def measure(name: str) -> dict[str, Any]:
    """Plan one job and run it."""
    with tempfile.TemporaryDirectory(prefix="mine-bench-") as temporary:
        folder = Path(temporary)
        arguments = JOBS[name][1](folder)
        load = os.getloadavg()[0]
        plan = planned(arguments, folder / "out")
        run = watched(arguments, folder / "out")
        said, took = plan["seconds"], run["manifest"]["timings"]
        stages = {"embed": [round(said["read"] + said["embed"], 2), took["embed"]]}
        if "count" in said:
            stages["count"] = [said["count"], took["count"]]
        return {
            "job": JOBS[name][0],
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "calibration": plan["calibration"],
            "stages": stages,
            "memory": [plan["memory_bytes"], run["memory"]],
            "disk": [plan["disk_bytes"], run["disk"]],
            "triplets": [
                plan["triplets_at_most"],
                sum(one["rows"] for one in run["manifest"]["written"].values()),
            ],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=JOBS)
    report(measure(parser.parse_args().name))


if __name__ == "__main__":
    main()

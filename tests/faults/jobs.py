"""The job of the storm: a second's work in many units."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, UNITS, CAP = 320, 20, 1500
QUIET = ("--log-format", "text", "--quiet")
"""What changes the words of the job to those of a start that says its error alone."""
CALLS_MADE = {"write": 370, "fsync": 475, "rename": 240, "open": 1650, "unlink": 240}
"""About how often an undisturbed start makes the commonest system call of each kind."""


def write_data(path: Path, seed: int = 5) -> Path:
    """Write images of few small whole numbers: ties, duplicates within and across classes."""
    rng = np.random.default_rng(seed)
    columns = {
        "id": range(ROWS),
        "image": rng.integers(0, 3, (ROWS, 6)).tolist(),
        "label": [f"c{n}" for n in rng.integers(0, 5, ROWS)],
        "document": pa.array(rng.integers(0, 60, ROWS)),
    }
    pq.write_table(pa.table(columns), path)
    return path


def words(data: Path, out: Path | str, margin: float = 0.5, *, report: bool = False) -> list[str]:
    """Return the arguments of the job: one worker, so that the N-th call is always the same.

    It makes no report: that would take longer than all the rest.
    """
    options = {"--data": data, "--out": out, "--margin": margin, "--max-triplets": CAP}
    options |= {"--per-pair": 12, "--per-anchor": 60, "--workers": 1, "--log-format": "json"}
    flat = [str(word) for option in options.items() for word in option]
    more = ["dataset.group=document", f"output.report={str(report).lower()}"]
    return ["run", *flat, "--no-normalize", *(word for one in more for word in ("--set", one))]


def payload(run: Path) -> dict[str, str]:
    """Return the checksums of a run's files but those that tell of times, or of the run itself."""
    files = {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file()
    }
    assert files.pop("manifest.json") and files.pop("metrics.prom")
    files.pop("report.html", None)
    return files

"""Memory stays within the vectors and the block budget, whatever the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

BUDGET = 48 << 20
SPARE = 96 << 20
"""For ids, codes, counts, row groups on their way out, and what allocators keep for themselves."""


def peak(folder: Path, rows: int, dim: int) -> int:
    """Mine so many random vectors in a process of its own; return its peak memory."""
    rng = np.random.default_rng(rows)
    folder.mkdir()
    np.savez(
        folder / "data.npz",
        embedding=rng.standard_normal((rows, dim)).astype(np.float32),
        label=np.arange(rows) % (rows // 8),
    )
    command = [sys.executable, "-m", "miner", "run", "--data", str(folder / "data.npz"), "--json"]
    options = ["--out", str(folder / "out"), "--max-triplets", "200000", "--workers", "2"]
    memory = ["--set", f"mining.memory={BUDGET >> 20}MiB"]
    done = subprocess.run([*command, *options, *memory], capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout)["peak_rss_bytes"])


def test_a_run_needs_its_vectors_and_the_budget(tmp_path: Path) -> None:
    rows, dim = 40_000, 64
    base = peak(tmp_path / "small", 17_000, dim)  # enough to load compiled loops, or compile them
    full = peak(tmp_path / "full", rows, dim)
    vectors = 4 * rows * dim
    # Twice the vectors: an .npz is read whole, and they are kept where they fit the budget.
    assert full - base < 2 * vectors + BUDGET + SPARE
    assert full - base < 8 * rows * rows / 15  # and nowhere near a matrix of distances

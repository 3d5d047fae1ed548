"""Preloaded by the fork server: mines the storm's job once, so that its children need not load.

What loads anew in every start (compiled loops, Arrow, FAISS) takes longer than the job. Products
are done by one thread: a child would have none of the others.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before what reads it is imported

from miner.cli.main import main  # noqa: E402
from tests.faults.jobs import words, write_data  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    data, out = write_data(Path(folder) / "images.parquet"), Path(folder) / "out"
    try:
        main([*words(data, out), "--quiet"])
    except SystemExit as done:
        assert not done.code

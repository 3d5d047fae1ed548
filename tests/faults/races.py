"""Two starts at once for one output root: one does the work, the other is told by whom."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import ROOT
from tests.faults.jobs import QUIET, words


def start(data: Path, out: Path | str, **environment: str) -> subprocess.Popen[str]:
    """Start the job in a process, with variables of its own."""
    command = [sys.executable, "-m", "miner", *words(data, out), *QUIET]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True
    )


def race(starts: Iterable[subprocess.Popen[str]]) -> str:
    """See that of two starts one works; return what the other, which is refused, says of it."""
    both = list(starts)
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 4], said
    refused, worker = codes.index(4), codes.index(0)
    assert said[worker] == ""
    assert said[refused].count("\n") == 1
    assert f"is in use by process {both[worker].pid} on " in said[refused]
    return said[refused]

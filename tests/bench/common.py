"""What all benches share: a process of its own for each measurement, its clock and its memory."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from threadpoolctl import threadpool_info

from tests.conftest import ROOT

BEGAN = "MINE_BENCH_BEGAN"
SLOWER = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Where a machine sets these, OpenBLAS may run another kernel than its best."""

EMPTY: Mapping[str, str] = MappingProxyType({})


def run_module(
    module: str, *arguments: object, cwd: Path = ROOT, more: Mapping[str, str] = EMPTY
) -> dict[str, Any]:
    """Run a module in a fresh process; return the JSON it prints last.

    The process runs the fastest BLAS kernel of the machine, and knows when it was started. Its
    environment is this one and `more`.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SLOWER}
    environment |= more
    environment[BEGAN] = repr(time.monotonic())
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def use_fastest_blas() -> None:
    """Start this process again where its environment names a slower BLAS kernel.

    For a bench that is started by hand: `run_module` does the same for those that a test starts.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SLOWER}
    if environment != dict(os.environ):
        os.execve(sys.executable, sys.orig_argv, environment)


def since_start() -> float:
    """Seconds since this process was started, the interpreter's own start included."""
    return time.monotonic() - float(os.environ[BEGAN])


def cpu_seconds() -> float:
    """User and system seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_bytes() -> int:
    """Peak resident memory of this process.

    Linux keeps in `ru_maxrss` what the parent had at the fork; VmHWM is the process' own.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def blas() -> list[str]:
    """The BLAS libraries of this process, each with the kernel that it runs."""
    return sorted(
        {
            f"{found['internal_api']} {found['version']} {found.get('architecture')}"
            for found in threadpool_info()
            if found["user_api"] == "blas"
        }
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(values: list[float], digits: int = 3) -> float:
    """The median, rounded for print."""
    return round(statistics.median(values), digits)


def rounded(values: list[float], digits: int = 2) -> list[float]:
    """All rounds, rounded for print."""
    return [round(value, digits) for value in values]


def report(facts: dict[str, Any]) -> None:
    """Print the facts as the last line of the process."""
    sys.stdout.write(json.dumps(facts) + "\n")

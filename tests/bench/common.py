"""Helpers of all benchmarks: a separate process for each measurement, its clock and its memory."""

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
"""Environment variables with which OpenBLAS may not choose its fastest kernel."""

EMPTY: Mapping[str, str] = MappingProxyType({})


def run_module(
    module: str, *arguments: object, cwd: Path = ROOT, more: Mapping[str, str] = EMPTY
) -> dict[str, Any]:
    """Run a module in a new process; return the JSON that it prints last.

    The process uses the fastest BLAS kernel of the machine, and receives its start time. Its
    environment is the environment of this process and `more`.
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
    """Restart this process if its environment chooses a slower BLAS kernel.

    For benchmarks that are started by hand; `run_module` does the same for those in tests.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SLOWER}
    if environment != dict(os.environ):
        os.execve(sys.executable, sys.orig_argv, environment)


def since_start() -> float:
    """Return the seconds since this process started, including the start of the interpreter."""
    return time.monotonic() - float(os.environ[BEGAN])


def cpu_seconds() -> float:
    """Return user and system seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_bytes() -> int:
    """Return the peak resident memory of this process, in bytes.

    On Linux `ru_maxrss` includes the parent's memory at the fork; VmHWM does not.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def blas() -> list[str]:
    """Return the BLAS libraries of this process with their kernels."""
    return sorted(
        {
            f"{found['internal_api']} {found['version']} {found.get('architecture')}"
            for found in threadpool_info()
            if found["user_api"] == "blas"
        }
    )


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(values: list[float], digits: int = 3) -> float:
    """Return the median as text."""
    return round(statistics.median(values), digits)


def rounded(values: list[float], digits: int = 2) -> list[float]:
    """Return the values of all rounds as text."""
    return [round(value, digits) for value in values]


def report(facts: dict[str, Any]) -> None:
    """Print the facts as the last line of the process."""
    sys.stdout.write(json.dumps(facts) + "\n")

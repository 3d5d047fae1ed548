"""Compile all loops into numba's cache: ``python -m miner.census.kernels``.

A large job compiles the loops that it needs. If an image or a service runs this command first, jobs
need not compile.
"""

from __future__ import annotations

import sys
import time

from miner.census.kernels import has_numba
from miner.census.kernels.compiling import compile_loops
from miner.errors import install_hint


def main() -> None:
    """Compile all loops and print how long it took."""
    if not has_numba():
        hint = install_hint("fast")
        sys.stdout.write(f"numba is not installed, so there is nothing to compile: {hint}\n")
        return
    began = time.perf_counter()
    compile_loops()
    sys.stdout.write(f"compiled loops are ready ({time.perf_counter() - began:.1f} s)\n")


if __name__ == "__main__":
    main()

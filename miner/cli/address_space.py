"""Refuse jobs that do not fit into a limit on the address space of this process (``ulimit -v``).

C libraries crash or wait forever if they get no address space: OpenBLAS retries without end, even
while it is loaded. So a job that does not fit is refused before the libraries are loaded.
"""

from __future__ import annotations

import os
import resource
from typing import Any

import miner
from miner.errors import StorageError
from miner.formatting import bytes_text

__all__ = ["check_address_space", "spare_address_space"]

_READING = 1 << 30
"""Bytes of address space that every command needs."""
_LIBRARIES = 2304 << 20
"""Bytes of address space that the libraries of a run reserve; most of it is never used."""
_CORE, _WORKER = 32 << 20, 128 << 20
"""Bytes for each core (stacks of threads) and for each worker (a stack, buffers of BLAS)."""


def _limit() -> int | None:
    """Return the limit on the address space of this process in bytes, or None."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def spare_address_space() -> None:
    """If there is a limit, keep OpenBLAS from reserving buffers for each core when it is loaded.

    Must be called before NumPy is imported.
    """
    if _limit() is not None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def check_address_space(job: Any = None) -> None:
    """Check that the limit on address space is high enough for a job, or for any command.

    Raises
    ------
    StorageError
        If it is too low; the message names the limit and the bytes needed.
    """
    limit = _limit()
    if limit is None:
        return
    needed = _READING if job is None else _needed(job)
    if limit < needed:
        remedy = "" if job is None else ", or lower mining.memory or workers"
        raise StorageError(
            f"out of memory: the limit on address space (ulimit -v) is {bytes_text(limit)}, and "
            f"{bytes_text(needed)} are needed; raise the limit{remedy}"
        )


def _needed(job: Any) -> int:
    cores = os.cpu_count() or 1
    workers = 1 if job.engine.name == "dask" else job.engine.workers or cores
    buffers: int = miner.parse_bytes(job.mining.memory, "mining.memory")
    return _LIBRARIES + cores * _CORE + workers * _WORKER + buffers

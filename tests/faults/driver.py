"""A small job of many units, started as processes that are killed; and what must hold afterwards.

Starts are children of a fork server that has imported everything before: a start then costs a
fraction of a second. Each is a process of its own all the same, that runs ``mine`` from its command
line to its exit code, and that SIGKILL ends like any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import multiprocessing.process
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import miner
from miner.cli import main

ROWS, UNITS, CAP = 320, 20, 1500
TOO_LONG = 120.0
"""Seconds after which a start hangs."""
PRELOADED = ("miner.run", "miner.verify", "pyarrow.parquet", "faiss", "joblib", "numba")

CALLS = {
    "write": "write,pwrite64,writev",
    "fsync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2,symlink,symlinkat",
    "open": "open,openat,creat,mkdir,mkdirat",
    "unlink": "unlink,unlinkat,rmdir",
}
"""System calls by kind, as strace knows them."""


@dataclass(frozen=True)
class Fault:
    """Something that happens to a start.

    Attributes
    ----------
    kind : str
        ``time``, or one of `CALLS`.
    at : float
        Seconds after it begins to work, or the number of the system call.
    inject : str
        What strace does then: by default it kills the process as it enters the call.
    on : str
        ``+`` for every call from then on.
    """

    kind: str
    at: float
    inject: str = "signal=KILL"
    on: str = ""

    def strace(self, process: int) -> list[str]:
        """Return the command that makes it happen to a process."""
        calls = CALLS[self.kind]
        inject = f"{calls}:{self.inject}:when={int(self.at)}{self.on}"
        options = ["-f", "-qqq", "-o", "/dev/null", "-e", f"trace={calls}", "-e"]
        return ["strace", *options, f"inject={inject}", "-p", str(process)]


@dataclass(frozen=True)
class Start:
    """What a start left.

    Attributes
    ----------
    code : int
        Its exit code; negative, the signal that killed it.
    out, err : str
    seconds : float
    did : tuple of str
        The units that its log says were done.
    """

    code: int
    out: str
    err: str
    seconds: float
    did: tuple[str, ...]


def _done(log: str) -> Iterator[str]:
    """Yield the units that a log of JSON lines names; the last line may be torn."""
    for line in log.splitlines():
        with contextlib.suppress(ValueError):
            facts = json.loads(line)
            if facts["event"] == "unit_done":
                yield f"{facts['stage']}-{facts['unit']}"


def _child(arguments: list[str], out: str, err: str, gate: Connection) -> None:
    """Be ``mine``, once the gate opens."""
    # It must believe to be a process that a shell started: workers of its own leave otherwise.
    multiprocessing.process._parent_process = None
    for number, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    gate.recv()
    main(arguments)


def _server() -> Any:
    """Return the fork server's context; threads that its children inherit would be dead."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.driver", *PRELOADED])
    return context


def _attach(fault: Fault, process: int) -> subprocess.Popen[bytes]:
    tracer = subprocess.Popen(
        fault.strace(process), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + TOO_LONG
    status = Path(f"/proc/{process}/status")
    while "TracerPid:\t0\n" in status.read_text():
        if tracer.poll() is not None or time.monotonic() > deadline:
            tracer.kill()
            raise AssertionError(f"strace does not attach: {tracer.communicate()[1]!r}")
        time.sleep(0.002)
    return tracer


def start(arguments: list[str], folder: Path, fault: Fault | None = None) -> Start:
    """Run ``mine`` in a process of its own, and have a fault happen to it."""
    out, err = folder / "out.txt", folder / "err.txt"
    context = _server()
    gate, inner = context.Pipe()
    process = context.Process(target=_child, args=(arguments, str(out), str(err), inner))
    process.start()
    inner.close()
    tracer = timer = None
    try:
        if fault is not None and fault.kind != "time":
            tracer = _attach(fault, process.pid)
        began = time.monotonic()
        gate.send(None)
        if fault is not None and fault.kind == "time":
            timer = threading.Timer(fault.at, process.kill)
            timer.start()
        process.join(TOO_LONG)
        seconds = time.monotonic() - began
        if process.exitcode is None:
            raise AssertionError(f"a start hangs: {arguments}, {fault}: {err.read_text()}")
    finally:
        if timer is not None:
            timer.cancel()
        process.kill()
        if tracer is not None:
            tracer.communicate(timeout=TOO_LONG)
        gate.close()
    said = err.read_text(errors="replace")
    return Start(process.exitcode, out.read_text(), said, seconds, tuple(_done(said)))


def call_count(arguments: list[str], folder: Path, kinds: list[str]) -> dict[str, int]:
    """Count the system calls of a start, by kind."""
    log = folder / "calls.txt"
    counts = {}
    for kind in kinds:
        context = _server()
        del context
        counts[kind] = len(log.read_text().splitlines()) if log.exists() else 0
    return counts


def payload(run: Path) -> dict[str, str]:
    """Return the checksums of all files of a run but its manifest and metrics, which tell times."""
    files = {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file()
    }
    assert files.pop("manifest.json") and files.pop("metrics.prom")
    return files

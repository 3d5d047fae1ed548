"""A process of ``mine`` to which something happens: a signal, a kill, a system call that fails.

Starts are children of a fork server that has loaded everything before: a start then costs a
fraction of a second. Each is a process of its own all the same, that runs ``mine`` from its command
line to its exit code, and that SIGKILL ends like any other.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import multiprocessing.process
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from miner.cli.main import main

TOO_LONG = float(os.environ.get("MINE_FAULTS_PATIENCE", "300"))
"""Seconds after which a start is taken to hang."""

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
        Seconds after it begins to work, or the number of the system call: strace counts each call
        of a kind apart, and each thread's.
    inject : str
        What strace does then: by default it kills the process as it enters the call.
    onward : bool
        Whether all later calls meet the same.
    call : str
        The one system call of its kind that is meant, where it is not the first of any to be the
        N-th.
    """

    kind: str
    at: float
    inject: str = "signal=KILL"
    onward: bool = False
    call: str = ""

    def strace(self) -> list[str]:
        """Return the options of strace that make it happen."""
        calls = self.call or CALLS[self.kind]
        when = f"{int(self.at)}{'+' if self.onward else ''}"
        inject = f"inject={calls}:{self.inject}:when={when}"
        return ["-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]


@dataclass(frozen=True)
class Place:
    """A system call of an undisturbed start.

    Attributes
    ----------
    kind : str
        One of `CALLS`.
    call : str
        Its name.
    number : int
        It is the N-th of that name in its thread, as strace counts them.
    told : str
        How strace shows it.
    """

    kind: str
    call: str
    number: int
    told: str

    @property
    def makes(self) -> bool:
        """Whether a file or a folder is made, or emptied: whether there is something new after."""
        if self.call.startswith("mkdir"):
            return self.told.endswith(" = 0")
        return "O_CREAT" in self.told or "O_TRUNC" in self.told

    def fault(self, inject: str = "signal=KILL", *, onward: bool = False) -> Fault:
        """Return what happens to a start there, and, `onward`, at all later calls of its name."""
        return Fault(self.kind, self.number, inject, onward, self.call)


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

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL

    @property
    def messages(self) -> list[str]:
        """The lines for people on stderr, without those of progress."""
        return [line for line in self.err.splitlines() if line.startswith("mine: ")]


def _done(log: str) -> Iterator[str]:
    """Yield the units that a log of JSON lines names; the last line may be torn."""
    for line in log.splitlines():
        with contextlib.suppress(ValueError):
            facts = json.loads(line)
            if facts["event"] == "unit_done":
                unit = facts["unit"]
                yield f"{facts['stage']}-{unit}"


def _child(
    arguments: list[str], out: str, err: str, before: Callable[[], None], gate: Connection
) -> None:
    """Be ``mine``, once the gate opens."""
    # It must take itself for the process that a shell started: workers end otherwise on a signal.
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    for number, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    gate.send(None)  # a call that is counted from here on is one of the job
    gate.recv()
    before()
    main(arguments)


def nothing() -> None:
    """Do nothing before a start."""


@functools.cache
def _server() -> Any:
    """Return the context of the fork server, a process without threads that is all set."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.warm", "tests.faults.driver"])
    return context


def _attach(options: list[str], process: int) -> subprocess.Popen[bytes]:
    """Let strace follow a process; return when it does."""
    command = ["strace", "-f", "-qqq", *options, "-p", str(process)]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline, status = time.monotonic() + TOO_LONG, Path(f"/proc/{process}/status")
    while "TracerPid:\t0\n" in status.read_text():
        if tracer.poll() is not None or time.monotonic() > deadline:
            tracer.kill()
            raise AssertionError(f"strace does not attach: {tracer.communicate()[1]!r}")
        time.sleep(0.002)
    return tracer


@dataclass
class Driver:
    """Starts ``mine`` with the same arguments, again and again.

    Attributes
    ----------
    arguments : list of str
    folder : Path
        Where what it says is kept.
    """

    arguments: list[str]
    folder: Path
    starts: int = field(default=0, init=False)

    def start(
        self,
        fault: Fault | None = None,
        *,
        before: Callable[[], None] = nothing,
        more: Sequence[str] = (),
    ) -> Start:
        """Run ``mine`` in a process of its own, and have a fault happen to it.

        `before` is called in the process, `more` are further arguments.
        """
        options = fault.strace() if fault is not None and fault.kind in CALLS else None
        kill_after = fault.at if fault is not None and fault.kind == "time" else None
        return self._start([*self.arguments, *more], options, kill_after, before)

    def places(self, kind: str, more: Sequence[str] = ()) -> list[Place]:
        """Return the system calls of a start, of one kind, in their order; it runs to its end.

        `more` as of the starts that a fault is to meet there: what they say is written, too.
        """
        log, found = self.folder / "calls.txt", []
        options = ["-y", "-o", str(log), "-e", f"trace={CALLS[kind]}"]
        done = self._start([*self.arguments, *more], options, None)
        assert done.code == 0, done.err
        seen: Counter[tuple[str, str]] = Counter()
        for line in log.read_text().splitlines():
            if "resumed>" not in line:
                thread, told = line.split(maxsplit=1)
                call = told.partition("(")[0]
                seen[thread, call] += 1
                found.append(Place(kind, call, seen[thread, call], told))
        return found

    def _start(
        self,
        arguments: list[str],
        options: list[str] | None,
        kill_after: float | None,
        before: Callable[[], None] = nothing,
    ) -> Start:
        self.starts += 1
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        gate, inner = _server().Pipe()
        process = _server().Process(
            target=_child, args=(arguments, str(out), str(err), before, inner)
        )
        process.start()
        inner.close()
        gate.recv()
        tracer = _attach(options, process.pid) if options is not None else None
        timer = threading.Timer(kill_after or 0.0, process.kill)
        try:
            began = time.monotonic()
            gate.send(None)
            if kill_after is not None:
                timer.start()
            process.join(TOO_LONG)
            seconds = time.monotonic() - began
            hangs = process.exitcode is None
        finally:
            timer.cancel()
            process.kill()
            process.join()
            gate.close()
            if tracer is not None:
                tracer.communicate(timeout=TOO_LONG)
        said = err.read_text(errors="replace")
        assert not hangs, f"a start hangs: {arguments}: {said}"
        code = process.exitcode
        process.close()
        return Start(code, out.read_text(), said, seconds, tuple(_done(said)))


@functools.cache
def traceable() -> str:
    """Return why system calls cannot be tampered with here; nothing where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    command = ["strace", "-qqq", "-o", "/dev/null", "-e", "trace=fsync", "-e"]
    command += ["inject=fsync:error=EIO:when=1", sys.executable, "-c", "import os; os.fsync(1)"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if "Input/output error" in tried.stderr else "strace may not trace processes here"


def needs_strace() -> None:
    """Skip the test where system calls cannot be tampered with."""
    why = traceable()
    if why:
        pytest.skip(why)


def limited(kind: int, most: int) -> None:
    """Let this process have no more of a resource; for what a start does before its work."""
    resource.setrlimit(kind, (most, most))

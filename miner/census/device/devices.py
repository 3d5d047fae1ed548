"""Which device counts: the names of `engine.device`, and the GPU of this process."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import itertools
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.errors import UsageError, install_hint

__all__ = [
    "DEVICES",
    "Device",
    "check_device",
    "check_engine",
    "describe_device",
    "device_name",
    "find_gpu",
    "has_gpu",
    "model_device",
    "open_device",
]

DEVICES = ("auto", "cpu", "cuda")
_NAME = re.compile(r"auto|cpu|cuda(:\d+)?|torch:cpu")
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""A machine with a GPU that PyTorch calls ``cuda`` has one of these: NVIDIA, AMD, WSL."""
_LEAST = 1e12
"""With ``auto``, the CPU counts a census of fewer multiplications than this: starting PyTorch and a
GPU takes seconds. Chosen, not measured."""
_FREE = 0.8
"""The share of a GPU's free memory that is planned with."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of PyTorch, and the memory that a block may use.

    Attributes
    ----------
    name : str
        As PyTorch names it: ``cuda:0``, ``cpu``.
    bytes : int
        For one block of anchors.
    room : int
        For the rows.
    roundings : tuple of str
        How to multiply, preferred ones first; float64 keys if none suits. If empty, all ways whose
        bounds hold on the device.
    """

    name: str
    bytes: int
    room: int
    roundings: tuple[str, ...] = ()


def check_device(name: str) -> None:
    """Check the value of `engine.device`.

    Raises
    ------
    UsageError
        If it is no device's name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"engine.device = {name!r} is no device; it is one of {', '.join(DEVICES)}, or one GPU "
            "of several, such as cuda:1"
        )


def has_gpu() -> bool:
    """Whether PyTorch sees a GPU; it is imported only if the machine has a driver."""
    if not any(path.exists() for path in _DRIVERS) or not importlib.util.find_spec("torch"):
        return False
    return bool(_torch("auto").cuda.is_available())


def find_gpu() -> str | None:
    """Return the name of this machine's first GPU; None if there is none."""
    return str(_torch("auto").cuda.get_device_name(0)) if has_gpu() else None


def device_name(name: str, work: float) -> str:
    """Return what counts a census on this machine: ``cpu``, ``torch:cpu``, ``cuda`` or ``cuda:N``.

    Parameters
    ----------
    name : str
        The value of `engine.device`.
    work : float
        The multiplications of the census: anchors times rows times dimensions.

    Raises
    ------
    UsageError
        If a GPU is named, and PyTorch or the GPU is not there.
    """
    check_device(name)
    if name == "auto":
        return "cuda" if work >= _LEAST and has_gpu() else "cpu"
    if name.startswith("cuda"):
        torch, number = _torch(name), int(name.partition(":")[2] or 0)
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if number >= count:
            there = f"only {count}" if count else "no GPU"
            raise UsageError(
                f"engine.device = {name!r}: PyTorch {torch.__version__} sees {there} here; use "
                "'auto', which counts on the CPU where there is none, or 'cpu'"
            )
    elif name == "torch:cpu":
        _torch(name)
    return name


def describe_device(name: str) -> str:
    """Return a device with the name of its GPU, if it is one of this machine."""
    if not name.startswith("cuda") or not has_gpu():
        return name
    torch = _torch(name)
    return f"{name} ({torch.cuda.get_device_name(torch.device(name))})"


def check_engine(name: str, *, here: bool) -> None:
    """Check the value of `engine.device` before any work; the device itself if it counts `here`.

    Raises
    ------
    UsageError
        As `device_name`.
    """
    check_device(name)
    if here and name != "auto":
        device_name(name, 0)


def model_device(name: str) -> str | None:
    """Return the device that models use by default; None if they choose."""
    return {"auto": None, "torch:cpu": "cpu"}.get(name, name)


def open_device(name: str, memory: int, processes: int = 1, threads: int = 1) -> Device:
    """Return the device of this process, with its memory planned.

    Parameters
    ----------
    name : str
        As `device_name` returns it, and not ``cpu``.
    memory : int
        Bytes for a block of keys on the CPU; used by ``torch:cpu``.
    processes : int
        The processes of this machine, which share its GPUs.
    threads : int
        The threads of this process that count at the same time.
    """
    if name == "torch:cpu":
        return Device("cpu", memory, memory)
    torch = _torch(name)
    count = torch.cuda.device_count()
    number = int(name.partition(":")[2]) if ":" in name else _claimed(count)
    sharing = -(-processes // (1 if ":" in name else count))
    free = _FREE * torch.cuda.mem_get_info(number)[0] / sharing
    return Device(f"cuda:{number}", int(free / 2 / threads), int(free / 2))


_CLAIMS: dict[int, int] = {}
"""The GPU of this process and the open file that says so: a process keeps its GPU."""


def _claimed(count: int) -> int:
    """Return the GPU of this process: one that the fewest other processes have."""
    if count < 2:
        return 0
    if not _CLAIMS:
        for place in itertools.count():
            turn, number = divmod(place, count)
            path = Path(tempfile.gettempdir()) / f"mine-{os.getuid()}-gpu-{number}-{turn}"
            handle = os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _CLAIMS[number] = handle
                break
            os.close(handle)
    return next(iter(_CLAIMS))


def _torch(name: str) -> Any:
    """Return PyTorch."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError(
            f"engine.device = {name!r}: PyTorch is not installed; {install_hint('torch')}"
        )
    import torch

    return torch

"""Compiled loops: the only package that imports numba. Other code calls `load_loops`."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from miner.errors import UsageError, did_you_mean, install_hint

__all__ = [
    "cache_folder",
    "choose_loops",
    "has_numba",
    "is_cold",
    "load_device_walk",
    "load_loops",
    "pick_kernel",
]

_NAMES = ("auto", "numba", "numpy")
_SMALL, _TINY = 1 << 28, 1 << 25
"""Censuses with at most this many keys: NumPy counts `_SMALL` in about the time that compiling the
loops takes, and `_TINY` in about the time that loading compiled loops takes."""


def has_numba() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def pick_kernel(keys: int, *, repeated: bool = False) -> str:
    """Return ``numba`` or ``numpy``: how to count a census of `keys` anchors x rows.

    NumPy counts a small census unless the loops are already compiled, and a tiny one always, unless
    counting is `repeated` in this process and it pays to load the loops. The results are the same.
    """
    if (keys <= _TINY and not repeated) or not has_numba():
        return "numpy"
    return "numba" if keys > _SMALL or not is_cold() else "numpy"


def is_cold() -> bool:
    """Whether the loops must be compiled before they can count."""
    return not _is_compiled(load_loops("lines").between_loop)


def cache_folder() -> str | None:
    """Return the folder of numba's compiled loops; None without numba or such a folder."""
    loops = load_loops("lines")
    folder: str | None = loops.between_loop.stats.cache_path if loops else None
    return folder


def _is_compiled(function: Any) -> bool:
    """Whether numba's cache on disk holds the current version of a function."""
    folder = function.stats.cache_path
    if folder is None:  # no folder for a cache
        return False
    source = Path(function.py_func.__code__.co_filename)
    found = Path(folder).glob(f"{source.stem}.{function.py_func.__name__}-*.nbi")
    return any(one.stat().st_mtime >= source.stat().st_mtime for one in found)


def load_loops(module: str) -> Any:
    """Return a module of this package by name, or None if numba is not installed."""
    if not has_numba():
        return None
    return importlib.import_module(f"miner.census.kernels.{module}")


def load_device_walk() -> Any:
    """Return the class that counts on a device of PyTorch, which it imports."""
    return importlib.import_module("miner.census.device.walk").DeviceWalk


def choose_loops(name: str, module: str) -> Any:
    """Return a module of compiled loops if the named implementation uses it, else None.

    Parameters
    ----------
    name : str
        ``numpy``, ``numba``, or ``auto`` for numba if it is installed.
    module : str
        As for `load_loops`.

    Raises
    ------
    UsageError
        If the name is unknown, or is ``numba`` and numba is not installed.
    """
    if name not in _NAMES:
        raise UsageError(f"unknown kernel {name!r}: {did_you_mean(name, _NAMES)}")
    loops = None if name == "numpy" else load_loops(module)
    if loops is None and name == "numba":
        raise UsageError(
            "kernel 'numba': numba is not installed; use 'numpy', or " + install_hint("fast")
        )
    return loops

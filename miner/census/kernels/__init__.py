"""Compiled loops. The only place that imports numba; `load_loops` is its door."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from miner.errors import UsageError, did_you_mean, install_hint

__all__ = ["cache_folder", "choose_loops", "has_numba", "is_cold", "load_loops", "pick_kernel"]

_NAMES = ("auto", "numba", "numpy")
_SMALL, _TINY = 1 << 28, 1 << 25
"""Keys that NumPy counts in the seconds that compiling takes; in the second that loading compiled
loops takes."""


def has_numba() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def pick_kernel(keys: int) -> str:
    """Return ``numba`` or ``numpy``: how to count a census of `keys` anchors x rows.

    A small census is counted by NumPy until the loops are compiled, a tiny one always: the results
    are the same.
    """
    if keys <= _TINY or not has_numba():
        return "numpy"
    return "numba" if keys > _SMALL or not is_cold() else "numpy"


def is_cold() -> bool:
    """Whether loops have to be compiled before they can count."""
    return not _is_compiled(load_loops("lines").between_loop)


def cache_folder() -> str | None:
    """Return the folder of numba's compiled loops; None without numba or such a folder."""
    loops = load_loops("lines")
    folder: str | None = loops.between_loop.stats.cache_path if loops else None
    return folder


def _is_compiled(function: Any) -> bool:
    """Whether numba's cache on disk holds a function as its source is now."""
    folder = function.stats.cache_path
    if folder is None:  # there is no place for a cache
        return False
    source = Path(function.py_func.__code__.co_filename)
    found = Path(folder).glob(f"{source.stem}.{function.py_func.__name__}-*.nbi")
    return any(one.stat().st_mtime >= source.stat().st_mtime for one in found)


def load_loops(module: str) -> Any:
    """Return a module of compiled loops by its name here, or None where numba is not installed."""
    if not has_numba():
        return None
    return importlib.import_module(f"miner.census.kernels.{module}")


def choose_loops(name: str, module: str) -> Any:
    """Return a module of compiled loops where an implementation's name asks for it, else None.

    Parameters
    ----------
    name : str
        ``numpy``, ``numba``, or ``auto`` for numba where it is installed.
    module : str
        As for `load_loops`.

    Raises
    ------
    UsageError
        When there is no such name, or numba is asked for by name and not installed.
    """
    if name not in _NAMES:
        raise UsageError(f"unknown kernel {name!r}: {did_you_mean(name, _NAMES)}")
    loops = None if name == "numpy" else load_loops(module)
    if loops is None and name == "numba":
        raise UsageError(
            "kernel 'numba': numba is not installed; name 'numpy', or " + install_hint("fast")
        )
    return loops

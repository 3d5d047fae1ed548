"""Compiled loops. The only place that imports numba; `load_loops` is its door."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from miner.errors import UsageError, did_you_mean

__all__ = ["choose_loops", "load_loops"]

_NAMES = ("auto", "numba", "numpy")


def load_loops(module: str) -> Any:
    """Return a module of compiled loops by its name here, or None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
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
        raise UsageError("kernel 'numba': numba is not installed; install it, or name 'numpy'")
    return loops

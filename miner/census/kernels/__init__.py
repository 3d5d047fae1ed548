"""Compiled loops. The only place that imports numba; `load_loops` is its door."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from miner.errors import UsageError, did_you_mean, install_hint

__all__ = ["choose_loops", "kernel_name", "load_loops"]

_NAMES = ("auto", "numba", "numpy")


def kernel_name() -> str:
    """Return which loops a census is counted by: ``numba``, or ``numpy`` where it is missing."""
    return "numpy" if importlib.util.find_spec("numba") is None else "numba"


def load_loops(module: str) -> Any:
    """Return a module of compiled loops by its name here, or None where numba is not installed."""
    if kernel_name() == "numpy":
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

"""Compiled loops. The only place that imports numba; `load_loops` is its door."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

__all__ = ["load_loops"]


def load_loops(module: str) -> Any:
    """Return a module of compiled loops by its name here, or None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    return importlib.import_module(f"miner.census.kernels.{module}")

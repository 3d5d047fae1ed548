"""Heavy libraries that an extra brings: asked for when tests are collected, imported when they run.

What sentence-transformers imports takes longer than most files of tests, and each process of
`pytest -n` would import it to collect what another runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any

import pytest


class _Later:
    """Stand in for a module until something of it is wanted."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, wanted: str) -> Any:
        if wanted.startswith("_"):  # pytest asks of all that it collects
            raise AttributeError(wanted)
        with warnings.catch_warnings():  # as `pytest.importorskip` does: they are for its authors
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(self._name), wanted)


def later(name: str) -> Any:
    """Return a module that is imported at its first use; skip the file where it is missing."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return _Later(name)

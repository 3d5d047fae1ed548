"""The versions of what decides results: they must be the same wherever units of a run are done."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

import miner

__all__ = ["package_versions"]

_PACKAGES = ("numpy", "pyarrow", "faiss-cpu", "joblib", "numba")


@functools.cache
def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_versions() -> dict[str, str | None]:
    """Return the versions of this program, Python, and what decides results and speed."""
    own = {"mine": miner.__version__, "python": platform.python_version()}
    return own | {name: _installed(name) for name in _PACKAGES}

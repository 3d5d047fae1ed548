"""The version of this program, and the versions of the packages that decide its results."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "package_versions"]

__version__ = "0.1.0"

_PACKAGES = ("numpy", "pyarrow", "faiss-cpu", "joblib", "numba")


@functools.cache
def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_versions() -> dict[str, str | None]:
    """Return the versions of this program, of Python, and of the packages in `_PACKAGES`."""
    own = {"mine": __version__, "python": platform.python_version()}
    return own | {name: _installed(name) for name in _PACKAGES}

"""The version of this program, and the versions of the packages that decide its results."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "installed_version", "package_versions"]

__version__ = "0.1.0"

_PACKAGES = ("numpy", "pyarrow", "faiss-cpu", "joblib", "numba")


@functools.cache
def installed_version(name: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def package_versions() -> dict[str, str | None]:
    """Return the versions of this program, of Python, and of the packages in `_PACKAGES`."""
    own = {"mine": __version__, "python": platform.python_version()}
    return own | {name: installed_version(name) for name in _PACKAGES}

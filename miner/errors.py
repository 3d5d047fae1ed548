"""The error tree. Each class owns the exit code of the command line.

::

    MineError            1  internal error
    |-- UsageError       2  wrong usage, or a job file that cannot be followed
    |-- DataError        3  bad input data
    |-- LockError        4  another run holds the output
    |-- GateError        5  a quality gate failed
    `-- StorageError     6  storage failed
        |-- DamageError  6  a file that mine wrote has changed since
        `-- EngineError  6  an engine failed

A message says what is wrong, where (file, row, column, key) and what to do, in one or two lines.
The command line prints it unchanged.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

__all__ = [
    "DISTRIBUTION",
    "DamageError",
    "DataError",
    "EngineError",
    "GateError",
    "LockError",
    "MineError",
    "StorageError",
    "UsageError",
    "did_you_mean",
    "install_hint",
]

DISTRIBUTION = "tripletmine"
"""The name of this package on the package index."""
_CHECKOUT = Path(__file__).parents[1]
"""The root of the source tree, or ``site-packages`` if the package is installed."""


class MineError(Exception):
    """Base class of all errors that `mine` reports to its user."""

    exit_code = 1


class UsageError(MineError):
    """A wrong option, job key or name."""

    exit_code = 2


class DataError(MineError):
    """Input data that cannot be mined."""

    exit_code = 3


class LockError(MineError):
    """Another run is writing to the output root."""

    exit_code = 4


class GateError(MineError):
    """A quality gate of the job was not met."""

    exit_code = 5


class StorageError(MineError):
    """A read or write failed."""

    exit_code = 6


class DamageError(StorageError):
    """A file that `mine` wrote has changed since."""


class EngineError(StorageError):
    """The engine that distributes the units over workers failed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint with the most similar known name and the list of all known names.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        The names that are accepted.

    Returns
    -------
    str
        For example ``did you mean 'cosine'? Known: cosine, dot, euclidean.``
    """
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(names) if names else '(none)'}."


def install_hint(extra: str) -> str:
    """Return the command that installs an extra of this package into this environment.

    A source tree is installed from its folder, an installed package from the package index. The
    command starts with ``pip`` if the ``pip`` on the PATH belongs to this environment, otherwise
    with this Python and ``-m pip``.

    Parameters
    ----------
    extra : str
        The name of the extra, such as ``text``.

    Returns
    -------
    str
        For example ``pip install 'tripletmine[text]'``.
    """
    if not (_CHECKOUT / "pyproject.toml").is_file():
        what = DISTRIBUTION
    elif Path.cwd() == _CHECKOUT:
        what = "."
    else:
        what = str(_CHECKOUT)
    pip, python = shutil.which("pip"), Path(sys.executable)
    if pip is not None and Path(pip).parent == python.parent:
        command = "pip"
    else:
        command = f"{shlex.quote(os.path.relpath(python))} -m pip"
    return f"{command} install {shlex.quote(f'{what}[{extra}]')}"

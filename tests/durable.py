"""What happens at a durable write: every file and folder of ours gets its final name by a rename.

DESIGN.md fixes those names (sections 5 and 6), so a crash, a full disk or another process at that
moment is played here by them, whatever function of the package writes. Standard library only: code
of a process of its own imports it too.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Crash", "at_rename", "crash", "die", "full_disk"]

Act = Callable[[Path, Path], Any]
"""Called with the temporary and the final name."""


class Crash(Exception):
    """The end of a process, as far as one process can play it."""


def crash(temporary: Path, final: Path) -> None:
    """End as an exception that nobody expects."""
    raise Crash


def die(temporary: Path, final: Path) -> None:
    """End the process at once, as SIGKILL does."""
    os._exit(9)


def full_disk(temporary: Path, final: Path) -> None:
    """Refuse the write."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(final))


def at_rename(
    pattern: str,
    act: Act,
    at: int | None = 1,
    *,
    late: bool = False,
    patch: Callable[[Any, str, Any], None] = setattr,
) -> None:
    """Call `act` before, or `late`: after, a rename to a path that matches a pattern.

    Parameters
    ----------
    pattern : str
        Of the last parts of the final path, as of `Path.match`: ``runs/*``, ``part-*.parquet``.
    act : callable
    at : int or None
        The number of the rename that is meant, from 1; None: all, one after another.
    late : bool
    patch : callable
        The `setattr` of a monkeypatch; by default it lasts as long as the process.
    """
    numbers, one_by_one = itertools.count(1), threading.RLock()

    def renaming(real: Callable[..., Any], source: Any, target: Any, **more: Any) -> Any:
        final = Path(target)
        meant = final.match(pattern) and at in (None, next(numbers))
        if meant and not late:
            with one_by_one:
                act(Path(source), final)
        real(source, target, **more)
        if meant and late:
            with one_by_one:
                act(Path(source), final)

    for name in ("rename", "replace"):
        real = getattr(os, name)
        patch(os, name, lambda *given, _real=real, **more: renaming(_real, *given, **more))

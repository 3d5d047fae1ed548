"""Lists the finished runs of an output root, and holds one while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from miner.errors import StorageError, UsageError
from miner.runs.opening import TRIES, open_run
from miner.runs.run import MANIFEST, Run
from miner.storage.remote.base import open_folder
from miner.storage.urls import check_url, is_url

__all__ = ["held_run", "list_runs", "run_places"]


def list_runs(out: str | Path) -> tuple[list[Run], list[str]]:
    """Return the finished runs of an output root, oldest first, and the errors of unreadable runs.

    A run that is removed meanwhile is in neither list.

    Parameters
    ----------
    out : str or Path
        A folder or a URL.
    """
    runs, problems = [], []
    for place in run_places(out):
        try:
            runs.append(open_run(place))
        except UsageError:  # it was removed meanwhile
            continue
        except StorageError as error:
            if place in run_places(out):
                problems.append(str(error))
    return runs, problems


def run_places(out: str | Path) -> list[str]:
    """Return the paths or URLs of the runs with a manifest in an output root, oldest first."""
    if not is_url(out):
        return [str(path.parent) for path in sorted(Path(out).glob("runs/*/manifest.json"))]
    url = check_url(str(out), "OUT")
    names = (entry.name.split("/") for entry in open_folder(url, "OUT").entries("runs/"))
    return [f"{url}/runs/{name[1]}" for name in names if name[2:] == [MANIFEST]]


@contextmanager
def held_run(path: str | Path) -> Iterator[Run]:
    """Open a run as `open_run` does, and keep `mine prune` from removing it until the block ends.

    Parameters
    ----------
    path : str or Path
    """
    for last in (*[False] * TRIES, True):
        run = open_run(path)
        with run.held():
            if last or run.remote is not None or (run.path / MANIFEST).exists():
                yield run
                return

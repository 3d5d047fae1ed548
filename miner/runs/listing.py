"""Lists the finished runs of an output root."""

from __future__ import annotations

from pathlib import Path

from miner.errors import StorageError
from miner.runs.run import MANIFEST, Run, open_run
from miner.storage.remote.base import open_folder
from miner.storage.urls import check_url, is_url

__all__ = ["list_runs", "run_places"]


def list_runs(out: str | Path) -> tuple[list[Run], list[str]]:
    """Return the finished runs of an output root, oldest first, and the errors of unreadable runs.

    Parameters
    ----------
    out : str or Path
        A folder or a URL.
    """
    runs, problems = [], []
    for place in run_places(out):
        try:
            runs.append(open_run(place))
        except StorageError as error:
            problems.append(str(error))
    return runs, problems


def run_places(out: str | Path) -> list[str]:
    """Return the paths or URLs of the runs with a manifest in an output root, oldest first."""
    if not is_url(out):
        return [str(path.parent) for path in sorted(Path(out).glob("runs/*/manifest.json"))]
    url = check_url(str(out), "OUT")
    names = (entry.name.split("/") for entry in open_folder(url, "OUT").entries("runs/"))
    return [f"{url}/runs/{name[1]}" for name in names if name[2:] == [MANIFEST]]

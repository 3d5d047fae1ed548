"""Open finished runs, on a disk or in object storage."""

from __future__ import annotations

import time
from pathlib import Path

from miner.errors import MineError, StorageError, UsageError
from miner.runs.manifest_schema import checked_manifest, is_plain_name
from miner.runs.run import MANIFEST, Run, copied_folder
from miner.storage.json_files import parse_json, read_json
from miner.storage.remote.base import open_folder
from miner.storage.urls import check_url, is_url

__all__ = ["TRIES", "as_run", "latest_id", "open_run"]

TRIES, _NAP = 3, 0.02
"""How often a run that went is looked for again, and the seconds between."""


def open_run(path: str | Path) -> Run:
    """Return the finished run at a path.

    Parameters
    ----------
    path : str or Path
        The folder of a run, such as ``mined/latest``, or an output root, whose latest run is
        opened; or the URL of one, such as ``s3://bucket/mined/latest``.

    Raises
    ------
    UsageError
        If the path does not exist or is a file.
    StorageError
        If there is no finished run, or the run has a newer format.
    """
    for _ in range(TRIES if _moves(path) else 0):
        try:
            return _opened(path)
        except MineError:  # it may have been switched to another run, and the old one removed
            time.sleep(_NAP)
    return _opened(path)


def as_run(run: Run | str | Path) -> Run:
    """Return a run unchanged, or open the run at a path; see `open_run`."""
    return run if isinstance(run, Run) else open_run(run)


def _moves(path: str | Path) -> bool:
    """Whether a path names another run as soon as there is a newer one."""
    if is_url(path):
        return "/runs/" not in str(path)
    return Path(path).is_symlink() or (Path(path) / "latest").is_symlink()


def _opened(path: str | Path) -> Run:
    if is_url(path):
        return _open_remote(check_url(str(path), "RUN"))
    folder = Path(path)
    if not folder.exists():
        raise UsageError(
            f"no run at {path}; `mine run` makes one, `mine runs OUT` lists those of OUT"
        )
    if not folder.is_dir():
        raise UsageError(f"{path} is a file; name a run's folder, or the output folder of a job")
    if not (folder / MANIFEST).exists() and (folder / "latest").exists():
        folder = folder / "latest"
    folder = folder.resolve()
    if not (folder / MANIFEST).exists():
        raise StorageError(f"{path} is not a finished run: there is no manifest.json in it")
    return Run(folder, checked_manifest(read_json(folder / MANIFEST), str(folder)))


def _open_remote(url: str) -> Run:
    """Return the run at a URL: of a run, of an output root, or of ``latest`` in one."""
    folder = open_folder(url, "RUN")
    content = folder.read(MANIFEST)
    if content is None:
        pointed = latest_id(url)
        if pointed is None and url.endswith("/latest"):
            url = url.removesuffix("/latest")
            pointed = latest_id(url)
        if pointed is None and not folder.entries():
            raise UsageError(f"no run at {url}; `mine runs OUT` lists those of OUT")
        if pointed is not None:
            folder = open_folder(f"{url}/runs/{pointed}", "RUN")
            content = folder.read(MANIFEST)
    if content is None:
        raise StorageError(f"{folder.url} is not a finished run: there is no manifest.json in it")
    manifest = checked_manifest(parse_json(content, f"{folder.url}/manifest.json"), folder.url)
    place = folder.url.partition("://")[2].lstrip("/")
    return Run(copied_folder(folder, manifest) / place, manifest, folder)


def latest_id(out: str | Path) -> str | None:
    """Return the id of the latest run of an output root, or None if there is none.

    Parameters
    ----------
    out : str or Path
        A folder or a URL.
    """
    if not is_url(out):
        latest = Path(out) / "latest"
        return latest.resolve().name if latest.exists() else None
    content = open_folder(str(out), "OUT").read("latest.json")
    facts = None if content is None else parse_json(content, f"{out}/latest.json")
    name = facts.get("run_id") if isinstance(facts, dict) else None
    return name if is_plain_name(name) else None

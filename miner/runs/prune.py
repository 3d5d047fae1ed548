"""`mine prune`: removes unfinished work, uploads without a run, and old runs.

An unfinished run can resume from its staging folder and its uploads. They are removed only if they
are old, or if the uploads have no staging folder.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from miner.errors import UsageError
from miner.formatting import bytes_text
from miner.runs.listing import list_runs, run_places
from miner.runs.opening import latest_id
from miner.runs.publishing import RemoteOutput, open_output
from miner.runs.run import MANIFEST
from miner.runs.staging import Output
from miner.storage.files import storage_errors
from miner.storage.json_files import read_json
from miner.storage.locks import try_exclusive
from miner.storage.os_errors import publication_state
from miner.storage.remote.base import Entry, Folder

__all__ = ["describe_pruned", "prune_output"]

_HOUR = 3600
_LEFT = "not everything was removed; run the same command again"


@dataclass(frozen=True, slots=True)
class _Removable:
    """A file, folder or upload that can be removed, and the function that removes it."""

    kind: str
    path: str
    bytes: int
    remove: Callable[[], None]


def prune_output(
    out: str | Path, *, keep: int | None = None, hours: float = 24, dry_run: bool = False
) -> dict[str, Any]:
    """Remove unfinished work and, with `keep`, old runs from an output root.

    Parameters
    ----------
    out : str or Path
        A folder or a URL.
    keep : int or None
        The number of newest runs to keep; None keeps all. The run that ``latest`` names is always
        kept, and on a disk also a run that is being read (`Run.held`).
    hours : float
        Unfinished work is removed if it is older than this.
    dry_run : bool
        Remove nothing, only return what would be removed.

    Returns
    -------
    dict
        ``removed`` (kind, path, bytes), the total ``bytes``, ``dry_run``, and ``in_use``, the paths
        of the runs that were kept only because they are being read. Kinds: ``run``; ``staging``,
        the work of an unfinished run; ``partial``, another unfinished file or folder; ``upload``,
        objects of a run without a manifest; ``data``, a table that a caller of `miner.mine` had in
        memory, of which no run is left.

    Raises
    ------
    UsageError
        If there is no such folder.
    StorageError
        If something cannot be removed.
    LockError
        If a run is in progress in the output root.
    """
    output = open_output(str(out))
    if not isinstance(output, RemoteOutput) and not output.root.is_dir():
        what = "it is a file, not a folder" if output.root.exists() else "no such folder"
        raise UsageError(f"{out}: {what}; name the output folder of a job")
    read: list[str] = []
    with nullcontext() if dry_run else output.held(brief=True), ExitStack() as locks:
        found = [*_here(output, hours * _HOUR)]
        if isinstance(output, RemoteOutput):
            found += _uploads(output, hours * _HOUR)
        for run in _old_runs(output, keep) if keep is not None else ():
            # Readers of object storage are unknown: a URL has no file to lock.
            if locks.enter_context(try_exclusive(Path(run.path) / MANIFEST)):
                found.append(run)
            else:
                read.append(run.path)
        found += _unused_data(output, {PurePath(one.path).name for one in found}, hours * _HOUR)
        for item in [] if dry_run else found:
            item.remove()
    return {
        "dry_run": dry_run,
        "in_use": read,
        "bytes": sum(one.bytes for one in found),
        "removed": [{"kind": one.kind, "path": one.path, "bytes": one.bytes} for one in found],
    }


def _here(output: Output, older: float) -> Iterator[_Removable]:
    """Yield unfinished work on this machine."""
    for folder in sorted((output.root / ".staging").glob("*")):
        begun = (folder / "staging.json").exists()
        if not begun or _age(folder) > older or output.holds(folder.name):
            yield _local("staging", folder)
    partial = ("*.tmp", ".*.tmp", "exports/.*.tmp", "exports/.*.old", ".store/.*.partial")
    for path in sorted({path for pattern in partial for path in output.root.glob(pattern)}):
        if _age(path) > older:
            yield _local("partial", path)


def _unused_data(output: Output, removed: set[str], older: float) -> Iterator[_Removable]:
    """Yield the tables in ``.data`` that no run has but those in `removed`."""
    files = sorted((output.root / ".data").glob("*.parquet"))
    runs, unread = list_runs(output.where) if files else ([], [])
    kept = [run.manifest["job"]["dataset"] for run in runs if run.path.name not in removed]
    used = {PurePath(str(dataset.get("path"))).name for dataset in kept}
    for path in [] if unread else files:
        if path.name not in used and _age(path) > older:
            yield _local("data", path)


def _age(path: Path) -> float:
    """Return the seconds since the last write to a file, or to anything in a folder."""
    now = time.time()
    return now - max((one.st_mtime for one in _stats(path)), default=now)


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Yield the status of a path and of everything below it that still exists."""
    within = (
        Path(folder, name)
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )
    for one in (path, *within):
        with suppress(FileNotFoundError):
            yield one.lstat()


def _local(kind: str, path: Path) -> _Removable:
    size = sum(one.st_size for one in _stats(path) if stat.S_ISREG(one.st_mode))

    def remove() -> None:
        with publication_state(_LEFT), storage_errors(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    return _Removable(kind, str(path), size, remove)


def _uploads(output: RemoteOutput, older: float) -> Iterator[_Removable]:
    """Yield the uploads of runs that were never published."""
    folder, now = output.folder, output.folder.now()
    uploaded: dict[str, list[Entry]] = {}
    for entry in folder.entries("runs/"):
        uploaded.setdefault(entry.name.split("/")[1], []).append(entry)
    for run_id, entries in uploaded.items():
        if any(entry.name == f"runs/{run_id}/{MANIFEST}" for entry in entries):
            continue
        newest = max(entry.modified for entry in entries)
        # If the run resumes on this machine, it uses its uploads.
        resumable = (output.root / ".staging" / run_id / "staging.json").exists()
        if now - newest > older or not resumable:
            yield _remote("upload", folder, f"runs/{run_id}", entries)


def _remote(kind: str, folder: Folder, name: str, entries: list[Entry]) -> _Removable:
    manifest = f"{name}/{MANIFEST}"
    names = [entry.name for entry in entries]

    def remove() -> None:
        if manifest in names:  # first: readers ignore a run without a manifest
            folder.remove([manifest])
        folder.remove(name for name in names if name != manifest)

    return _Removable(kind, f"{folder.url}/{name}", sum(entry.bytes for entry in entries), remove)


def _old_runs(output: Output, keep: int) -> Iterator[_Removable]:
    """Yield all but the newest `keep` runs, without the run that ``latest`` names."""
    names = sorted(place.rpartition("/")[2] for place in run_places(output.where))
    latest = _named(output)
    for name in names[: max(0, len(names) - keep)]:
        if name in latest:
            continue
        if isinstance(output, RemoteOutput):
            entries = output.folder.entries(f"runs/{name}/")
            yield _remote("run", output.folder, f"runs/{name}", entries)
        else:
            yield _published(output.root, name)


def _named(output: Output) -> set[str | None]:
    """Return the runs that ``latest`` names: two if a process died while switching it."""
    names = {latest_id(output.where)}
    record = output.root / "latest.json"
    if not isinstance(output, RemoteOutput) and record.exists():
        facts = read_json(record)
        names.add(facts.get("run_id") if isinstance(facts, dict) else None)
    return names


def _published(root: Path, name: str) -> _Removable:
    """Return a run on a local disk; it is first renamed, in one atomic step, and then removed."""
    path, hidden = root / "runs" / name, root / ".staging" / f"{name}.removed"

    def remove() -> None:
        with publication_state(_LEFT), storage_errors(path):
            hidden.parent.mkdir(exist_ok=True)
            path.rename(hidden)
            shutil.rmtree(hidden)

    return replace(_local("run", path), remove=remove)


def describe_pruned(facts: dict[str, Any]) -> str:
    """Return a text that lists the removed items of an output root, one line each.

    Parameters
    ----------
    facts : dict
        The result of `prune_output`.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    verb = "would be removed" if facts["dry_run"] else "removed"
    lines = [
        f"{one['kind']:<8} {bytes_text(one['bytes']):>14}  {one['path']}"
        for one in facts["removed"]
    ]
    used = [f"in use, so it stays: {path}" for path in facts["in_use"]]
    return "\n".join([*lines, *used, f"{len(lines)} {verb}, {bytes_text(facts['bytes'])}"])

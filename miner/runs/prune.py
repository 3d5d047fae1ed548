"""`mine prune`: removing what nobody will read: unfinished work, orphaned uploads, old runs.

What is still of use is left alone: an unfinished run goes on with its staging and with what it
uploaded, so both go only when they are old, or when the one is there without the other.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miner.errors import UsageError
from miner.formatting import bytes_text
from miner.runs.listing import run_places
from miner.runs.publishing import RemoteOutput, open_output
from miner.runs.run import MANIFEST, latest_id
from miner.runs.staging import Output
from miner.storage.files import storage_errors
from miner.storage.json_files import read_json
from miner.storage.locks import try_exclusive
from miner.storage.os_errors import publication_state
from miner.storage.remote.base import Entry, Folder

__all__ = ["describe_pruned", "prune_output"]

_HOUR = 3600
_LEFT = "not all was removed; the same command goes on"


@dataclass(frozen=True, slots=True)
class _Leftover:
    """Something to be removed, and how."""

    kind: str
    path: str
    bytes: int
    remove: Callable[[], None]


def prune_output(
    out: str | Path, *, keep: int | None = None, hours: float = 24, dry_run: bool = False
) -> dict[str, Any]:
    """Remove what is left over in an output root.

    Parameters
    ----------
    out : str or Path
        A folder or a URL.
    keep : int or None
        How many runs stay, the newest ones; the one that ``latest`` names stays too, and on a disk
        one that is being read (`Run.held`). None: all.
    hours : float
        Unfinished work goes when it is older.
    dry_run : bool
        Remove nothing, only say what would go.

    Returns
    -------
    dict
        ``removed`` (kind, path, bytes), the total ``bytes``, ``dry_run``, and ``in_use``, the paths
        of the runs that would have gone but for those who read them. Kinds: ``run``;
        ``staging``, of a run that did not end; ``partial``, of another file or folder; ``upload``,
        objects of a run without a manifest.

    Raises
    ------
    UsageError
        When there is no such folder.
    StorageError
        When something cannot be removed.
    LockError
        When a run is at work there.
    """
    output = open_output(str(out))
    if not isinstance(output, RemoteOutput) and not output.root.is_dir():
        what = "it is a file, not a folder" if output.root.exists() else "no such folder"
        raise UsageError(f"{out}: {what}; name the output folder of a job")
    read: list[str] = []
    with nullcontext() if dry_run else output.held(), ExitStack() as unreading:
        found = [*_here(output, hours * _HOUR)]
        if isinstance(output, RemoteOutput):
            found += _uploads(output, hours * _HOUR)
        for run in _old_runs(output, keep) if keep is not None else ():
            # Who reads on object storage is not known: a URL has no file to lock.
            if unreading.enter_context(try_exclusive(Path(run.path) / MANIFEST)):
                found.append(run)
            else:
                read.append(run.path)
        for leftover in [] if dry_run else found:
            leftover.remove()
    return {
        "dry_run": dry_run,
        "in_use": read,
        "bytes": sum(one.bytes for one in found),
        "removed": [{"kind": one.kind, "path": one.path, "bytes": one.bytes} for one in found],
    }


def _here(output: Output, older: float) -> Iterator[_Leftover]:
    """Find unfinished work on this machine."""
    for folder in sorted((output.root / ".staging").glob("*")):
        begun = (folder / "staging.json").exists()
        if not begun or _age(folder) > older or output.holds(folder.name):
            yield _local("staging", folder)
    partial = ("*.tmp", ".*.tmp", "exports/.*.tmp", "exports/.*.old", ".store/.*.partial")
    for path in sorted({path for pattern in partial for path in output.root.glob(pattern)}):
        if _age(path) > older:
            yield _local("partial", path)


def _age(path: Path) -> float:
    """Return how long ago something was last written in a folder, or a file."""
    times = [one.lstat().st_mtime for one in (path, *path.rglob("*"))]
    return time.time() - max(times)


def _local(kind: str, path: Path) -> _Leftover:
    files = (one for one in (path, *path.rglob("*")) if one.is_file() and not one.is_symlink())

    def remove() -> None:
        with publication_state(_LEFT), storage_errors(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    return _Leftover(kind, str(path), sum(one.stat().st_size for one in files), remove)


def _uploads(output: RemoteOutput, older: float) -> Iterator[_Leftover]:
    """Find what was uploaded of runs that were never published."""
    folder, now = output.folder, output.folder.now()
    uploaded: dict[str, list[Entry]] = {}
    for entry in folder.entries("runs/"):
        uploaded.setdefault(entry.name.split("/")[1], []).append(entry)
    for run_id, entries in uploaded.items():
        if any(entry.name == f"runs/{run_id}/{MANIFEST}" for entry in entries):
            continue
        newest = max(entry.modified for entry in entries)
        # The same command, on this machine, would use what it has uploaded.
        goes_on = (output.root / ".staging" / run_id / "staging.json").exists()
        if now - newest > older or not goes_on:
            yield _remote("upload", folder, f"runs/{run_id}", entries)


def _remote(kind: str, folder: Folder, name: str, entries: list[Entry]) -> _Leftover:
    manifest = f"{name}/{MANIFEST}"
    names = [entry.name for entry in entries]

    def remove() -> None:
        if manifest in names:  # first: a run without it is none, however far the rest gets
            folder.remove([manifest])
        folder.remove(name for name in names if name != manifest)

    return _Leftover(kind, f"{folder.url}/{name}", sum(entry.bytes for entry in entries), remove)


def _old_runs(output: Output, keep: int) -> Iterator[_Leftover]:
    """Find the runs beyond the newest, but not the one that ``latest`` names."""
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
    """Return the run that ``latest`` names: two, where a process died as it switched it."""
    names = {latest_id(output.where)}
    record = output.root / "latest.json"
    if not isinstance(output, RemoteOutput) and record.exists():
        facts = read_json(record)
        names.add(facts.get("run_id") if isinstance(facts, dict) else None)
    return names


def _published(root: Path, name: str) -> _Leftover:
    """Return a run on a local disk: it is taken out of sight in one step, then removed."""
    path, hidden = root / "runs" / name, root / ".staging" / f"{name}.removed"

    def remove() -> None:
        with publication_state(_LEFT), storage_errors(path):
            hidden.parent.mkdir(exist_ok=True)
            path.rename(hidden)
            shutil.rmtree(hidden)

    return replace(_local("run", path), remove=remove)


def describe_pruned(facts: dict[str, Any]) -> str:
    """Say what was removed of an output root, a line each.

    Parameters
    ----------
    facts : dict
        As `prune_output` gives them.

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

"""Disk space of vectors and counts: list the entries, and remove those unused longest."""

from __future__ import annotations

import shutil
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from miner.errors import DamageError, StorageError
from miner.formatting import bytes_text
from miner.job import Job
from miner.job_sections import OutputJob
from miner.storage.files import storage_errors
from miner.storage.json_files import read_json
from miner.storage.locks import lock_output
from miner.storage.urls import expanded, local_root

__all__ = [
    "CacheEntry",
    "describe_kept",
    "keep_within",
    "kept_facts",
    "list_kept",
    "prune_vectors",
]

Kind = Literal["cache", "store", "count", "candidate", "pool"]

_MADE: tuple[Kind, ...] = ("count", "candidate", "pool")
"""Kinds of entries in a store's folder, each in a folder with this name and an s."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An entry of the cache or the stores: a folder that a run can make again.

    Attributes
    ----------
    kind : str
        ``cache``: the vectors of one model by content; ``store``: one embedded data set;
        ``count``: the counts of a store for one metric and margin; ``candidate``: what other
        retrievers propose; ``pool``: triplets of a store with a teacher's scores. These three lie
        in their store's folder and are removed with it; their bytes are not included in the
        store's.
    path : Path
    model : str
        The model's name in the job that made the entry.
    bytes : int
    used : float
        The time of the last use, in seconds since 1970.
    """

    kind: Kind
    path: Path
    model: str
    bytes: int
    used: float


def list_kept(cache: Path, stores: Path) -> list[CacheEntry]:
    """List the generations of a cache, the stores, and what was made from them, last used first."""
    found = [*_read("cache", cache, "model.json"), *_read("store", stores, "store.json")]
    for store in found.copy():
        if store.kind == "store":
            made = (store.path, store.model)
            for kind in _MADE:
                found += _made(kind, *made)
    return sorted(found, key=lambda kept: (-kept.used, kept.path))


def _made(kind: Kind, store: Path, model: str) -> Iterator[CacheEntry]:
    """Yield what was made from a store: its counts or its pools."""
    return _read(kind, store / f"{kind}s", "record.json", model)


def _read(kind: Kind, root: Path, described: str, model: str = "?") -> Iterator[CacheEntry]:
    for path in root.glob(f"*/{described}"):
        try:
            facts, used = _described(path), path.stat().st_mtime
            size = sum(one.stat().st_size for one in path.parent.iterdir() if one.is_file())
        except (StorageError, OSError):  # another process has removed it
            continue
        yield CacheEntry(kind, path.parent, _model_name(facts) or model, size, used)


def _described(path: Path) -> Any:
    """Return the description in a folder; None if it is damaged."""
    try:
        return read_json(path)
    except DamageError:
        return None


def _model_name(facts: Any) -> str | None:
    """Return the model's name in a description; None if it is damaged or has none."""
    named = [facts, facts.get("model")] if isinstance(facts, dict) else []
    names = (one.get("id") for one in named if isinstance(one, dict))
    return next((name for name in names if isinstance(name, str)), None)


def _prune(
    kept: Iterable[CacheEntry], most: int, spare: Container[Path] = (), *, dry_run: bool = False
) -> list[CacheEntry]:
    """Remove the entries unused longest until the rest takes at most `most` bytes.

    The counts of a store are removed with it. Entries in `spare` and entries in use stay. Returns
    the removed entries.
    """
    removed: list[CacheEntry] = []
    left = sorted(kept, key=lambda one: (one.used, one.path))
    for one in left.copy():
        if sum(other.bytes for other in left) <= most:
            break
        if one in left and one.path not in spare and _remove(one, dry_run=dry_run):
            gone = [other for other in left if one.path in (other.path, *other.path.parents)]
            removed += gone
            left = [other for other in left if other not in gone]
    return removed


def _remove(kept: CacheEntry, *, dry_run: bool) -> bool:
    """Remove an entry; False if it is in use. With `dry_run` only check whether it is in use."""
    with storage_errors(kept.path), ExitStack() as locks:
        try:
            if kept.kind == "cache":
                locks.enter_context(FileLock(kept.path.parent / ".lock"))
                for path in sorted(kept.path.glob("segment-*.lock")):
                    locks.enter_context(FileLock(path, timeout=0))
        except Timeout:
            return False
        if not dry_run:
            shutil.rmtree(kept.path)
    return True


def keep_within(most: int, cache: Path, store: Path) -> list[CacheEntry]:
    """Prune a cache and the stores to `most` bytes; `store` and the newest vectors stay."""
    kept = list_kept(cache, store.parent)
    newest = next((one.path for one in kept if one.kind == "cache"), store)
    return _prune(kept, most, {newest, store})


def kept_facts(out: str | Path, cache: str | None = None) -> dict[str, Any]:
    """Return the cached vectors, stores and counts that belong to an output folder.

    Parameters
    ----------
    out : str or Path
    cache : str or None
        The cache; default: as for a job that does not name one.

    Returns
    -------
    dict
        ``kept``: a list of entries (kind, path, model, bytes, used); ``bytes``: their sum.
    """
    kept = _kept_for(out, cache)
    return {"bytes": sum(one.bytes for one in kept), "kept": [_facts(one) for one in kept]}


def prune_vectors(
    out: str | Path, most: int, cache: str | None = None, *, dry_run: bool = False
) -> list[dict[str, Any]]:
    """Remove the vectors and counts that were unused longest, down to `most` bytes.

    Parameters
    ----------
    out : str or Path
    most : int
        Bytes that may stay.
    cache : str or None
        The cache; default: as for a job that does not name one.
    dry_run : bool
        Remove nothing, only return what would be removed.

    Returns
    -------
    list of dict
        What was removed: kind, path, model, bytes, used.

    Raises
    ------
    LockError
        If a run is at work in the output folder.
    """
    root = local_root(out)
    if not root.is_dir():
        return []
    with nullcontext() if dry_run else lock_output(root, str(out), brief=True):
        return [_facts(one) for one in _prune(_kept_for(out, cache), most, dry_run=dry_run)]


def _kept_for(out: str | Path, cache: str | None) -> list[CacheEntry]:
    folder = expanded(cache) if cache else Job(output=OutputJob(str(out))).cache_folder
    return list_kept(folder, local_root(out) / ".store")


def _facts(kept: CacheEntry) -> dict[str, Any]:
    used = datetime.fromtimestamp(kept.used, UTC).isoformat(timespec="seconds")
    return {**asdict(kept), "path": str(kept.path), "used": used}


def describe_kept(facts: dict[str, Any]) -> str:
    """Describe the cached vectors, stores and counts of an output folder as text.

    Parameters
    ----------
    facts : dict
        The result of `kept_facts`.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    lines = []
    for one in facts["kept"]:
        size = f"{bytes_text(one['bytes']):>12}"
        lines += [f"{one['kind']:<9}  {size}  {one['used']}  {one['model']}", f"    {one['path']}"]
    lines.append(f"{bytes_text(facts['bytes'])} are kept")
    return "\n".join(lines)

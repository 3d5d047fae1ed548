"""Folders in an embedding store whose files later runs of the same identity use again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.errors import DamageError
from miner.progress import warn_damaged
from miner.storage.files import storage_errors
from miner.storage.json_files import digest
from miner.storage.records import check_files, checksums, read_record, write_record

__all__ = ["KeptFolder"]

_RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder ``KIND/DIGEST`` in a store; ``record.json`` is written last.

    Attributes
    ----------
    store : Path
        The folder of the embedding store.
    kind : str
        A kind of `miner.embedding.eviction.CacheEntry`, with an s.
    identity : dict
        Everything that decides the files.
    """

    store: Path
    kind: str
    identity: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The folder."""
        return self.store / self.kind / digest(dict(self.identity))[:24]

    def find(self, remedy: str) -> dict[str, Any] | None:
        """Return the facts of the files; None if there are none, or if they are damaged.

        Damage causes a warning, which `remedy` ends. The time of the last use is updated.
        """
        record = self.path / _RECORD
        if not record.exists():
            return None
        try:
            found = read_record(record)
            check_files(self.path, found["files"])
        except DamageError as error:
            warn_damaged(f"{error}; {remedy}")
            return None
        os.utime(record)
        return dict(found["facts"])

    def emptied(self) -> Path:
        """Make the folder empty; return it."""
        with storage_errors(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
        return self.path

    def seal(self, facts: Mapping[str, Any], most: int | None = None) -> None:
        """Record the files in the folder; of this kind, keep the `most` folders used last."""
        names = sorted(path.name for path in self.path.iterdir())
        record = {"facts": dict(facts), "files": checksums(self.path, names)}
        write_record(self.path / _RECORD, record)
        others = self.path.parent.glob(f"*/{_RECORD}")
        used = sorted((path.stat().st_mtime_ns, path.parent) for path in others)
        for _, folder in used[:-most] if most else ():
            with storage_errors(folder):
                shutil.rmtree(folder)

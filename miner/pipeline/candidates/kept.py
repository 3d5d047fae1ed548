"""Candidates kept in the embedding store, for later runs that draw among the same ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.errors import DamageError
from miner.pipeline.candidates.listed import FILES
from miner.progress import warn_damaged
from miner.storage.files import atomic_open, storage_errors
from miner.storage.json_files import digest
from miner.storage.records import check_files, checksums, read_record, write_record

__all__ = ["KeptCandidates"]


@dataclass(frozen=True, slots=True)
class KeptCandidates:
    """The candidates of one job in a store: a folder ``candidates/DIGEST``.

    Attributes
    ----------
    store : Path
        The folder of the embedding store.
    identity : dict
        Everything that decides the candidates.
    """

    store: Path
    identity: Mapping[str, Any]

    @property
    def _folder(self) -> Path:
        return self.store / "candidates" / digest(dict(self.identity))[:24]

    def take(self, work: Path) -> dict[str, Any] | None:
        """Copy the files to a folder; return their facts, or None if they are not kept."""
        record = self._folder / "record.json"
        if not record.exists():
            return None
        try:
            found = read_record(record)
            check_files(self._folder, found["files"])
        except DamageError as error:
            warn_damaged(f"{error}; the candidates are found again")
            return None
        os.utime(record)  # the time of the last use
        _copy(self._folder, work)
        return dict(found["facts"])

    def keep(self, work: Path, facts: Mapping[str, Any]) -> None:
        """Copy the files from a folder, and keep their facts."""
        with storage_errors(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
        _copy(work, self._folder)
        record = {"facts": dict(facts), "files": checksums(self._folder, FILES)}
        write_record(self._folder / "record.json", record)


def _copy(source: Path, target: Path) -> None:
    for name in FILES:
        with storage_errors(source), (source / name).open("rb") as read:
            with atomic_open(target / name) as written:
                shutil.copyfileobj(read, written)

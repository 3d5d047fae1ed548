"""Records: JSON tables with a checksum of their own, and those of the files that they name.

What a record says is believed only after both were held: a flipped bit, a truncated file or a
table of another shape is damage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from miner.errors import DamageError
from miner.storage.files import sha256_file
from miner.storage.json_files import digest, read_json, write_json

__all__ = ["check_files", "checked_record", "checksums", "read_record", "write_record"]


def write_record(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a table with its checksum."""
    write_json(path, {**facts, "checksum": digest(dict(facts))})


def read_record(path: Path) -> dict[str, Any]:
    """Read a table, and hold it against its checksum, which is not returned.

    Raises
    ------
    DamageError
        When it is not as it was written.
    StorageError
        When it cannot be read.
    """
    return checked_record(read_json(path), path)


def checked_record(found: Any, path: Path) -> dict[str, Any]:
    """Return what was read of a record; see `read_record`."""
    if not isinstance(found, dict):
        raise DamageError(f"{path} is damaged: it is not a table")
    facts = {name: value for name, value in found.items() if name != "checksum"}
    try:
        whole = found.get("checksum") == digest(facts)
    except ValueError:  # halves of characters, infinite numbers
        whole = False
    if not whole:
        raise DamageError(f"{path} is damaged: its checksum does not fit")
    return facts


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of some files of a folder."""
    return {name: sha256_file(folder / name) for name in names}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Hold the files of a folder against their checksums.

    Raises
    ------
    DamageError
        When one is missing, or is not as it was written.
    StorageError
        When one cannot be read.
    """
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            raise DamageError(f"{path} is missing")
        if sha256_file(path) != checksum:
            raise DamageError(f"{path} is damaged: its checksum does not fit")

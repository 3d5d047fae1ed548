"""Records: JSON objects that contain their own checksum and the checksums of other files.

Both are verified before a record is used, so that a flipped bit or a truncated file is detected.
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
    """Write facts and their checksum to a JSON file."""
    write_json(path, {**facts, "checksum": digest(dict(facts))})


def read_record(path: Path) -> dict[str, Any]:
    """Read a record, verify its checksum, and return its facts without the checksum.

    Raises
    ------
    DamageError
        If the checksum does not match.
    StorageError
        If the file cannot be read.
    """
    return checked_record(read_json(path), path)


def checked_record(found: Any, path: Path) -> dict[str, Any]:
    """Verify a record that was parsed from `path`, and return its facts; see `read_record`."""
    if not isinstance(found, dict):
        raise DamageError(f"{path} is damaged: it is not a table")
    facts = {name: value for name, value in found.items() if name != "checksum"}
    try:
        whole = found.get("checksum") == digest(facts)
    except ValueError:  # lone surrogates or infinite numbers, which are not JSON
        whole = False
    if not whole:
        raise DamageError(f"{path} is damaged: its checksum does not match")
    return facts


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 (hex) of some files of a folder, by name."""
    return {name: sha256_file(folder / name) for name in names}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Verify the checksums of some files of a folder.

    Raises
    ------
    DamageError
        If a file is missing or its checksum does not match.
    StorageError
        If a file cannot be read.
    """
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            raise DamageError(f"{path} is missing")
        if sha256_file(path) != checksum:
            raise DamageError(f"{path} is damaged: its checksum does not match")

"""Read and write JSON: canonical bytes, digests, atomic files, errors that name the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from miner.errors import DamageError
from miner.storage.files import atomic_file, storage_errors

__all__ = ["canonical_json", "digest", "parse_json", "pretty_json", "read_json", "write_json"]


def canonical_json(value: Any) -> bytes:
    """Serialise to JSON with sorted keys and no spaces, so that equal values give equal bytes."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON to a file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(pretty_json(value))


def read_json(path: Path) -> Any:
    """Read a JSON file; raise a `StorageError` if it is missing or is not JSON."""
    with storage_errors(path):
        data = path.read_bytes()
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Parse JSON; raise a `DamageError` that names `where` if it is not valid."""
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested
        raise DamageError(f"{where} is not valid JSON ({error}); the file is damaged") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def pretty_json(value: Any) -> bytes:
    """Serialise to indented JSON with a newline at the end."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

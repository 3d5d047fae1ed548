"""JSON: canonical bytes, digests, files that appear whole, damage told by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from miner.errors import DamageError
from miner.storage.files import atomic_file, storage_errors

__all__ = ["canonical_json", "digest", "parse_json", "pretty_json", "read_json", "write_json"]


def canonical_json(value: Any) -> bytes:
    """Serialise to JSON with sorted keys and no spaces: equal values give equal bytes."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(pretty_json(value))


def read_json(path: Path) -> Any:
    """Read a JSON file; a `StorageError` names a file that is missing or is not JSON."""
    with storage_errors(path):
        data = path.read_bytes()
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Read JSON; a `DamageError` says where it is none."""
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # tables in tables in tables...
        raise DamageError(f"{where} is not valid JSON ({error}); the file is damaged") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def pretty_json(value: Any) -> bytes:
    """Serialise to JSON that is read by people."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

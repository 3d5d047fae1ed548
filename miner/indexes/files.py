"""Index files: what fails with them is told as it is of any other file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import faiss

from miner.errors import StorageError
from miner.storage.files import atomic_open, storage_errors

__all__ = ["read_index", "reason", "write_index"]


def write_index(index: Any, path: Path) -> None:
    """Write an index where ``faiss.read_index`` can open it.

    FAISS is given a file of ours to write to: of its own it knows no error number, and one that
    comes as the last bytes go out (a full disk) it only prints.

    Raises
    ------
    StorageError
        When the system refuses a write.
    """
    with atomic_open(path) as file:
        writer: Any = vars(faiss)["PyCallbackIOWriter"]  # unknown to its type stubs
        faiss.write_index(index, writer(file.write))


def read_index(path: Path, flags: int) -> Any:
    """Open an index that was written.

    Raises
    ------
    StorageError
        When it is not there, cannot be read, or is no index.
    """
    with storage_errors(path), path.open("rb"):  # the system's own words, where it refuses
        pass
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise StorageError(
            f"{path} cannot be opened: {reason(error)}; run the command again with --force"
        ) from error


def reason(error: Exception) -> str:
    """Return what FAISS says, without where in its source it says it."""
    text = re.sub(r"^Error in .*? at \S+:\d+: ", "", " ".join(str(error).split()))
    return text[:200].removeprefix("Error: ")

"""Reading and writing index files, with the same errors as for other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import faiss

from miner.errors import StorageError
from miner.storage.files import atomic_open, storage_errors

__all__ = ["read_index", "reason", "write_index"]


def write_index(index: Any, path: Path) -> None:
    """Write an index in a format that ``faiss.read_index`` can open.

    FAISS writes through a Python file object: its own files report no error number, and an error on
    the last bytes (a full disk) is only printed.

    Raises
    ------
    StorageError
        If the system refuses a write.
    """
    with atomic_open(path) as file:
        writer: Any = vars(faiss)["PyCallbackIOWriter"]  # unknown to its type stubs
        faiss.write_index(index, writer(file.write))


def read_index(path: Path, flags: int) -> Any:
    """Open a saved index.

    Raises
    ------
    StorageError
        If the file does not exist, cannot be read, or is not an index.
    """
    with storage_errors(path), path.open("rb"):  # raises the system's own error if unreadable
        pass
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise StorageError(
            f"{path} cannot be opened: {reason(error)}; run the command again with --force"
        ) from error


def reason(error: Exception) -> str:
    """Return the message of a FAISS error without its position in the source code."""
    text = re.sub(r"^Error in .*? at \S+:\d+: ", "", " ".join(str(error).split()))
    return text[:200].removeprefix("Error: ")

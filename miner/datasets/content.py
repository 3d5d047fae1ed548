"""Content: what kinds there are, and how a column's rows become a batch for a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.errors import DataError

__all__ = ["Kind", "column_kind", "content_digests", "content_values"]

Kind = Literal["text", "image", "vectors"]
Namer = Callable[[int], str]
"""Turns a position in a batch into words for a message, such as ``row 17 (id 'x')``."""


def column_kind(where: str, name: str, kind: Any, model: str | None) -> Kind:
    """Say what a column holds, from its type, its name and the model that was asked for.

    Text is text, but in a column named `embedding` (a CSV has no lists). Lists of numbers are
    vectors for the model `precomputed`, which is the default for lists of fractions; lists of
    whole numbers, or of a column named `image`, are images.

    Raises
    ------
    DataError
        When no model can embed such a column.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if _is_string(kind):
        vectors = model == "precomputed" or (model is None and name == "embedding")
        return "vectors" if vectors else "text"
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    if not depth or not _is_number(kind):
        raise DataError(
            f"{where}, content column {name!r} has the type {kind}: it must hold text or lists of "
            "numbers"
        )
    if model == "precomputed":
        return "vectors"
    if model is None:
        image = name == "image" or pa.types.is_integer(kind)
        return "image" if image else "vectors"
    return "image"


def _is_string(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def content_values(
    column: Any, kind: Kind, width: int | None, name_row: Namer
) -> list[str] | NDArray[np.floating]:
    """Turn an Arrow column into what a model embeds.

    Parameters
    ----------
    column : pyarrow.Array
    kind : str
    width : int or None
        Numbers in a row, as the first row of the data set has them; None to take this batch's.
    name_row : callable
        Names a row of this batch in a message.

    Returns
    -------
    list of str, or ndarray of shape (rows, width)

    Raises
    ------
    DataError
        On a missing, ragged, NaN or infinite row; the message names the first.
    """
    if column.null_count:
        row = int(pc.index(column.is_null(), True).as_py())
        raise DataError(f"{name_row(row)} has no content; remove the row or fill it in")
    if kind == "text":
        texts: list[str] = column.cast(pa.string()).to_pylist()
        return texts
    if _is_string(column.type):
        column = _parse_vectors(column, name_row)
    return _matrix(column, width, name_row)


def _parse_vectors(column: Any, name_row: Namer) -> Any:
    """Read vectors that a CSV holds as text such as ``[0.1, 0.2]``."""
    rows = []
    for row, text in enumerate(column.to_pylist()):
        try:
            rows.append(np.asarray(json.loads(text), dtype=np.float64).ravel())
        except (ValueError, TypeError):
            raise DataError(
                f"{name_row(row)}: {text[:40]!r} is not a list of numbers such as [0.5, 1]"
            ) from None
    return pa.array(rows, type=pa.list_(pa.float64()))


def _widths(column: Any) -> tuple[NDArray[np.int64], Any]:
    """Count the numbers of each row of (nested) lists; return them too, flat."""
    lengths = []
    while _is_list(column.type):
        length = pc.list_value_length(column).fill_null(0)
        lengths.append(length.to_numpy(zero_copy_only=False).astype(np.int64))
        column = column.flatten()
    widths = lengths.pop()
    while lengths:
        outer = lengths.pop()
        ends = np.cumsum(outer)
        total = np.concatenate([[0], np.cumsum(widths)])
        widths = total[ends] - total[ends - outer]
    return widths, column


def _matrix(column: Any, width: int | None, name_row: Namer) -> NDArray[np.floating]:
    widths, values = _widths(column)
    expected = int(widths[0]) if width is None and len(widths) else width
    for row in np.flatnonzero(widths != expected)[:1]:
        raise DataError(
            f"{name_row(int(row))} has {widths[row]} values, the first has "
            f"{expected}; all rows need the same number"
        )
    if not expected:
        raise DataError(f"{name_row(0)} has an empty vector; remove the row or fill it in")
    flat = values.to_numpy(zero_copy_only=False)
    matrix: NDArray[np.floating] = flat.reshape(len(column), expected)
    if flat.dtype.kind == "f" or values.null_count:
        for row in np.flatnonzero(~np.isfinite(matrix).all(axis=1))[:1]:
            raise DataError(
                f"{name_row(int(row))} holds NaN or an infinite number; "
                "remove the row or correct it"
            )
    return matrix


def content_digests(values: Sequence[str] | NDArray[np.floating]) -> NDArray[np.void]:
    """Hash each row's content to 16 bytes (BLAKE2b): equal content, equal digest.

    Returns
    -------
    ndarray of shape (rows,), dtype V16
    """
    if isinstance(values, np.ndarray):
        wide = np.ascontiguousarray(values, dtype=np.float64)
        rows: Any = (row.tobytes() for row in wide)
    else:
        rows = (text.encode() for text in values)
    joined = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in rows)
    return np.frombuffer(joined, dtype="V16")

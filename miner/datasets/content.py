"""Kinds of content, and how the rows of a column become a batch for a model."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.image_files import Pictures, is_encoded
from miner.errors import DataError

__all__ = [
    "Content",
    "Kind",
    "Namer",
    "Values",
    "as_batch",
    "column_kind",
    "content_digests",
    "folded",
    "is_list",
    "is_string",
    "refuse_faults",
]

_VECTORS = ("embedding", "embeddings", "vector", "vectors", "features", "emb")
"""Names of columns whose bytes are no images."""

Kind = Literal["text", "image", "vectors"]
Namer = Callable[[int], str]
"""Describes the row at a position of a batch for a message, such as ``row 17 (id 'x')``."""

Values = Sequence[str] | NDArray[np.floating] | Pictures
"""A batch: texts, an array with one row of numbers per item, or encoded images."""


def column_kind(where: str, name: str, kind: Any, model: str | None) -> Kind:
    """Return the kind of content of a column, from its type, its name and the requested model.

    A text column holds texts, except under two names: in `embedding` the texts are vectors (a CSV
    has no lists), and in `image` they are paths of image files. Lists of numbers are vectors for
    the model `precomputed`, which is the default for lists of floats. Lists of integers, lists in
    a column named `image`, and bytes (encoded image files) are images.

    Parameters
    ----------
    where, name : str
        The table and the column, for messages.
    kind : pyarrow.DataType
    model : str or None
        The model of the job; None if the job names none.

    Raises
    ------
    DataError
        If no model can embed such a column.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    vectors = model == "precomputed" or (model is None and name.lower() in _VECTORS)
    if vectors and _is_packed(kind):
        raise DataError(
            f"{where}, content column {name!r} holds bytes ({kind}), as of quantised vectors: they "
            "are not numbers to measure distances with; write floats (np.unpackbits for bits), or "
            "call images image"
        )
    if is_string(kind):
        if model == "precomputed" or (model is None and name == "embedding"):
            return "vectors"
        return "image" if name == "image" else "text"
    if is_encoded(kind) and model != "precomputed":
        return "image"
    depth = 0
    while is_list(kind):
        kind, depth = kind.value_type, depth + 1
    if not depth or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        if depth and is_string(kind):
            raise DataError(
                f"{where}, content column {name!r} holds lists of text; write a row for each text: "
                "of positives a table of pairs, in columns anchor and positive"
            )
        raise DataError(
            f"{where}, content column {name!r} has the type {kind}: it must hold text, images or "
            "lists of numbers"
        )
    fractions = pa.types.is_floating(kind) and name != "image"
    return "vectors" if model == "precomputed" or (model is None and fractions) else "image"


def _is_packed(kind: Any) -> bool:
    """Whether a type is one of quantised vectors: bytes, or lists of integers of 8 bits."""
    inner = kind.value_type if is_list(kind) else pa.null()
    encoded = is_encoded(kind) and not pa.types.is_struct(kind)
    return encoded or pa.types.is_uint8(inner) or pa.types.is_int8(inner)


def is_string(kind: Any) -> bool:
    """Whether an Arrow type is a string type."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: Any) -> bool:
    """Whether an Arrow type is a list type."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


@dataclass(slots=True)
class Content:
    """Reads batches of one column.

    Parameters
    ----------
    kind : str
    folder : str
        The folder of relative image paths.
    width : int or None
        Numbers per row; None until the first valid row is read.
    """

    kind: Kind
    folder: str = "."
    width: int | None = None

    def examine(self, column: Any, *, thorough: bool = False) -> tuple[Values, Mapping[int, str]]:
        """Convert an Arrow column to a batch for a model, without the rows that cannot be embedded.

        Parameters
        ----------
        column : pyarrow.Array
        thorough : bool
            Decode images completely, instead of reading only their headers.

        Returns
        -------
        list of str, ndarray of shape (valid rows, width), or Pictures
        mapping of int to str
            Maps the position of each invalid row to a description of its fault.
        """
        if self.kind == "text":
            return _texts(column)
        if self.kind == "image" and (is_string(column.type) or is_encoded(column.type)):
            return Pictures.read(column, self.folder, thorough=thorough)
        return self._numbers(column)

    def values(self, column: Any, name_row: Namer) -> Values:
        """Return the values of a column as a batch for a model.

        Raises
        ------
        DataError
            If a row cannot be embedded; the message names the first such row.
        """
        values, faults = self.examine(column)
        refuse_faults(faults, name_row)
        return values

    def _numbers(self, column: Any) -> tuple[Values, Mapping[int, str]]:
        faults = dict.fromkeys(_nulls(column), _NULL)
        if is_string(column.type):
            column = _parse_vectors(column, faults)
        if self.kind == "vectors":
            faults |= dict.fromkeys(_several(column), _SEVERAL)
        widths, values = _widths(column)
        if self.width is None:
            good = (width for row, width in enumerate(widths.tolist()) if row not in faults)
            self.width = next((width for width in good if width), None)
        for row in np.flatnonzero(widths != self.width):
            words = f" has {widths[row]} values, the first has {self.width}; {_SAME}"
            faults.setdefault(int(row), words if widths[row] else f" has an empty vector; {_FILL}")
        flat = values.to_numpy(zero_copy_only=False)
        keep = np.ones(len(widths), dtype=np.bool_)
        keep[list(faults)] = False
        if not keep.all():
            flat = flat[np.repeat(keep, widths)]
        matrix = flat.reshape(int(keep.sum()), self.width or 0)
        if flat.dtype.kind == "f" or values.null_count:
            finite = np.isfinite(matrix).all(axis=1)
            for row in np.flatnonzero(keep)[~finite]:
                faults[int(row)] = " holds NaN or an infinite number; remove the row or correct it"
            matrix = matrix if finite.all() else matrix[finite]
        return matrix, faults


_SEVERAL = (
    " holds several vectors, as of ColBERT, and one vector a row is mined: pool them, such as by "
    "their mean, or measure MaxSim elsewhere"
)
_FILL = "remove the row or fill it in"
_SAME = "all rows need the same number"
_NULL = f" has no content; {_FILL}"


def refuse_faults(faults: Mapping[int, str], name_row: Namer) -> None:
    """Raise a `DataError` for the first faulty row, if there is one."""
    if faults:
        first = min(faults)
        raise DataError(
            f'{name_row(first)}{faults[first]}, or leave such rows out: dataset.on_error = "skip"'
        )


def _several(column: Any) -> list[int]:
    """Return the rows that hold a list of several vectors."""
    rows = np.arange(len(column))
    found = np.zeros(len(column), np.bool_)
    while is_list(column.type) and is_list(column.type.value_type):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        found[rows[lengths > 1]] = True
        rows, column = np.repeat(rows, lengths), column.flatten()
    return np.flatnonzero(found).tolist()


def _nulls(column: Any) -> list[int]:
    return np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist()


def _texts(column: Any) -> tuple[Values, Mapping[int, str]]:
    column = column.cast(pa.string())
    blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), True)
    if not pc.any(blank).as_py():
        return column.to_pylist(), {}
    nulls = set(_nulls(column))
    rows = np.flatnonzero(blank.to_numpy(zero_copy_only=False)).tolist()
    empty = f" has an empty text; {_FILL}"
    faults = {row: _NULL if row in nulls else empty for row in rows}
    return column.filter(pc.invert(blank)).to_pylist(), faults


def _parse_vectors(column: Any, faults: dict[int, str]) -> Any:
    """Parse vectors written as text, such as ``[0.1, 0.2]``; add rows that fail to `faults`."""
    rows = []
    for row, text in enumerate(column.to_pylist()):
        try:
            numbers = [] if text is None else json.loads(text)
            vector = np.asarray(numbers, dtype=np.float64)
            if vector.ndim > 1 and vector.size > vector.shape[-1]:
                faults[row] = _SEVERAL
            rows.append(vector.ravel())
        except (ValueError, TypeError, OverflowError, RecursionError):
            faults[row] = f": {text[:40]!r} is not a list of numbers such as [0.5, 1]; correct it"
            rows.append(np.empty(0))
    return pa.array(rows, type=pa.list_(pa.float64()))


def _widths(column: Any) -> tuple[NDArray[np.int64], Any]:
    """Return how many numbers each row of (nested) lists has, and all numbers as a flat array."""
    lengths = []
    while is_list(column.type):
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


def as_batch(values: Values) -> Sequence[Any] | NDArray[np.floating]:
    """Return a batch as models take it: images are decoded, other content is unchanged."""
    return list(values) if isinstance(values, Pictures) else values


def folded(text: str) -> str:
    """Return a text without differences of case, spaces and Unicode form (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def content_digests(values: Values) -> NDArray[np.void]:
    """Hash the content of each row to 16 bytes (BLAKE2b).

    Images are hashed in their encoded form.

    Returns
    -------
    ndarray of shape (rows,), dtype V16
    """
    rows: Any
    if isinstance(values, np.ndarray):
        wide = np.ascontiguousarray(values, dtype=np.float64)
        rows = (row.tobytes() for row in wide)
    elif isinstance(values, Pictures):
        rows = values.encoded
    else:
        rows = (text.encode() for text in values)
    joined = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in rows)
    return np.frombuffer(joined, dtype="V16")

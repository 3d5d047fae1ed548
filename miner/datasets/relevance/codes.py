"""Numbers for the values of columns: equal values have equal codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.column_types import usual_layout, wider_type
from miner.datasets.content import is_list, is_string
from miner.datasets.ids import EXACT
from miner.datasets.image_files import is_encoded
from miner.datasets.scan import Items
from miner.errors import DataError
from miner.triplets.relevance import NONE

__all__ = [
    "Codes",
    "content_codes",
    "encoded",
    "joint_codes",
    "known_values",
    "missing_names",
    "spelled_names",
]

Codes = NDArray[np.int64]

_MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "nil")
"""Spellings of a missing value, in lower case; an empty text is no label, but blanks are one."""


def known_values(items: Items, column: Any, name: str | None) -> Any:
    """Normalise labels or groups so that equal values compare equal; NaN becomes null.

    Raises
    ------
    DataError
        If the type cannot name a class.
    """
    kind, types = column.type, pa.types
    if types.is_floating(kind):
        return _known_floats(items, column, name)
    if types.is_decimal(kind) and kind.bit_width < 128:  # Arrow cannot dictionary-encode them
        return column.cast(pa.decimal128(kind.precision, kind.scale))
    named = types.is_dictionary(kind) or types.is_null(kind) or is_string(kind) or is_encoded(kind)
    numbers = types.is_integer(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    interval = kind == pa.month_day_nano_interval()
    if types.is_struct(kind) or interval or not (named or numbers or types.is_temporal(kind)):
        raise DataError(
            f"{items.where}, column {name!r}: its values must be text, numbers or times, not "
            f"{kind}; write them as text"
        )
    return column


def _known_floats(items: Items, column: Any, name: str | None) -> Any:
    """Return floats with one zero, and null for NaN.

    Floats from `EXACT` on are refused. Readers (JSON, for example) return large integers as such
    floats, several integers become the same float, and classes would be merged.
    """
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    far = pc.greater_equal(pc.abs(column), pa.scalar(float(EXACT), column.type))
    if pc.any(far).as_py():
        value = column[int(pc.index(far, True).as_py())].as_py()
        raise DataError(
            f"{items.where}, column {name!r}: {value!r} represents several whole numbers, as do "
            "all floats from 2^53 on; write whole numbers of 64 bits, or text"
        )
    return pc.add(column, pa.scalar(0, column.type))


def missing_names(column: Any) -> dict[str, int]:
    """Count the labels that are called like a missing value, such as NA, by their names."""
    while is_list(column.type):
        column = column.flatten()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not is_string(column.type):
        return {}
    names = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    alike = pc.is_in(names, value_set=pa.array(_MISSING))
    found = column.filter(pc.and_(alike, pc.not_equal(column, "")))
    return {one["values"]: one["counts"] for one in pc.value_counts(found).to_pylist()}


def joint_codes(*columns: Any, key: str = "") -> Codes:
    """Encode the values of columns jointly, in order of appearance; `NONE` for nulls.

    Columns of two types are compared in the wider one, and text with others as text, like ids,
    because a CSV has no types; with times and booleans, which have several spellings, as these.
    `key` is the job key that names the columns, for the message if that is impossible.
    """
    if len({column.type for column in columns}) > 1:
        columns = _of_one_type(columns, key)
    return encoded(pa.concat_arrays(list(columns)))[0]


def _of_one_type(columns: Sequence[Any], key: str) -> tuple[Any, ...]:
    """Return two columns with one type, in which their values can be compared."""
    columns = [usual_layout(column) for column in columns]
    kinds, types = [column.type for column in columns], pa.types
    wide = wider_type(*kinds)
    typed = next((kind for kind in kinds if not is_string(kind)), kinds[0])
    if wide is None and any(map(is_string, kinds)) and not is_encoded(typed):
        spelt = types.is_temporal(typed) or types.is_boolean(typed)
        wide = typed if spelt else pa.large_string()
    try:
        return tuple(column.cast(wide) for column in columns)
    except (pa.ArrowException, TypeError) as error:  # no type has the values of both
        raise DataError(
            f"{key}: values of the types {kinds[0]} and {kinds[1]} cannot be compared; write both "
            "with one type, or as text"
        ) from error


def encoded(column: Any) -> tuple[Codes, Any]:
    """Encode the values of a column; return the codes, and the value of each code."""
    coded = pa.types.is_dictionary(column.type)
    encoded = column if coded else column.dictionary_encode()
    indices = encoded.indices.fill_null(NONE)
    codes = np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64)
    return codes, encoded.dictionary


def content_codes(*items: Items, fold: bool) -> tuple[Codes, int]:
    """Encode the contents of tables jointly, equal contents alike; `NONE` for vectors.

    Parameters
    ----------
    items : Items
    fold : bool
        Whether texts that differ only by case, spaces and Unicode form are equal.

    Returns
    -------
    ndarray of int64
    int
        The number of texts that are equal to another one only if folded.
    """
    exact = _digest_codes([item.digests for item in items])
    texts = _digest_codes([item.folded for item in items])
    if exact is None:
        return np.full(sum(map(len, items)), NONE, dtype=np.int64), 0
    if texts is None:
        return exact, 0
    distinct = np.unique(np.stack([texts, exact]), axis=1)[0]
    several = np.bincount(distinct) > 1
    return texts if fold else exact, int(several[texts].sum())


def _digest_codes(digests: Sequence[NDArray[np.void] | None]) -> Codes | None:
    """Return codes of digests, equal for equal ones; None if a table has none."""
    there = [part for part in digests if part is not None]
    if len(there) < len(digests):
        return None
    _, codes = np.unique(np.concatenate(there), return_inverse=True)
    return np.asarray(codes, dtype=np.int64)


def spelled_names(names: Any) -> Any:
    """Return the values of labels; times in nanoseconds as text, because Python has none."""
    if getattr(names.type, "unit", "") != "ns":
        return names
    return names.cast(pa.int64() if pa.types.is_duration(names.type) else pa.string())

"""Ids: text, or whole numbers. Other types that can be spelled become one of the two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import is_id
from miner.errors import DataError

__all__ = ["EXACT", "id_values"]

EXACT = 1 << 53
"""From this value on, one float64 represents several integers."""


def id_values(column: Any, where: str) -> Any:
    """Return the values of a column as ids: whole floats as integers, times and decimals as text.

    A column of integers with a missing value is often stored as floats; NaN becomes null here.

    Raises
    ------
    DataError
        If the values are not ids, or floats with fractions.
    """
    kind, types = column.type, pa.types
    if is_id(column):
        return column
    if types.is_floating(kind):
        return _whole(column, where)
    if types.is_temporal(kind) or types.is_decimal(kind) or types.is_boolean(kind):
        try:
            return column.cast(pa.string())
        except pa.ArrowException as error:
            raise DataError(f"{where}: {kind} has no text ({error}); write ids as text") from error
    raise DataError(
        f"{where}: ids must be text or whole numbers, not {kind}; cast them to text or to int64"
    )


def _whole(column: Any, where: str) -> Any:
    values = column.cast(pa.float64())
    values = pc.if_else(pc.is_nan(values), None, values)
    numbers = values.fill_null(0.0).to_numpy()
    wrong = np.flatnonzero((numbers != np.floor(numbers)) | (np.abs(numbers) >= EXACT))
    if len(wrong):
        value = column[int(wrong[0])].as_py()
        raise DataError(
            f"{where}: ids must be text or whole numbers, not {column.type} such as {value!r}; "
            "cast them to text, or to int64 where they were integers"
        )
    return values.cast(pa.int64())

"""Layouts of Arrow that little can compute on, or be written, are read as the usual ones."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["usual_layout", "usual_type"]


def usual_type(kind: Any) -> Any:
    """Return a type with plain strings and binaries for views, and values for runs, at any depth.

    Seconds become milliseconds, as they do in Parquet, so that those too far for it are refused as
    they are read.

    Arrow filters and takes from no array of views, nor by places that are not as wide as its runs'
    ends (seen in pyarrow 26.0); others write them, polars for one.
    """
    types = pa.types
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, usual_type(kind.value_type), kind.ordered)
    if types.is_run_end_encoded(kind):
        return usual_type(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([_field(kind.field(place)) for place in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_field(kind.key_field), _field(kind.item_field), kind.keys_sorted)
    return _list_type(kind)


def _list_type(kind: Any) -> Any:
    if pa.types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    return kind


def _field(field: Any) -> Any:
    return field.with_type(usual_type(field.type))


def usual_layout(column: Any) -> Any:
    """Return a column as one of that type; itself where it is.

    Raises
    ------
    pyarrow.ArrowException
        Where Arrow cannot turn one into the other.
    """
    kind = usual_type(column.type)
    if kind == column.type:
        return column
    if pa.types.is_run_end_encoded(column.type):  # it cannot be cast, or decoded with views
        whole = pa.RunEndEncodedArray.from_arrays(column.run_ends, usual_layout(column.values))
        return pc.run_end_decode(whole.slice(column.offset, len(column)))
    return column.cast(kind)

"""How the values of two columns, or of a column and a literal, meet to be compared.

They meet by family: numbers, text, dates, booleans. Across families there is no comparison, but for
two: the ISO text of a date or time meets dates, and in formats without types a column's text is
read as the numbers or booleans that it is compared with.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.errors import DataError

__all__ = ["decoded", "family", "meet", "read_numbers"]

_COMPARED = ("numbers", "text", "dates", "booleans")
_NONE_OF = {"numbers": "no number", "booleans": "neither true nor false"}
_INT64 = 1 << 63
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def meet(pair: tuple[Any, Any], names: tuple[str, str], *, untyped: bool) -> tuple[Any, Any]:
    """Bring two values to types that Arrow compares, exactly where it can be.

    Integers are compared as such; an integer and a fraction, or numbers of 64 bits with and without
    a sign, as float64. A time without a zone that meets times with one is taken as UTC.

    Parameters
    ----------
    pair : tuple of pyarrow.Array or pyarrow.Scalar
        `decoded` values; a scalar is a literal.
    names : tuple of str
        What messages call them.
    untyped : bool
        Whether text columns come from a format without types.

    Raises
    ------
    DataError
        When they cannot be compared, or a text is not the number, boolean or date it has to be.
    """
    left, right = pair
    kinds = family(left.type), family(right.type)
    if "nothing" in kinds:
        other = right if kinds[0] == "nothing" else left
        left, right = (part.cast(other.type) if part.type == pa.null() else part for part in pair)
    elif kinds == ("numbers", "numbers"):
        left, right = _numbers(left, right)
    elif kinds == ("dates", "dates"):
        left, right = _dates(left, right)
    elif kinds[0] != kinds[1]:
        left, right = _read(left, right, names, untyped), _read(right, left, names[::-1], untyped)
        if family(left.type) == "nothing" or family(left.type) != family(right.type):
            raise DataError(_apart(names, kinds))
        return meet((left, right), names, untyped=untyped)
    elif kinds[0] not in _COMPARED:
        raise DataError(_apart(names, kinds))
    return left, right


def _apart(names: tuple[str, str], kinds: tuple[str, str]) -> str:
    return (
        f"{names[0]} ({kinds[0]}) and {names[1]} ({kinds[1]}) cannot be compared; "
        "give a value of the column's type"
    )


def _read(value: Any, other: Any, names: tuple[str, str], untyped: bool) -> Any:
    """Read text as what the other side holds, where that is allowed; else leave it."""
    if family(value.type) != "text":
        return value
    wanted = family(other.type)
    if wanted == "dates" and isinstance(value, pa.Scalar):
        return _moment(value, other.type, names)
    if untyped and isinstance(value, pa.Array) and wanted in ("numbers", "booleans"):
        text = pc.utf8_trim_whitespace(value)
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        types = (pa.bool_(),) if wanted == "booleans" else (pa.int64(), pa.float64())
        return _cast(text, types, f"{names[0]} is compared with {names[1]}", wanted)
    return value


def read_numbers(text: Any) -> Any:
    """Read a text column as float64, null where a row is no number."""
    plain = pc.match_substring_regex(text, _NUMBER)
    return pc.if_else(plain, text, pa.scalar(None, text.type)).cast(pa.float64())


def _cast(text: Any, types: tuple[Any, ...], why: str, wanted: str) -> Any:
    for kind in types:
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    bad = next(value for value in text if not _reads(value, types[-1]))
    raise DataError(
        f"{why}, but holds {bad.as_py()!r}, which is {_NONE_OF[wanted]}; correct that value, or "
        "compare with text in 'quotes'"
    )


def _reads(value: Any, kind: Any) -> bool:
    try:
        value.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _moment(text: Any, kind: Any, names: tuple[str, str]) -> Any:
    """Read the ISO text of a date or time, as precisely as the column or the text is."""
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    units = ("s", "ms", "us", "ns")
    first = kind.unit if pa.types.is_timestamp(kind) else "s"
    for unit in units[units.index(first) :]:
        for moment in (pa.timestamp(unit), pa.timestamp(unit, zone) if zone else None):
            if moment is not None and _reads(text, moment):
                read = text.cast(moment)
                return pc.assume_timezone(read, "UTC") if zone and moment.tz is None else read
    raise DataError(
        f"{names[1]} holds dates, and {names[0]} is none; write it like '2024-05-31' or "
        f"'2024-05-31T12:00:00{'Z' if zone else ''}'"
    )


def _dates(left: Any, right: Any) -> tuple[Any, Any]:
    """Give two moments with a zone the same one; a date, or no zone, means UTC then."""
    zones = [part.type.tz if pa.types.is_timestamp(part.type) else None for part in (left, right)]
    if zones == [None, None]:
        return left, right
    return _in_utc(left), _in_utc(right)


def _in_utc(value: Any) -> Any:
    if pa.types.is_date(value.type):
        value = value.cast(pa.timestamp("s") if value.type == pa.date32() else pa.timestamp("ms"))
    if value.type.tz is None:
        return pc.assume_timezone(value, "UTC")
    return value.cast(pa.timestamp(value.type.unit, "UTC"))


def _numbers(left: Any, right: Any) -> tuple[Any, Any]:
    """Bring numbers together without losing digits of whole ones."""
    left, right = _fitted(left, right.type), _fitted(right, left.type)
    if left.type == right.type or (_signed(left.type) and _signed(right.type)):
        return left, right
    # Not by Arrow's own rules: they refuse whole numbers that float64 has to round.
    return pc.cast(left, pa.float64(), safe=False), pc.cast(right, pa.float64(), safe=False)


def _fitted(value: Any, kind: Any) -> Any:
    """Give a literal the type of the whole numbers it meets, when it is a whole number too."""
    if not isinstance(value, pa.Scalar) or not pa.types.is_integer(kind):
        return value
    number = value.as_py()
    if number != number // 1 or not -_INT64 <= number < _INT64:
        return value
    number = int(number)
    return pa.scalar(number, kind if kind == pa.uint64() and number >= 0 else pa.int64())


def _signed(kind: Any) -> bool:
    """Whether all values fit into int64."""
    return bool(pa.types.is_integer(kind)) and kind != pa.uint64()


def decoded(values: Any) -> Any:
    """Decode dictionaries, large and view strings, half floats and extension types."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    kind = _plain(values.type)
    return values if kind == values.type else values.cast(kind)


def _plain(kind: Any) -> Any:
    types = pa.types
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_list(kind) or types.is_large_list(kind):
        make = pa.list_ if types.is_list(kind) else pa.large_list
        return make(_plain(kind.value_type))
    return kind


def family(kind: Any) -> str:
    """Name what values of a type are, as messages do."""
    types = pa.types
    families = {
        "nothing": (types.is_null,),
        "numbers": (types.is_integer, types.is_floating, types.is_decimal),
        "text": (types.is_string,),
        "dates": (types.is_date, types.is_timestamp),
        "booleans": (types.is_boolean,),
        "lists": (types.is_list, types.is_large_list, types.is_fixed_size_list),
    }
    return next(
        (name for name, tests in families.items() if any(test(kind) for test in tests)), str(kind)
    )

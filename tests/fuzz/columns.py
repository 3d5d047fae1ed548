"""Arrow columns of every type, with values at its edges."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

__all__ = ["columns"]

_TEXTS = ["", "a", "b", "c", " ", "\0", "\x1b[2J", "é", "1", "NaN", "[1, 2]", "x" * 500]
_TIMES = [
    datetime.datetime(1970, 1, 1),
    datetime.datetime(9999, 12, 31),
    datetime.datetime(1, 1, 1),
]

_ints = {f"{s}int{w}": getattr(pa, f"{s}int{w}")() for s in ("", "u") for w in (8, 16, 32, 64)}
_SIMPLE: dict[str, tuple[Any, list[Any]]] = {
    "null": (pa.null(), [None]),
    "bool": (pa.bool_(), [True, False]),
    **{name: (kind, [0, 1, 2, 100]) for name, kind in _ints.items()},
    "wide": (pa.int64(), [0, 1, 2**63 - 1, -(2**63), 2**53 + 1]),
    "wider": (pa.uint64(), [0, 1, 2**64 - 1, 2**63]),
    "half": (pa.float16(), [0.0, 1.0, float("nan"), float("inf")]),
    "float": (pa.float32(), [0.0, -0.0, 1.5, float("nan"), float("-inf"), 3e38, 1e-45]),
    "double": (pa.float64(), [0.0, 1.5, float("nan"), 1e308, 5e-324, 1e39]),
    "decimal": (pa.decimal128(38, 2), [decimal.Decimal("1.50"), decimal.Decimal(10**30)]),
    "small decimal": (pa.decimal32(5, 2), [decimal.Decimal("1.50"), decimal.Decimal(0)]),
    "large decimal": (pa.decimal256(60, 0), [decimal.Decimal(1), decimal.Decimal(10**50)]),
    "string": (pa.string(), _TEXTS),
    "large": (pa.large_string(), _TEXTS),
    "view": (pa.string_view(), _TEXTS),
    "binary": (pa.binary(), [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"a"]),
    "fixed": (pa.binary(2), [b"ab", b"BM"]),
    "date": (pa.date32(), [datetime.date(1, 1, 1), datetime.date(2024, 2, 29)]),
    "date64": (pa.date64(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    "seconds": (pa.timestamp("s"), [-(2**62), 0, 2**62]),
    "nanos": (pa.timestamp("ns", "Europe/Berlin"), [-(2**62), 0, 2**62]),
    "nowhere": (pa.timestamp("us", "No/Where"), [0, 1, -1]),
    "micros": (pa.timestamp("us"), _TIMES),
    "time": (pa.time64("ns"), [0, 1, 86_399_999_999_999]),
    "duration": (pa.duration("s"), [0, -1, 2**62]),
    "interval": (pa.month_day_nano_interval(), [(1, 2, 3), (0, 0, 0)]),
}
_LISTS = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "list_view": pa.list_view,
    "two": lambda kind: pa.list_(kind, 2),
    "none": lambda kind: pa.list_(kind, 0),
}


_EXTENSIONS: dict[str, tuple[Any, Any]] = {
    "uuid": (pa.uuid(), b"0" * 16),
    "json": (pa.json_(), '{"a": [1]}'),
    "bool8": (pa.bool8(), 2),
    "opaque": (pa.opaque(pa.int32(), "kind", "maker"), 7),
    "opaque text": (pa.opaque(pa.string_view(), "kind", "maker"), "a"),
    "tensor": (pa.fixed_shape_tensor(pa.float32(), [2]), [1.0, 2.0]),
    "matrix": (pa.fixed_shape_tensor(pa.uint8(), [2, 1], permutation=[1, 0]), [1, 2]),
}


@st.composite
def _simple(draw: Any, rows: int) -> Any:
    kind, values = _SIMPLE[draw(st.sampled_from(sorted(_SIMPLE)))]
    options = [*values, *values, None] if draw(st.booleans()) else values
    return pa.array([draw(st.sampled_from(options)) for _ in range(rows)], kind)


@st.composite
def _listed(draw: Any, rows: int) -> Any:
    name = draw(st.sampled_from(sorted(_LISTS)))
    kind, values = _SIMPLE[
        draw(st.sampled_from(["float", "double", "half", "uint8", "string", "wide"]))
    ]
    width = {"two": 2, "none": 0}.get(name)
    same = draw(st.integers(0, 3))
    made: list[Any] = []
    for _ in range(rows):
        length = width if width is not None else draw(st.sampled_from([same, same, same, 1]))
        made.append([draw(st.sampled_from([*values, None])) for _ in range(length)])
        if draw(st.integers(0, 8)) == 0:
            made[-1] = None
    return pa.array(made, _LISTS[name](kind))


@st.composite
def _strange(draw: Any, rows: int) -> Any:
    """Dictionaries, runs, structs, maps, unions, types that are not Arrow's own."""
    inner = draw(_simple(rows))
    choice = draw(
        st.sampled_from(["dictionary", "struct", "picture", "map", "nested", "runs", *_EXTENSIONS])
    )
    if choice == "dictionary":
        try:
            return inner.dictionary_encode()
        except pa.ArrowNotImplementedError:
            return inner
    if choice == "struct":
        return pa.StructArray.from_arrays([inner], names=["a"])
    if choice == "picture":
        return pa.StructArray.from_arrays([inner, inner], names=["bytes", "path"])
    if choice == "map":
        return pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int64()))
    if choice == "nested":
        return pa.array([[[1.0, 2.0], [3.0, 4.0]]] * rows, pa.list_(pa.list_(pa.float32())))
    if choice == "runs":
        return pa.RunEndEncodedArray.from_arrays([max(rows, 1)], ["a"]).slice(0, rows)
    kind, value = _EXTENSIONS[choice]
    storage = pa.array([draw(st.sampled_from([value, value, None])) for _ in range(rows)])
    return pa.ExtensionArray.from_storage(kind, storage.cast(kind.storage_type))


@st.composite
def _usual(draw: Any, name: str, rows: int) -> Any:
    if name == "embedding":
        values = [[draw(st.floats(-2, 2, width=32)) for _ in range(2)] for _ in range(rows)]
        return pa.array(values, pa.list_(pa.float32()))
    if name == "id":
        return pa.array(range(rows), pa.int64())
    if name in ("label", "group"):
        return pa.array([draw(st.integers(0, 1)) for _ in range(rows)], pa.int64())
    return pa.array([f"words {draw(st.integers(0, 99))}" for _ in range(rows)])


def columns(name: str, rows: int) -> st.SearchStrategy[Any]:
    """A column of so many rows: what one of its name usually holds, or anything."""
    usual = _usual(name, rows)
    return st.one_of(usual, usual, usual, _simple(rows), _listed(rows), _strange(rows))

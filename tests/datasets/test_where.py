"""Filter expressions: as plain Python evaluates them, and what is refused."""

from __future__ import annotations

import datetime as dt
import fnmatch
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from miner.datasets.where.parser import Filter, parse_filter
from miner.errors import DataError, UsageError

Row = dict[str, Any]
Truth = Callable[[Row], "bool | None"]
Expression = tuple[str, Truth]

KEY = "dataset.where"
COMPARED = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WORDS = ("", "a", "ab", "B", "a%b", "é", "1", "x_y", "\\", "two\nlines", "it's", ".*")
TYPES = {
    "n": pa.int64(),
    "f": pa.float64(),
    "s": pa.string(),
    "b": pa.bool_(),
    "my list": pa.list_(pa.string()),
    "d": pa.date32(),
}
DAYS = tuple(dt.date(2020, 1, day) for day in range(1, 5))

NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([-1.5, 0.0, 0.5, 2.0]))
ROWS = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3),
        "f": st.none() | st.sampled_from([-1.5, 0.0, 0.5, 2.0, 3.0]),
        "s": st.none() | st.sampled_from(WORDS),
        "b": st.none() | st.booleans(),
        "my list": st.none() | st.lists(st.none() | st.sampled_from(WORDS), max_size=3),
        "d": st.none() | st.sampled_from(DAYS),
    }
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def lifted(call: Callable[..., bool], *names: str) -> Truth:
    """A comparison of columns: null where one of them is."""

    def truth(row: Row) -> bool | None:
        values = [row[name] for name in names]
        return None if None in values else call(*values)

    return truth


@st.composite
def compared(draw: st.DrawFn) -> Expression:
    sign = draw(st.sampled_from(sorted(COMPARED)))
    call = COMPARED[sign]
    column, literal = draw(
        st.one_of(
            st.tuples(st.sampled_from(["n", "f"]), NUMBERS),
            st.tuples(st.just("s"), st.sampled_from(WORDS)),
            st.tuples(st.just("b"), st.booleans()),
        )
    )
    text = quoted(literal) if isinstance(literal, str) else str(literal).lower()
    if draw(st.booleans()):
        return f"{column} {sign} {text}", lifted(lambda value: call(value, literal), column)
    return f"{text} {sign} {column}", lifted(lambda value: call(literal, value), column)


@st.composite
def of_text(draw: st.DrawFn) -> Expression:
    word = draw(st.sampled_from(WORDS))
    pattern = draw(st.sampled_from(["", "a%", "%b", "_", "%\\%", "%.%", "A_", "%", "%\n%", "é"]))
    bounds = draw(st.tuples(st.integers(-3, 3), NUMBERS))
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
    numbers = draw(st.lists(NUMBERS, min_size=1, max_size=3))
    size = draw(st.integers(0, 3))
    some: list[Expression] = [
        (f"lower(s) = {quoted(word)}", lifted(lambda s: s.lower() == word, "s")),
        (f"upper(s) <> {quoted(word)}", lifted(lambda s: s.upper() != word, "s")),
        (f"length(s) > {size}", lifted(lambda s: len(s) > size, "s")),
        (f"s like {quoted(pattern)}", lifted(lambda s: like(s, pattern), "s")),
        (f"s not like {quoted(pattern)}", lifted(lambda s: not like(s, pattern), "s")),
        (
            f"s ilike {quoted(pattern)}",
            lifted(lambda s: like(s.lower(), pattern.lower()), "s"),
        ),
        (f"s in ({', '.join(map(quoted, words))})", lifted(lambda s: s in words, "s")),
        (f"n in ({', '.join(map(str, numbers))})", lifted(lambda n: n in numbers, "n")),
        (f"n not in ({', '.join(map(str, numbers))})", lifted(lambda n: n not in numbers, "n")),
        (
            f"f between {bounds[0]} and {bounds[1]}",
            lifted(lambda f: bounds[0] <= f <= bounds[1], "f"),
        ),
        ("n < f", lifted(operator.lt, "n", "f")),
        ("b", lambda row: row["b"]),
        ("b is true", lambda row: row["b"] is True),
        ("s is null", lambda row: row["s"] is None),
        ("n is not null", lambda row: row["n"] is not None),
    ]
    return draw(st.sampled_from(some))


@st.composite
def of_typed(draw: st.DrawFn) -> Expression:
    """What only formats with types have: lists and dates."""
    word, day = draw(st.sampled_from(WORDS)), draw(st.sampled_from(DAYS))
    form = draw(
        st.sampled_from(["{} in {}", "{} = any({})", "list_contains({1}, {0})", "{} = any(({}))"])
    )
    some: list[Expression] = [
        (form.format(quoted(word), '"my list"'), lifted(lambda tags: word in tags, "my list")),
        ('length("my list") >= 2', lifted(lambda tags: len(tags) >= 2, "my list")),
        (f"d > '{day}'", lifted(lambda d: d > day, "d")),
        (f"'{day}' = d", lifted(lambda d: d == day, "d")),
    ]
    return draw(st.sampled_from(some))


def like(text: str, pattern: str) -> bool:
    """SQL's LIKE by the shell's patterns: % is *, _ is ?."""
    shell = "".join({"%": "*", "_": "?", "[": "[[]"}.get(sign, sign) for sign in pattern)
    return fnmatch.fnmatchcase(text, shell)


def kleene_and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def kleene_not(value: bool | None) -> bool | None:
    return None if value is None else not value


def grown(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def join(parts: tuple[str, Expression, Expression]) -> Expression:
        word, (left, is_left), (right, is_right) = parts
        text = f"({left}) {word} ({right})"
        if word == "and":
            return text, lambda row: kleene_and(is_left(row), is_right(row))
        return text, lambda row: kleene_not(
            kleene_and(kleene_not(is_left(row)), kleene_not(is_right(row)))
        )

    def negate(part: Expression) -> Expression:
        text, is_true = part
        return f"not ({text})", lambda row: kleene_not(is_true(row))

    pairs = st.tuples(st.sampled_from(["and", "or"]), children, children)
    return pairs.map(join) | children.map(negate)


EVERYWHERE = compared() | of_text()
TYPED = st.recursive(EVERYWHERE | of_typed(), grown, max_leaves=6)
UNTYPED = st.recursive(EVERYWHERE, grown, max_leaves=6)


def batch(rows: list[Row], types: dict[str, Any] = TYPES) -> Any:
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(list(types.items())))


def masked(text: str, table: Any, *, untyped: bool = False) -> list[bool]:
    found = parse_filter(text, KEY)
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    found.check(types, "data", KEY, untyped=untyped)
    mask = found.mask(table, untyped=untyped)
    assert mask.dtype == np.bool_
    return list(mask.tolist())


@settings(max_examples=250, deadline=None)
@given(expression=TYPED, rows=st.lists(ROWS, max_size=8))
def test_any_expression_is_what_python_says(expression: Expression, rows: list[Row]) -> None:
    text, truth = expression
    assert masked(text, batch(rows)) == [truth(row) is True for row in rows]


@settings(max_examples=150, deadline=None)
@given(expression=UNTYPED, rows=st.lists(ROWS, max_size=8))
def test_any_expression_over_a_format_without_types(
    expression: Expression, rows: list[Row]
) -> None:
    text, truth = expression
    rows = [{**row, "s": row["s"] or None} for row in rows]  # a blank is a missing value
    cells = [{name: cell(row[name]) for name in "nfsb"} for row in rows]
    table = batch(cells, dict.fromkeys("nfsb", pa.string()))
    assert masked(text, table, untyped=True) == [truth(row) is True for row in rows]


def test_columns_without_types_meet_as_numbers_where_both_are() -> None:
    cells = [("9", "10"), ("2", "2.0"), ("b", "10"), ("x", "y"), ("", "1"), ("1e3", "-5")]
    rows = [{"n": left, "f": right} for left, right in cells]
    table = batch(rows, dict.fromkeys("nf", pa.string()))
    assert masked("n < f", table, untyped=True) == [True, False, False, True, False, False]
    assert masked("n = f", table, untyped=True) == [False, True, False, False, False, False]
    assert masked("n < f", table) == [False, True, False, True, True, False]  # text, as it says


def cell(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def column(values: list[Any], kind: Any) -> Any:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], ["x"])


NOON = dt.datetime(2024, 5, 31, 12)


@pytest.mark.parametrize(
    ("text", "values", "kind", "want"),
    [
        ("x = 'a'", ["a", "b", None], pa.dictionary(pa.int8(), pa.string()), [1, 0, 0]),
        ("x <> 'a'", ["a", "b", None], pa.large_string(), [0, 1, 0]),
        ("x like '_'", ["a", "bc", None], pa.string_view(), [1, 0, 0]),
        ("'a' in x", [["a"], [], None], pa.list_(pa.large_string()), [1, 0, 0]),
        ("not 'a' in x", [["a"], [], None, [None]], pa.large_list(pa.string()), [0, 1, 0, 1]),
        ("2 = any(x)", [[1, 2], None, [3, 4], [2, 2]], pa.list_(pa.int32(), 2), [1, 0, 0, 1]),
        ("x = 9007199254740993", [2**53, 2**53 + 1], pa.int64(), [0, 1]),
        ("x > 0.5", [2**53 + 1, 0, None], pa.int64(), [1, 0, 0]),
        ("x = 1e2", [100, 99, None], pa.uint8(), [1, 0, 0]),
        ("x > -1", [2**64 - 1, 0], pa.uint64(), [1, 1]),
        ("x >= 5", [2**64 - 1, 4], pa.uint64(), [1, 0]),
        ("x = 1.5", [1.5, 2.0], pa.float16(), [1, 0]),
        ("x = 0.1", [Decimal("0.10"), Decimal("0.11")], pa.decimal128(5, 2), [1, 0]),
        ("x in (1, 2.5)", [1, 2, 3], pa.int16(), [1, 0, 0]),
        ("x is null", [None, None], pa.null(), [1, 1]),
        ("x = 3", [None, None], pa.null(), [0, 0]),
        ("x like 'a'", [None], pa.null(), [0]),
        ("length(x) = 2", ["é東", "abc"], pa.string(), [1, 0]),
        ("x >= '2024-05-31'", [NOON, NOON.replace(day=30)], pa.timestamp("s"), [1, 0]),
        ("x = '2024-05-31 12:00'", [NOON], pa.timestamp("ns"), [1]),
        ("x < '2024-05-31T12:00:00.5'", [NOON], pa.timestamp("s"), [1]),
        ("x = '2024-05-31T12:00:00Z'", [NOON], pa.timestamp("us", "Europe/Berlin"), [1]),
        ("x = '2024-05-31T14:00:00+02:00'", [NOON], pa.timestamp("ms", "UTC"), [1]),
        ("x = '2024-05-31T12:00:00'", [NOON], pa.timestamp("ms", "UTC"), [1]),
        ("x in ('2024-05-31', '2024-06-01')", [NOON.date(), None], pa.date64(), [1, 0]),
        ("x is not true", [True, False, None], pa.bool_(), [0, 1, 1]),
        ("not x", [True, False, None], pa.bool_(), [0, 1, 0]),
    ],
)
def test_column_types(text: str, values: Any, kind: Any, want: list[int]) -> None:
    assert masked(text, column(values, kind)) == [bool(value) for value in want]


def test_names_are_taken_as_they_are() -> None:
    types = {"Label": pa.string(), "label": pa.string(), "a.b": pa.int64(), 'q"x': pa.bool_()}
    rows = [{"Label": "x", "label": "y", "a.b": 1, 'q"x': True}]
    assert masked("label = 'y' and \"Label\" = 'x'", batch(rows, types)) == [True]
    assert masked('"a.b" = 1 and "q""x"', batch(rows, types)) == [True]
    found = parse_filter("b > 1 and (a = 'x' or B < 2) and b < 9", KEY)
    assert found.columns == ("b", "a", "B")
    assert isinstance(found, Filter) and found.text.startswith("b > 1")


def test_columns_meet_columns() -> None:
    types = {"a": pa.uint64(), "b": pa.int32(), "c": pa.timestamp("s"), "d": pa.date32()}
    rows = [{"a": 3, "b": 3, "c": dt.datetime(2024, 1, 1), "d": dt.date(2024, 1, 1)}]
    assert masked("a = b and c = d", batch(rows, types)) == [True]
    types["c"] = pa.timestamp("s", "Europe/Berlin")
    assert masked("c = d", batch(rows, types)) == [True]


def test_a_slice_of_a_batch() -> None:
    rows = [{"n": n, "my list": ["a"] if n % 2 else None} for n in range(9)]
    part = batch([{**dict.fromkeys(TYPES), **row} for row in rows]).slice(3, 4)
    assert masked("'a' in \"my list\" and n > 3", part) == [False, False, True, False]


def test_a_long_chain_is_no_deep_one() -> None:
    text = " or ".join(f"n = {n}" for n in range(3000))
    assert masked(text, batch([{**dict.fromkeys(TYPES), "n": n} for n in (7, 3000)])) == [1, 0]


@pytest.mark.parametrize(
    ("literal", "true"),
    [("1 is null", 0), ("'a' is not null", 1), ("'a' in ('a', 'b')", 1), ("'a' in ('b')", 0)],
)
def test_a_literal_is_asked_beside_a_column(literal: str, true: int) -> None:
    table = batch([{**dict.fromkeys(TYPES), "n": n} for n in (1, 2)])
    assert masked(f"{literal} or n = 2", table) == [true, 1]
    assert masked(f"{literal} and n = 2", table) == [0, true]


def test_text_is_read_as_numbers_where_it_has_to() -> None:
    table = batch([{"x": x} for x in ("10", " 9 ", "", " ", "1e1", "9.5")], {"x": pa.string()})
    assert masked("x >= 9.5", table, untyped=True) == [1, 0, 0, 0, 1, 1]
    assert masked("x is null", table, untyped=True) == [0, 0, 1, 0, 0, 0]
    assert masked("x = '10'", table, untyped=True) == [1, 0, 0, 0, 0, 0]
    assert masked("length(x) = 3", table, untyped=True) == [0, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("price > 3", ("column 'price'", "'dear'", "no number", KEY)),
        ("flag", ("column 'flag'", "'maybe'", "neither true nor false")),
        ("'a' in tags", ("column 'tags' holds text, not lists",)),
    ],
)
def test_text_that_is_not_what_it_has_to_be(text: str, words: tuple[str, ...]) -> None:
    row = {"price": "dear", "flag": "maybe", "tags": "a"}
    table = batch([row], dict.fromkeys(row, pa.string()))
    with pytest.raises(DataError) as error:
        masked(text, table, untyped=True)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yeer > 3", ("data has no column 'yeer'", KEY, "did you mean 'year'?")),
        ('split = "train"', ("no column 'train'", "'single quotes'")),
        ("Year > 3", ("no column 'Year'", "did you mean 'year'?")),
        ("year = 'x'", ("column 'year' (numbers)", "'x' (text)", "data, dataset.where")),
        ("split > 3", ("column 'split' (text)", "3 (numbers)")),
        ("split = year", ("column 'split' (text)", "column 'year' (numbers)")),
        ("year", ("column 'year' (numbers)", "True (booleans)")),
        ("tags = 'x'", ("column 'tags' (lists)",)),
        ("tags = tags", ("cannot be compared",)),
        ("year like 'x'", ("column 'year' holds numbers; like needs text",)),
        ("lower(year) = 'x'", ("lower needs text",)),
        ("length(year) = 3", ("length needs text",)),
        ("'x' in split", ("column 'split' holds text, not lists",)),
        ("3 in tags", ("an element of column 'tags' (text)",)),
        ("day > 'soon'", ("column 'day' holds dates", "'soon' is none", "'2024-05-31'")),
        ("raw = 'x'", ("column 'raw' (binary)",)),
        ("raw = raw", ("cannot be compared",)),
    ],
)
def test_a_table_that_does_not_fit(text: str, words: tuple[str, ...]) -> None:
    types = {
        "year": pa.int32(),
        "split": pa.dictionary(pa.int32(), pa.string()),
        "tags": pa.list_(pa.string()),
        "day": pa.date32(),
        "raw": pa.binary(),
    }
    with pytest.raises(DataError) as error:
        parse_filter(text, KEY).check(types, "data", KEY)
    for word in words:
        assert word in str(error.value), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("x in (select y from t)", "x IN (SELECT y FROM t)"),
        ("exists (select 1)", "EXISTS(SELECT 1)"),
        ("abs(x) > 3", "ABS(x)"),
        ("nosuch(x) = 1", "NOSUCH(x)"),
        ("x + 1 > 3", "x + 1"),
        ("x || 'a' = 'b'", "x || 'a'"),
        ("x = null", "is null"),
        ("x in ('a', null)", "is null"),
        ("x = cast(y as int)", "CAST(y AS INT)"),
        ("t.x = 1", "t.x"),
        ("x like y", "y"),
        ("x like 'a!%' escape '!'", "ESCAPE"),
        ("x between symmetric 2 and 1", "x BETWEEN 2 AND 1"),
        ("1 = 1 and x = 2", "1 = 1"),
        ("a < b < c", "a < b"),
        ("x in (y)", "y"),
        ("x = any(['a'])", "['a']"),
        ("count(*) > 1", "COUNT(*)"),
        ("case when x then true end", "CASE"),
        ("x > ?", "?"),
        ("'a'", "'a'"),
        ("true", "TRUE"),
        ("length(distinct x) > 1", "DISTINCT"),
        ("x = 1; y = 2", "';'"),
        ("x = 1; drop table t", "near 'drop'"),
        ("select 1", "near"),
        ("x = ", "near '='"),
        ("x = 'abc", "quote"),
        ("(x = 1", "near '1'"),
        ("x y", "near"),
        ("", "is empty"),
        ("  -- nothing", "is empty"),
        ("not " * 3000 + "x", "nested too deeply"),
        ("(" * 3000 + "x = 1" + ")" * 3000, "nested too deeply"),
    ],
)
def test_what_is_not_understood(text: str, part: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_filter(text, KEY)
    message = str(error.value)
    assert part in message and KEY in message
    assert "\n" not in message and "\x1b" not in message

"""Filter expressions: as plain Python evaluates them, and what is refused."""

from __future__ import annotations

import datetime as dt
import fnmatch
import operator
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

import miner
from miner.datasets.where import parse_condition
from miner.errors import DataError, UsageError
from tests.conftest import Result

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
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    mask = parse_condition(text, KEY).fit(types, "data", untyped=untyped).mask(table)
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
    found = parse_condition("b > 1 and (a = 'x' or B < 2) and b < 9", KEY)
    assert found.columns == ("b", "a", "B")
    assert found.text.startswith("b > 1")


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
        ("price > 3", ("'dear'", "DOUBLE", "data, dataset.where")),
        ("flag", ("'maybe'", "BOOL")),
        ("flag = true", ("'maybe'", "BOOL")),
        ("cast(price as int) = 1", ("'dear'", "INT")),
        ("list_contains(tags, 'a')", ("list_contains", "VARCHAR")),
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
        ("t.year = 1", ("no column 't'",)),
        ("year > current_date", ("no column 'current_date'",)),
        ("year = 'x'", ("'x' is text", "year", "INTEGER", "data, dataset.where")),
        ("year = '2000.6'", ("is text", "INTEGER")),
        ("split > 3", ("split is text and 3 INTEGER",)),
        ("split = 3", ("split is text and 3 INTEGER",)),
        ("split in (1, 2)", ("split is text and 1 INTEGER",)),
        ("split = year", ("split is text", "INTEGER")),
        ("split = length(split)", ("split is text and length(split) BIGINT",)),
        ("split", ("is VARCHAR, neither true nor false",)),
        ("year", ("is INTEGER, neither true nor false",)),
        ("year + 1", ("neither true nor false",)),
        ("tags = 'x'", ("'x'", "cast")),
        ("year like 'x'", ("~~(INTEGER",)),
        ("lower(year) = 'x'", ("lower(INTEGER)",)),
        ("length(year) = 3", ("length(INTEGER)",)),
        ("3 in tags", ("contains",)),
        ("'x' = any(split)", ("list_contains",)),
        ("day > 'soon'", ('"soon"', "YYYY-MM-DD")),
        ("day > 5", ("DATE", "INTEGER")),
    ],
)
def test_a_table_that_does_not_fit(text: str, words: tuple[str, ...]) -> None:
    types = {
        "year": pa.int32(),
        "split": pa.dictionary(pa.int32(), pa.string()),
        "tags": pa.list_(pa.string()),
        "day": pa.date32(),
    }
    with pytest.raises(DataError) as error:
        parse_condition(text, KEY).fit(types, "data")
    for word in words:
        assert word in str(error.value), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("x in (select y from t)", "holds a subquery"),
        ("exists (select 1)", "holds a subquery"),
        ("x = any(select unnest(y) where false)", "holds a subquery"),
        ("x = any(select unnest())", "holds a subquery"),
        ("x = any(select unnest(y)[1])", "holds a subquery"),
        ("x in (select content from read_text('/etc/passwd'))", "holds a subquery"),
        ("1) from read_csv('/etc/passwd') --", "cannot be read"),
        ("x = 1 from read_csv('/etc/passwd')", "only what follows WHERE"),
        ("x = 1 union select true", "only what follows WHERE"),
        ("x = 1 order by random()", "only what follows WHERE"),
        ("x = 1, y = 2", "only what follows WHERE"),
        ("x y", "only what follows WHERE"),
        ("x > ?", "only what follows WHERE"),
        ("x = 1; y = 2", "cannot be read"),
        ("x = 1; select true", "only what follows WHERE"),
        ("x = 1; attach 'a.db'", "cannot be read"),
        ("x = 1; drop table t", "cannot be read"),
        ("x = 'a\0'", "null character"),
        ("read_text(x) = 'a'", "calls read_text"),
        ("nosuch(x) = 1", "calls nosuch"),
        ("x > random()", "calls random"),
        ("x = uuid()", "calls uuid"),
        ("x > now()", "calls now"),
        ("x > today()", "calls today"),
        ("age(x) > interval 1 year", "calls age"),
        ("x = hash(y)", "calls hash"),
        ("x = current_setting('threads')", "calls current_setting"),
        ("x = nextval('s')", "calls nextval"),
        ("count(*) > 1", "calls count_star"),
        ("sum(x) > 1", "calls sum"),
        ("unnest(x) = 1", "calls unnest"),
        ("sum(x) over () > 1", "holds a window"),
        ("#1 = 2", "holds a positional reference"),
        ("columns(*) > 1", "holds a star"),
        ("'a'", "names no column"),
        ("true", "names no column"),
        ("select 1", "cannot be read"),
        ("x = ", "cannot be read"),
        ("x = 'abc", "unterminated"),
        ("(x = 1", "cannot be read"),
        ("", "cannot be read"),
        ("  -- nothing", "cannot be read"),
        ("not " * 3000 + "x", "nested too deeply"),
        ("not " * 120 + "x", "nested too deeply"),
        ("abs(" * 100 + "x" + ")" * 100 + " = 1", "nested too deeply"),
    ],
)
def test_what_is_not_understood(text: str, part: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_condition(text, KEY)
    message = str(error.value)
    assert part in message and KEY in message
    assert "\n" not in message and "\x1b" not in message


ROW_TYPES = {
    "n": pa.int64(),
    "s": pa.string(),
    "f": pa.float64(),
    "d": pa.date32(),
    "t": pa.timestamp("us"),
    "tags": pa.list_(pa.string()),
    "st": pa.struct([("a", pa.int8()), ("b", pa.string())]),
    "naïve é": pa.int64(),
    "batch": pa.struct([("s", pa.string())]),
}
SQL_ROWS = [
    {
        "n": 1,
        "s": "apple",
        "f": 0.5,
        "d": dt.date(2024, 2, 29),
        "t": dt.datetime(2024, 2, 29, 23, 59),
        "tags": ["x", "yy"],
        "st": {"a": 1, "b": "one"},
        "naïve é": 10,
        "batch": {"s": "in"},
    },
    {
        "n": 2,
        "s": "Banana",
        "f": float("nan"),
        "d": dt.date(2023, 12, 31),
        "t": dt.datetime(2023, 12, 31),
        "tags": [],
        "st": {"a": None, "b": "two"},
        "naïve é": 20,
        "batch": {"s": "out"},
    },
    dict.fromkeys(ROW_TYPES),
]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("s like '%an%'", "010"),
        ("s not like 'a%'", "010"),
        ("s like 'a!%' escape '!'", "000"),
        ("s ilike 'APP_E'", "100"),
        ("s similar to '[a-z]+'", "100"),
        ("s glob '?anana'", "010"),
        ("regexp_matches(s, '^b', 'i')", "010"),
        ("s || '!' = 'apple!'", "100"),
        ("s collate nocase = 'banana'", "010"),
        ("starts_with(s, 'app') or contains(s, 'nan')", "110"),
        ("'nan' in s", "010"),
        ("substring(s from 1 for 2) = 'ap' and split_part(s, 'p', 1) = 'a'", "100"),
        ("md5(s) < '8'", "100"),
        ("s = 'apple' -- and n = 2", "100"),
        ("n in (2, 3) or n is null", "011"),
        ("n not in (2)", "100"),
        ("n in (1, null)", "100"),
        ("n = null", "000"),
        ("n between 2 and 3", "010"),
        ("n % 2 = 0", "010"),
        ("n + 1 > 2 and abs(-n) < 5", "010"),
        ("(n, s) = (1, 'apple')", "100"),
        ("n is distinct from 1", "011"),
        ("not (n = 1)", "010"),
        ("case when n = 1 then s = 'apple' else n = 2 end", "110"),
        ("case n when 1 then 'a' else 'b' end = 'b'", "011"),
        ("coalesce(n, 0) = 0", "001"),
        ("nullif(s, 'apple') is null", "101"),
        ("if(n = 1, true, false)", "100"),
        ("try_cast(s as int) is null", "111"),
        ("cast(n as varchar) = '1'", "100"),
        ("n::double / 2 = 0.5", "100"),
        ("f > 0.1", "100"),  # NaN is missing, not the greatest number
        ("f < 0.1 or f >= 0.1", "100"),
        ("f is null", "011"),
        ("d > '2024-01-01'", "100"),
        ("d = date '2023-12-31'", "010"),
        ("year(d) = 2024 and extract(month from d) = 2", "100"),
        ("d + interval 1 day = '2024-03-01'", "100"),
        ("date_diff('day', d, date '2024-03-01') = 1", "100"),
        ("strftime(t, '%H:%M') = '23:59'", "100"),
        ("date_trunc('month', t) = '2023-12-01'", "010"),
        ("'x' in tags", "100"),
        ("list_contains(tags, 'yy')", "100"),
        ("'x' = any(tags)", "100"),
        ("s = any(['apple', 'pear'])", "100"),
        ("len(tags) = 0", "010"),
        ("tags[1] = 'x' and tags[-1] = 'yy'", "100"),
        ("list_has_any(tags, ['yy', 'z'])", "100"),
        ("len([tag for tag in tags if length(tag) = 2]) = 1", "100"),
        ("len([n for n in tags if n = 'x']) = 1 and n = 1", "100"),
        ("list_sum([n, 1]) = 3", "010"),
        ("st.a = 1", "100"),
        ("st['b'] = 'two'", "010"),
        ("st.a is null and st.b is not null", "010"),
        ('"naïve é" = 20', "010"),
        ("batch.s = 'in' and s = 'apple'", "100"),
    ],
)
def test_conditions_of_sql(text: str, want: str) -> None:
    table = batch(SQL_ROWS, ROW_TYPES)
    assert masked(text, table) == [sign == "1" for sign in want]


def test_batches_are_the_rows_of_the_table_in_order() -> None:
    rng = np.random.default_rng(4)
    values = rng.integers(0, 9, 10_000)
    table = pa.RecordBatch.from_pydict({"x": values, "s": list(map(str, values % 5))})
    fitted = parse_condition("x > 3 and s <> '4'", KEY).fit(
        {"x": pa.int64(), "s": pa.string()}, "data"
    )
    want = (values > 3) & (values % 5 != 4)
    for size in (1, 7, 4096, 10_000):
        starts = range(0, len(values) if size > 7 else 50, size)
        parts = [fitted.mask(table.slice(start, size)) for start in starts]
        found = np.concatenate(parts)
        assert (found == want[: len(found)]).all()
    assert fitted.mask(table.slice(0, 0)).shape == (0,)


def test_whole_numbers_of_a_format_without_types_are_exact() -> None:
    cells = ["9007199254740993", "007", "+7", "7.0", "1234567890123456789012", "", "nan"]
    table = batch([{"x": cell} for cell in cells], {"x": pa.string()})
    assert masked("x = 9007199254740992", table, untyped=True) == [0] * 7
    assert masked("x = 7", table, untyped=True) == [0, 1, 1, 1, 0, 0, 0]
    assert masked("x in (7, 9007199254740993)", table, untyped=True) == [1, 1, 1, 1, 0, 0, 0]
    assert masked("x > 1e20", table, untyped=True) == [0, 0, 0, 0, 1, 0, 0]
    assert masked("x = '007'", table, untyped=True) == [0, 1, 0, 0, 0, 0, 0]
    assert masked("x > length(x)", table, untyped=True) == [1, 1, 1, 1, 1, 0, 0]


def write_years(folder: Path) -> Path:
    lines = [f"{row:03},text {row},{row % 3},{1990 + row}" for row in range(30)]
    file = folder / "years.csv"
    file.write_text("\n".join(["id,text,label,year", *lines]) + "\n")
    return file


def run_where(cli: Callable[..., Result], data: Path, *sets: str) -> Result:
    settings = [word for one in ("select.max_triplets=0", *sets) for word in ("--set", one)]
    model = ["--model", "tests.datasets.test_where:Lengths"]
    return cli("run", "--data", data, "--out", data.parent / "out", *model, "--json", *settings)


class Lengths:
    """A model for runs whose vectors do not matter."""

    def embed(self, batch: Any) -> Any:
        return np.asarray([[len(text), sum(map(ord, text))] for text in batch], np.float32)


def test_a_csv_is_filtered_by_numbers(tmp_path: Path, cli: Callable[..., Result]) -> None:
    data = write_years(tmp_path)
    told = run_where(cli, data, "dataset.where=year >= 2000", "dataset.anchors=id < 15")
    assert told.code == 0, told.err
    run = miner.open_run(tmp_path / "out")
    assert run.manifest["dataset"]["items"] == 20
    assert run.census()["anchor_id"].to_pylist() == [f"{row:03}" for row in range(10, 15)]


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ("dataset.where=1) from read_csv('/etc/passwd') --", 2, ["dataset.where", "syntax error"]),
        ("dataset.anchors=year > random()", 2, ["dataset.anchors", "calls random"]),
        ("dataset.anchors=yaer > 3", 3, ["dataset.anchors", "did you mean 'year'?"]),
        ("dataset.where=text > 3", 3, ["years.csv, dataset.where", "text 0", "DOUBLE"]),
        ("dataset.where=cast(text as date) > '2024-01-01'", 3, ["years.csv", "text 0"]),
    ],
)
def test_a_condition_that_fails_ends_in_a_line(
    setting: str, code: int, words: list[str], tmp_path: Path, cli: Callable[..., Result]
) -> None:
    told = run_where(cli, write_years(tmp_path), "output.report=false", setting)
    lines = [line for line in told.err.splitlines() if line.startswith("mine: error: ")]
    assert (told.code, len(lines)) == (code, 1), told.err
    for word in words:
        assert word in lines[0]


def test_without_duckdb_the_extra_is_named_before_data_is_read(tmp_path: Path) -> None:
    code = "import sys; sys.modules['duckdb'] = None; from miner.cli.main import main; main()"
    words = ["run", "--data", "no such file.csv", "--set", "dataset.where=year > 2000"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and "[sql]" in done.stderr, done.stderr

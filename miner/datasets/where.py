"""Conditions on rows in the syntax of SQL's WHERE, evaluated by DuckDB batch by batch.

DuckDB parses a condition to a tree. Only expressions over the columns of one row are allowed: no
other tables, no aggregates, and no functions whose result depends on the clock, the machine or a
random number. Column names are case-sensitive, as everywhere in a job, and NaN is a missing value.
Text cannot be compared with numbers or booleans, except in formats without types: there an empty
text is a missing value, and a column that is compared with numbers or booleans is converted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.errors import DataError, UsageError, did_you_mean, install_hint

__all__ = ["Condition", "Filter", "parse_condition"]

Node = dict[str, Any]

_CONFIG = {"threads": "1", "enable_external_access": "false"}  # one thread keeps the rows in order
_SETTINGS = """
set global TimeZone = 'UTC'; set max_expression_depth = 60; set global lock_configuration = true
"""
"""The limit of depth is 60 because DuckDB reads a tree from JSON to a depth of 256: a call takes
three levels, and the casts of `_meet` add more."""
_KINDS = {"BETWEEN", "CASE", "CAST", "COLLATE", "COMPARISON", "CONJUNCTION", "CONSTANT", "OPERATOR"}
_KINDS |= {"COLUMN_REF", "FUNCTION", "LAMBDA", "TYPE"}
_PURE = """
select function_name from duckdb_functions() where function_type in ('scalar', 'macro')
group by function_name having bool_or(function_type = 'macro' or stability = 'CONSISTENT')
and not bool_or(coalesce(stability, '') = 'VOLATILE')
and not regexp_matches(function_name, '^(current_|get|pg_|txid_|vector_|(age|ago|hash|version)$)')
"""
"""Selects functions whose result depends only on their arguments; `hash` differs by version."""
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\)")
_WHOLE = "regexp_full_match(trim({}), '[+-]?[0-9]{{1,18}}')"
_FRACTION = "nullif(cast(nullif(trim({}), '') as double), 'nan')"


@dataclass(frozen=True)
class Condition:
    """A parsed condition: its text, its job key, and its columns in order of appearance."""

    text: str
    key: str
    columns: tuple[str, ...]
    _names: tuple[str, ...]
    _tree: Node

    def fit(self, types: Mapping[str, Any], where: str, *, untyped: bool = False) -> Filter:
        """Bind the condition to a table and return the filter of its rows.

        Parameters
        ----------
        types : mapping of str to pyarrow.DataType
            The types of the table's columns.
        where : str
            The table, as error messages name it.
        untyped : bool
            Whether the format has no types, so that every value is text.

        Raises
        ------
        DataError
            If a column is missing, or its type does not fit the condition.
        """
        for name in self.columns:
            if name not in types:
                raise DataError(
                    f"{where} has no column {name!r}, which {self.key} uses (texts need "
                    f"'single quotes'): {did_you_mean(name, types)}"
                )
        what, cursor = f"{where}, {self.key} {self.text!r}", _database().cursor()
        nulls = [pa.nulls(1, types[name]) for name in self.columns]
        row = pa.RecordBatch.from_arrays(nulls, names=list(self.columns))
        try:
            query = self._write(row, cursor, untyped)
        except ValueError as error:
            raise DataError(f"{what}: {error}") from None
        found = Filter(**vars(self), _query=query, _cursor=cursor, _untyped=untyped, _what=what)
        found.mask(row)  # raises now, instead of at the first batch of data
        return found

    def _write(self, row: pa.RecordBatch, cursor: Any, untyped: bool) -> str:
        """Return the SQL query for batches with the columns of `row`.

        Raises
        ------
        ValueError
            If the types do not fit; its text is the reason.
        """
        cursor.register("batch", self._renamed(row, untyped))

        def kinds(parts: list[Node]) -> list[str]:
            return list(_fetch(cursor, f"describe from batch select {_sql(parts)}")[1])

        tree = deepcopy(self._tree)
        nodes = [node for node, bound in _nodes(tree) if _operands(node) and not bound]
        parts = [part for node in nodes for part in _operands(node)]
        parts = [part for part in parts if not any(_operands(inner) for inner, _ in _nodes(part))]
        known = dict(zip(map(id, parts), kinds(parts), strict=True)) if parts else {}
        for node in reversed(nodes):
            _meet(node, [known.get(id(part), "") for part in _operands(node)], untyped)
        [kind] = kinds([tree])
        if kind not in ("BOOLEAN", '"NULL"') and not (untyped and tree["class"] == "COLUMN_REF"):
            raise ValueError(f"it is {kind}, neither true nor false; compare it with a value")
        return f"from batch select ({_sql([tree])}) is true"

    def _renamed(self, batch: pa.RecordBatch, untyped: bool) -> pa.RecordBatch:
        columns = [_plain(batch.column(name), untyped) for name in self.columns]
        return pa.RecordBatch.from_arrays(columns, names=self._names)


@dataclass(frozen=True)
class Filter(Condition):
    """A condition bound to the columns of a table."""

    _query: str
    _cursor: Any
    _untyped: bool
    _what: str

    def mask(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Return, for each row of a batch, whether the condition is true.

        Raises
        ------
        DataError
            If a value cannot be converted as the condition requires.
        """
        self._cursor.register("batch", self._renamed(batch, self._untyped))
        try:
            [keep] = _fetch(self._cursor, self._query)
        except ValueError as error:
            raise DataError(f"{self._what}: {error}") from None
        return np.asarray(keep, dtype=np.bool_)


def parse_condition(text: str, key: str) -> Condition:
    """Parse a condition.

    Parameters
    ----------
    text : str
    key : str
        The job key of the condition, for messages.

    Raises
    ------
    UsageError
        If it cannot be parsed or is not a condition on one row, or if DuckDB is not installed.
    """
    names: dict[str, str] = {}
    try:
        tree = _parsed(text)
        for node, bound in _nodes(tree):
            _check(node, bound, names)
        _sql([tree])  # DuckDB 1 fails here on numbers beyond float64
    except ValueError as error:
        raise UsageError(f"{key}: {text!r} {error}") from None
    if not names:
        raise UsageError(f"{key}: {text!r} names no column; compare one, such as year >= 2000")
    return Condition(text, key, tuple(names), tuple(names.values()), tree)


@cache
def _database() -> Any:
    """Open an empty database in memory, without access to files or the network."""
    try:
        import duckdb
    except ImportError:
        hint = install_hint("sql")
        raise UsageError(f"dataset.where and dataset.anchors need DuckDB: {hint}") from None
    connection = duckdb.connect(":memory:", config=_CONFIG)
    connection.execute(_SETTINGS)
    return connection


@cache
def _functions() -> frozenset[str]:
    return frozenset(_fetch(_database(), _PURE)[0])


def _fetch(cursor: Any, query: str, *values: str) -> list[Any]:
    """Return the columns of a query's result; raise `ValueError` with an error's first line."""
    import duckdb

    try:
        return list(cursor.execute(query, values).fetchnumpy().values())
    except duckdb.Error as error:
        _database.cache_clear()  # after an internal error DuckDB refuses all further queries
        raise ValueError(str(error).splitlines()[0].partition(": ")[2]) from None


@lru_cache(64)
def _serialized(sql: str) -> str:
    [[found]] = _fetch(_database(), "select json_serialize_sql(?)", sql)
    return str(found)


def _parsed(text: str) -> Node:
    """Parse one expression to its tree; raise `ValueError` with the reason if that fails."""
    if "\0" in text:  # DuckDB would ignore the rest
        raise ValueError("holds a null character; remove it")
    found = json.loads(_serialized(f"select {text}\n"))
    if found["error"]:
        reason = found["error_message"].splitlines()[0]
        if "expression depth" in reason:
            raise ValueError("is nested too deeply; use in (...)")
        raise ValueError(f"cannot be read: {reason}")
    columns = found["statements"][0]["node"].get("select_list", [])
    if len(columns) != 1 or columns[0]["alias"] or found != _select(columns):
        raise ValueError("is not one condition; give only what follows WHERE")
    return dict(columns[0])


def _select(columns: list[Node]) -> Any:
    """Return the tree of a statement that selects only these columns."""
    select = json.loads(_serialized("select 1"))
    select["statements"][0]["node"]["select_list"] = columns
    return select


def _sql(trees: list[Node]) -> str:
    """Return the text of expressions, separated by commas."""
    select = json.dumps(_select(trees))
    [[text]] = _fetch(_database(), "select json_deserialize_sql(?)", select)
    return str(text).removeprefix("SELECT ")


def _replace(node: Node, other: Node) -> None:
    node.clear()
    node.update(other)


def _nodes(node: Any, bound: frozenset[str] = frozenset()) -> Iterator[tuple[Node, frozenset[str]]]:
    """Yield the expressions of a tree from the root down, each with its lambda parameters."""
    if isinstance(node, dict):
        if "class" in node:
            yield node, bound
        if node.get("class") == "LAMBDA":
            inner = [part for part, _ in _nodes(node["lhs"])]
            bound |= {part["column_names"][0] for part in inner if "column_names" in part}
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _nodes(part, bound)


def _operands(node: Node) -> list[Node]:
    """Return the operands of a comparison; [] for other expressions."""
    if not node["type"].startswith("COMPARE_"):
        return []
    names = ("left", "right", "input", "lower", "upper")
    return node.get("children") or [node[name] for name in names if name in node]


def _check(node: Node, bound: frozenset[str], names: dict[str, str]) -> None:
    """Check an expression and rename its column for DuckDB.

    `bound` are the names of lambda parameters, which are not columns.
    """
    kind = node["class"]
    if kind == "SUBQUERY" and (elements := _elements(node)):
        _replace(node, _parsed(f"list_contains({elements}, {_sql([node['child']])})"))
    elif kind not in _KINDS:
        words = kind.lower().replace("_", " ")
        raise ValueError(f"holds a {words}; take columns, values and functions of them")
    elif kind == "FUNCTION" and (name := node["function_name"]) not in _functions():
        raise ValueError(f"calls {name}, which is no function of the values of one row alone")
    elif kind == "COLUMN_REF" and (name := node["column_names"][0]) not in bound:
        alias, taken = name, {"batch", *map(str.lower, names.values())}
        while name not in names and alias.lower() in taken:  # DuckDB ignores the case of names
            alias += "_"
        node["column_names"][0] = names.setdefault(name, alias)


def _elements(node: Node) -> str:
    """Return LIST of ``VALUE = any(LIST)``, which DuckDB parses as a subquery; else ''."""
    inner = node["subquery"]["node"]
    columns = inner.get("select_list", [])
    names = [column.get("function_name") for column in columns]
    bare = inner == _select(columns)["statements"][0]["node"]
    if node["comparison_type"] != "COMPARE_EQUAL" or names != ["unnest"] or not bare:
        return ""
    elements = _sql(columns).removeprefix("unnest")
    return elements if elements != "()" else ""


def _meet(node: Node, kinds: list[str], untyped: bool) -> None:
    """Check the types of a comparison; in a format without types, cast text columns.

    Raises
    ------
    ValueError
        If text is compared with numbers or booleans and is not cast.
    """
    parts = _operands(node)
    texts = {place: _sql([parts[place]]) for place, kind in enumerate(kinds) if kind == "VARCHAR"}
    other = next((kind for kind in kinds if kind == "BOOLEAN" or _NUMBER.fullmatch(kind)), None)

    def cast(template: str) -> str:
        for place, text in texts.items():
            _replace(parts[place], _parsed(template.format(text)))
        return _sql([node])

    if not untyped or any(parts[place]["class"] != "COLUMN_REF" for place in texts):
        if texts and other:
            text, value = next(iter(texts.values())), _sql([parts[kinds.index(other)]])
            raise ValueError(f"{text} is text and {value} {other}; compare like with like")
    elif texts and other == "BOOLEAN":
        cast("cast({} as boolean)")
    elif texts and other:
        whole = " and ".join(map(_WHOLE.format, texts.values()))
        ways = cast("cast({} as bigint)"), cast(_FRACTION)
        _replace(node, _parsed("case when {} then {} else {} end".format(whole, *ways)))
    elif len(texts) == 2 and node["class"] == "COMPARISON" and "DISTINCT" not in node["type"]:
        numbers = cast("try_cast({} as double)")  # null unless both are numbers
        _replace(node, _parsed(f"coalesce({numbers}, {cast('{}')})"))


def _plain(column: Any, untyped: bool) -> Any:
    """Replace NaN by null; in a format without types, also empty texts."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), None, column)
    return pc.if_else(pc.equal(column, ""), None, column) if untyped else column

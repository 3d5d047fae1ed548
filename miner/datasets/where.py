"""Conditions on rows: what follows WHERE in SQL, evaluated by DuckDB over one batch at a time.

DuckDB parses a condition to a tree, and only an expression of one row's columns passes: no other
table, no aggregate, no function whose answer depends on the clock, the machine or chance. Column
names are case-sensitive, as everywhere in a job, and a NaN is a missing value. Text is no number,
except in formats without types: there a blank is a missing value, and a column is read as numbers
or booleans where it is compared with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.errors import DataError, UsageError, did_you_mean, install_hint

__all__ = ["Condition", "Filter", "parse_condition"]

Node = dict[str, Any]

_CONFIG = {  # no files, no network, no code from elsewhere; one thread keeps the order of rows
    "threads": "1",
    "preserve_insertion_order": "true",
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
}
_DEPTH = 180
"""Of a tree: DuckDB reads JSON to a depth of 256, and the casts below add to it."""
_KINDS = {"BETWEEN", "CASE", "CAST", "COLLATE", "COMPARISON", "CONJUNCTION", "CONSTANT", "OPERATOR"}
_KINDS |= {"COLUMN_REF", "FUNCTION", "LAMBDA", "TYPE"}
_PURE = """
select function_name from duckdb_functions() where function_type in ('scalar', 'macro')
group by function_name having bool_or(function_type = 'macro' or stability = 'CONSISTENT')
and not bool_or(coalesce(stability, '') = 'VOLATILE')
and not regexp_matches(function_name, '^(current_|get|pg_|txid_|vector_|(age|ago|hash|version)$)')
"""
"""The functions of their arguments alone; `hash` is another one in other versions of DuckDB."""
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL\(.*\)")
_WHOLE = "cast(trim(x) as bigint)"
_FRACTION = "nullif(cast(nullif(trim(x), '') as double), 'nan')"
_IS_WHOLE = "regexp_full_match(trim({}), '[+-]?[0-9]{{1,18}}')"


@dataclass(frozen=True)
class Condition:
    """A condition as it was written, its job key, and its columns in order of appearance."""

    text: str
    key: str
    columns: tuple[str, ...]
    _names: tuple[str, ...]
    _tree: Node

    def fit(self, types: Mapping[str, Any], where: str, *, untyped: bool = False) -> Filter:
        """Return the filter of a table's rows.

        Parameters
        ----------
        types : mapping of str to pyarrow.DataType
            The table's columns.
        where : str
            The table, as messages name it.
        untyped : bool
            Whether every value is text because the format has no types.

        Raises
        ------
        DataError
            When a column is missing, or its type does not suit the condition.
        """
        for name in self.columns:
            if name not in types:
                raise DataError(
                    f"{where} has no column {name!r}, which {self.key} asks for (texts stand in "
                    f"'single quotes'): {did_you_mean(name, types)}"
                )
        cursor, what = _database().connection.cursor(), f"{where}, {self.key} {self.text!r}"
        columns = [_plain(pa.nulls(1, types[name]), untyped) for name in self.columns]
        row = pa.RecordBatch.from_arrays(columns, names=self._names)

        def kinds(parts: list[Node]) -> list[str]:
            return list(_fetch(cursor, f"describe from batch select {_sql(parts)}", row, what)[1])

        tree = deepcopy(self._tree)
        nodes = [node for node in _nodes(tree) if _operands(node)]
        parts = [part for node in nodes for part in _operands(node)]
        parts = [part for part in parts if not any(map(_operands, _nodes(part)))]
        known = dict(zip(map(id, parts), kinds(parts), strict=True)) if parts else {}
        for node in nodes:
            _meet(node, [known.get(id(part), "") for part in _operands(node)], untyped, what)
        [kind] = kinds([tree])
        if untyped and tree["class"] == "COLUMN_REF":
            tree = _filled("cast(x as boolean)", x=tree)
        elif kind not in ("BOOLEAN", '"NULL"'):
            raise DataError(f"{what} is {kind}, neither true nor false; compare it with a value")
        query = f"from batch select coalesce({_sql([tree])}, false)"
        _fetch(cursor, query, row, what)  # says now what no row can satisfy
        return Filter(**vars(self), _query=query, _cursor=cursor, _untyped=untyped, _what=what)


@dataclass(frozen=True)
class Filter(Condition):
    """A condition that fits a table."""

    _query: str
    _cursor: Any
    _untyped: bool
    _what: str

    def mask(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Return for each row of a batch, which has the columns, whether the condition is true.

        Raises
        ------
        DataError
            When a value cannot be converted as the condition asks.
        """
        columns = [_plain(batch.column(name), self._untyped) for name in self.columns]
        part = pa.RecordBatch.from_arrays(columns, names=self._names)
        [keep] = _fetch(self._cursor, self._query, part, self._what)
        return np.asarray(keep, dtype=np.bool_)


def parse_condition(text: str, key: str) -> Condition:
    """Read a condition.

    Parameters
    ----------
    text : str
    key : str
        The job key it comes from, for messages.

    Raises
    ------
    UsageError
        When it cannot be read or is no condition on a row, or when DuckDB is not installed.
    """
    names: dict[str, str] = {}
    try:
        tree = _parsed(text)
        _read(tree, frozenset(), names, 0)
        _sql([tree])
    except ValueError as error:
        raise UsageError(f"{key}: {text!r} {error}") from None
    except RecursionError:
        raise UsageError(f"{key}: the condition is nested too deeply; use in (...)") from None
    if not names:
        raise UsageError(f"{key}: {text!r} names no column; compare one, such as year >= 2000")
    return Condition(text, key, tuple(names), tuple(names.values()), tree)


class _Database(NamedTuple):
    """A connection that reaches nothing; its errors, known functions, and the tree of a select."""

    connection: Any
    error: type[Exception]
    functions: frozenset[str]
    select: Node


@cache
def _database() -> _Database:
    try:
        import duckdb
    except ImportError:
        hint = install_hint("sql")
        raise UsageError(f"dataset.where and dataset.anchors need DuckDB: {hint}") from None
    connection = duckdb.connect(":memory:", config=_CONFIG)
    connection.execute("set global TimeZone = 'UTC'; set global lock_configuration = true")
    functions = frozenset(name for (name,) in connection.execute(_PURE).fetchall())
    [(tree,)] = connection.execute("select json_serialize_sql('select 1')").fetchall()
    return _Database(connection, duckdb.Error, functions, json.loads(tree))


def _parsed(text: str) -> Node:
    """Return the tree of one expression; a `ValueError` says why there is none."""
    if "\0" in text:  # for DuckDB it ends there
        raise ValueError("holds a null character; remove it")
    cursor = _database().connection.cursor()
    [(tree,)] = cursor.execute("select json_serialize_sql(?)", [f"select {text}\n"]).fetchall()
    found = json.loads(tree)
    if found["error"]:
        reason = found["error_message"].splitlines()[0]
        if "expression depth" in reason:
            raise RecursionError
        raise ValueError(f"cannot be read: {reason}")
    columns = found["statements"][0]["node"].get("select_list", [])
    if len(columns) != 1 or columns[0]["alias"] or found != _select(columns):
        raise ValueError("is not one condition; give only what follows WHERE")
    return dict(columns[0])


def _select(columns: list[Node]) -> Node:
    select = deepcopy(_database().select)
    select["statements"][0]["node"]["select_list"] = columns
    return select


def _sql(trees: list[Node]) -> str:
    """Return the text of expressions, separated by commas."""
    cursor, select = _database().connection.cursor(), json.dumps(_select(trees))
    try:
        [(text,)] = cursor.execute("select json_deserialize_sql(?)", [select]).fetchall()
    except _database().error as error:  # DuckDB 1 knows no number beyond float64's
        raise ValueError(f"cannot be read: {_reason(error)}") from None
    return str(text).removeprefix("SELECT ")


def _filled(template: str, **parts: Node) -> Node:
    """Return the tree of an expression with other trees in place of its columns."""
    tree = _parsed(template)
    for node in list(_nodes(tree)):
        if node["class"] == "COLUMN_REF":
            _replace(node, parts[node["column_names"][0]])
    return tree


def _replace(node: Node, other: Node) -> None:
    other = deepcopy(other)
    node.clear()
    node.update(other)


def _nodes(node: Any) -> Iterator[Node]:
    """Yield the expressions of a tree from the leaves up, without those inside of a lambda."""
    kind = node.get("class") if isinstance(node, dict) else None
    if isinstance(node, dict | list) and kind != "LAMBDA":
        for part in node.values() if isinstance(node, dict) else node:
            yield from _nodes(part)
    if kind:
        yield node


def _operands(node: Node) -> list[Node]:
    """Return what a comparison compares; nothing for other expressions."""
    if node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN"):
        return list(node["children"])
    names = {"COMPARISON": ("left", "right"), "BETWEEN": ("input", "lower", "upper")}
    return [node[name] for name in names.get(node["class"], ())]


def _read(node: Any, bound: frozenset[str], names: dict[str, str], depth: int) -> None:
    """Check a tree; `names` takes its columns, `bound` are parameters of the lambdas around it."""
    if depth > _DEPTH:
        raise RecursionError
    if isinstance(node, dict):
        if "class" in node:
            bound = _check(node, bound, names)
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            _read(part, bound, names, depth + 1)


def _check(node: Node, bound: frozenset[str], names: dict[str, str]) -> frozenset[str]:
    """Check an expression, rename its column for DuckDB, and return what is bound inside."""
    kind = node["class"]
    if kind == "SUBQUERY" and (elements := _elements(node)):
        _replace(node, _filled("list_contains(x, y)", x=elements, y=node["child"]))
    elif kind not in _KINDS:
        words = kind.lower().replace("_", " ")
        raise ValueError(f"holds a {words}; take columns, values and functions of them")
    elif kind == "FUNCTION" and node["function_name"] not in _database().functions:
        name = node["function_name"]
        raise ValueError(f"calls {name}, which is no function of the values of one row alone")
    elif kind == "LAMBDA":
        return bound | {
            part["column_names"][0] for part in _nodes(node["lhs"]) if "column_names" in part
        }
    elif kind == "COLUMN_REF" and (name := node["column_names"][0]) not in bound:
        alias, taken = name, {"batch", *map(str.lower, names.values())}
        while name not in names and alias.lower() in taken:  # DuckDB does not tell cases apart
            alias += "_"
        node["column_names"][0] = names.setdefault(name, alias)
    return bound


def _elements(node: Node) -> Node | None:
    """Return LIST of ``VALUE = any(LIST)``, which DuckDB parses as a subquery; None of others."""
    inner = node["subquery"]["node"]
    columns = inner.get("select_list", [])
    names = [column.get("function_name") for column in columns]
    bare = inner == _select(columns)["statements"][0]["node"]
    if node["comparison_type"] != "COMPARE_EQUAL" or names != ["unnest"] or not bare:
        return None
    parts = [one["expression"] for one in columns[0].get("arguments", [])]
    return next(iter(parts or columns[0].get("children", [])), None)


def _meet(node: Node, kinds: list[str], untyped: bool, what: str) -> None:
    """Refuse a comparison of text with numbers or booleans; in a format without types, cast it."""
    parts = _operands(node)
    texts = [place for place, kind in enumerate(kinds) if kind == "VARCHAR"]
    other = next((kind for kind in kinds if kind == "BOOLEAN" or _NUMBER.fullmatch(kind)), None)
    if not untyped or any(parts[place]["class"] != "COLUMN_REF" for place in texts):
        if texts and other:
            text, value = (_sql([parts[kinds.index(kind)]]) for kind in ("VARCHAR", other))
            raise DataError(f"{what}: {text} is text and {value} {other}; compare like with like")
        return

    def cast(template: str) -> Node:
        copy = deepcopy(node)
        for place in texts:
            _replace(_operands(copy)[place], _filled(template, x=parts[place]))
        return copy

    if texts and other == "BOOLEAN":
        _replace(node, cast("cast(x as boolean)"))
    elif texts and other:
        columns = {f"x{place}": parts[place] for place in texts}
        whole = _filled(" and ".join(map(_IS_WHOLE.format, columns)), **columns)
        ways = {"whole": cast(_WHOLE), "fraction": cast(_FRACTION)}
        _replace(node, _filled("case when test then whole else fraction end", test=whole, **ways))
    elif len(texts) == 2 and node["class"] == "COMPARISON" and "DISTINCT" not in node["type"]:
        numbers = cast("try_cast(x as double)")  # null where not both are numbers
        _replace(node, _filled("coalesce(x, y)", x=numbers, y=node))


def _plain(column: Any, untyped: bool) -> Any:
    """Return a column with nulls for NaN, and for blanks where a format has no types."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), None, column)
    return pc.if_else(pc.equal(column, ""), None, column) if untyped else column


def _fetch(cursor: Any, query: str, batch: pa.RecordBatch, what: str) -> list[Any]:
    """Return the columns of a query's result over a batch."""
    try:
        cursor.register("batch", batch)
        return list(cursor.execute(query).fetchnumpy().values())
    except _database().error as error:
        _database.cache_clear()  # after an internal error DuckDB refuses all that follows
        raise DataError(f"{what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the first line of an error of DuckDB, without its kind."""
    return str(error).splitlines()[0].partition(": ")[2]

"""Filter expressions of a job: which rows of a table take part.

An expression is what stands after WHERE in SQL: comparisons (``=``, ``<>``, ``<``, ``<=``, ``>``,
``>=``, ``between``), ``in (...)``, ``like`` and ``ilike``, ``is null``, ``is true``, ``and``,
``or``, ``not``, a boolean column by its name, and for list columns ``'x' in tags``,
``'x' = any(tags)`` or ``list_contains(tags, 'x')``. Values are columns (their names as they are
written, case and all; ``"in double quotes"`` when they are no plain words), numbers, ``'texts'``,
``true``, ``false``, and ``length``, ``lower`` and ``upper`` of them. A row takes part where the
expression is true; null is not.

sqlglot reads the text, in its DuckDB dialect (https://duckdb.org/docs/stable/sql/introduction); of
its tree only what `miner.datasets.where.conditions` evaluates is taken, the rest is refused by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.where import conditions
from miner.datasets.where.conditions import Column, Condition, Literal, Value
from miner.errors import DataError, UsageError, did_you_mean

__all__ = ["Filter", "parse_filter"]

_KNOWN = (
    "known are column names, numbers, 'texts', true, false, =, <>, <, <=, >, >=, between, "
    "in (...), like, ilike, is null, and, or, not, 'x' in LIST, list_contains(LIST, 'x'), "
    "length(...), lower(...), upper(...)"
)
_COMPARED = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Filter:
    """An expression that was understood.

    Attributes
    ----------
    text : str
        The expression as it was written.
    columns : tuple of str
        The columns it asks for, in order of appearance.
    key : str
        The job key it comes from.
    """

    text: str
    columns: tuple[str, ...]
    key: str
    _condition: Condition = field(repr=False)

    def check(
        self, types: Mapping[str, Any], where: str, key: str, *, untyped: bool = False
    ) -> None:
        """Refuse a table that the expression does not fit.

        Parameters
        ----------
        types : mapping of str to pyarrow.DataType
            The table's columns.
        where, key : str
            The table and the job key, as messages name them.
        untyped : bool
            Whether every value is text because the format has no types.

        Raises
        ------
        DataError
            When a column is missing, or cannot be compared with what it is compared with.
        """
        for name in self.columns:
            if name not in types:
                raise DataError(
                    f"{where} has no column {name!r}, which {key} asks for (texts stand in 'single "
                    f"quotes'): {did_you_mean(name, types)}"
                )
        schema = pa.schema([(name, types[name]) for name in self.columns])
        try:
            empty = [pa.nulls(0, kind) for kind in schema.types]
            self._evaluate(pa.RecordBatch.from_arrays(empty, schema=schema), untyped)
        except DataError as error:
            raise DataError(f"{where}, {key} {self.text!r}: {error}") from error

    def mask(self, batch: pa.RecordBatch, *, untyped: bool = False) -> NDArray[np.bool_]:
        """Return where the expression is true.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            Has the columns that are asked for.
        untyped : bool
            Whether every value is text because the format has no types: a blank is null then, and
            text that is compared with a number is read as one.

        Returns
        -------
        ndarray of shape (rows,), bool

        Raises
        ------
        DataError
            When a text that has to be a number is none.
        """
        try:
            return self._evaluate(batch, untyped)
        except DataError as error:
            raise DataError(f"{self.key} {self.text!r}: {error}") from error

    def _evaluate(self, batch: Any, untyped: bool) -> NDArray[np.bool_]:
        try:
            found = self._condition.evaluate(conditions.View(batch, untyped))
        except pa.ArrowException as error:
            raise DataError(f"{error}; compare the columns with other values") from error
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)


def parse_filter(text: str, key: str) -> Filter:
    """Read a filter expression.

    Parameters
    ----------
    text : str
    key : str
        The job key it comes from, for messages.

    Raises
    ------
    UsageError
        When it cannot be read, or holds what is not supported.
    """
    tree = _parsed(text, key)
    try:
        reader = _Reader(text, key)
        condition = reader.condition(tree)
    except RecursionError as error:
        raise UsageError(f"{key}: the expression is nested too deeply; use in (...)") from error
    if not reader.columns:
        raise UsageError(f"{key}: {text!r} names no column; compare one, such as year >= 2000")
    return Filter(text, tuple(reader.columns), key, condition)


def _parsed(text: str, key: str) -> Any:
    # Here, not at the top: it takes a tenth of a second, and most jobs have no filter.
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ParseError, SqlglotError
    from sqlglot.expressions import Condition as Wanted

    try:
        trees = Dialect.get_or_raise("duckdb").parse_into(Wanted, text)
    except SqlglotError as error:
        details = error.errors if isinstance(error, ParseError) else []
        near = f"near {details[0]['highlight']!r}" if details else "(is a quote left open?)"
        raise UsageError(f"{key}: {text!r} cannot be read {near}; {_KNOWN}") from error
    except RecursionError as error:
        raise UsageError(f"{key}: the expression is nested too deeply; use in (...)") from error
    if not trees or trees[0] is None:
        raise UsageError(f"{key} is empty; give an expression such as year >= 2000, or drop it")
    if len(trees) > 1:
        raise UsageError(f"{key}: {text!r} has a ';': give one expression, and join parts by and")
    return trees[0]


class _Reader:
    """Makes our tree of sqlglot's, and notes the columns."""

    def __init__(self, text: str, key: str) -> None:
        self.text = text
        self.key = key
        self.columns: dict[str, None] = {}

    def condition(self, node: Any) -> Condition:
        """Read what is true or false."""
        if node.key in _COMPARED:
            return self._compared(node)
        read = self._conditions.get(node.key)
        if read is None:
            raise self._unknown(node)
        return read(self, node)

    def value(self, node: Any) -> Value:
        """Read what has a value: a column, a literal, or a function of one."""
        if node.key == "paren":
            return self.value(node.this)
        if node.key == "column":
            return self._column(node)
        if node.key in ("length", "lower", "upper"):
            self._only(node, "this")
            return conditions.Call(node.key, self.value(node.this))
        return self.literal(node)

    def literal(self, node: Any) -> Literal:
        """Read a number, a text, true or false."""
        if node.key == "boolean":
            return Literal(bool(node.this))
        if node.key == "neg" and node.this.key == "literal" and not node.this.is_string:
            return Literal(_number("-" + node.this.name))
        if node.key != "literal":
            raise self._unknown(node)
        return Literal(node.name if node.is_string else _number(node.name))

    def _column(self, node: Any) -> Column:
        self._only(node, "this")
        if node.this.key != "identifier":
            raise self._unknown(node)
        self.columns.setdefault(node.this.name)
        return Column(node.this.name)

    def _only(self, node: Any, *names: str) -> None:
        """Refuse a node that says more than we listen to."""
        for name, value in node.args.items():
            if name not in names and value:
                raise self._unknown(node)

    def _unknown(self, node: Any) -> UsageError:
        part = node.sql(dialect="duckdb")
        hint = "write is null instead" if node.key == "null" else _KNOWN
        return UsageError(f"{self.key}: {self.text!r}: {part!r} is not understood here; {hint}")

    def _compared(self, node: Any) -> Condition:
        self._only(node, "this", "expression")
        if node.key == "eq" and node.expression.key == "any":
            self._only(node.expression, "this")
            return self._contains(node.expression.this, node.this)
        left, right = self.value(node.this), self.value(node.expression)
        if isinstance(left, Literal) and isinstance(right, Literal):
            raise self._unknown(node)
        return conditions.Compare(_COMPARED[node.key], left, right)

    def _contains(self, lists: Any, literal: Any) -> Condition:
        while lists.key == "paren":
            lists = lists.this
        if lists.key != "column":
            raise self._unknown(lists)
        element = self.literal(literal)
        return conditions.Contains(self._column(lists), element)

    def _array_contains(self, node: Any) -> Condition:
        self._only(node, "this", "expression")
        return self._contains(node.this, node.expression)

    def _in(self, node: Any) -> Condition:
        if node.args.get("field") is not None:
            self._only(node, "this", "field")
            return self._contains(node.args["field"], node.this)
        self._only(node, "this", "expressions")
        if not node.expressions:
            raise self._unknown(node)
        value = self.value(node.this)
        return conditions.OneOf(value, tuple(self.literal(part) for part in node.expressions))

    def _between(self, node: Any) -> Condition:
        self._only(node, "this", "low", "high")
        value, low, high = (self.value(node.args[name]) for name in ("this", "low", "high"))
        return conditions.And(
            (conditions.Compare(">=", value, low), conditions.Compare("<=", value, high))
        )

    def _like(self, node: Any) -> Condition:
        self._only(node, "this", "expression", "negate")
        pattern = self.literal(node.expression)
        if not isinstance(pattern.value, str):
            raise self._unknown(node.expression)
        like = conditions.Like(self.value(node.this), pattern.value, node.key == "ilike")
        return conditions.Not(like) if node.args.get("negate") else like

    def _is(self, node: Any) -> Condition:
        self._only(node, "this", "expression")
        value = self.value(node.this)
        if node.expression.key == "null":
            return conditions.IsNull(value)
        if node.expression.key != "boolean":
            raise self._unknown(node)
        equal = conditions.Compare("=", value, self.literal(node.expression))
        return conditions.And((equal, conditions.Not(conditions.IsNull(value))))

    def _joined(self, node: Any) -> Condition:
        parts = tuple(self.condition(part) for part in _flat(node, node.key))
        return conditions.And(parts) if node.key == "and" else conditions.Or(parts)

    def _not(self, node: Any) -> Condition:
        return conditions.Not(self.condition(node.this))

    def _inner(self, node: Any) -> Condition:
        return self.condition(node.this)

    def _flag(self, node: Any) -> Condition:
        return conditions.IsTrue(self._column(node))

    _conditions: Mapping[str, Callable[[_Reader, Any], Condition]] = {
        "and": _joined,
        "or": _joined,
        "not": _not,
        "paren": _inner,
        "column": _flag,
        "is": _is,
        "in": _in,
        "between": _between,
        "like": _like,
        "ilike": _like,
        "arraycontains": _array_contains,
    }


def _flat(node: Any, key: str) -> list[Any]:
    """Return the parts of a chain, from the left; the chain leans to the left."""
    parts = []
    while node.key == key:
        parts.append(node.expression)
        node = node.this
    return [node, *reversed(parts)]


def _number(text: str) -> int | float:
    try:
        number = int(text)
    except ValueError:
        return float(text)
    return number if -_INT64 <= number < _INT64 else float(number)

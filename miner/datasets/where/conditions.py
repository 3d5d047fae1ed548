"""Conditions on rows: a small tree, evaluated over Arrow batches by three-valued logic.

A comparison with a missing value is neither true nor false but null, as in SQL; ``and``, ``or`` and
``not`` follow Kleene. What can be compared with what is settled in
`miner.datasets.where.comparison`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.where.comparison import decoded, family, meet, read_numbers
from miner.errors import DataError

__all__ = [
    "COMPARISONS",
    "And",
    "Call",
    "Column",
    "Compare",
    "Condition",
    "Contains",
    "IsNull",
    "IsTrue",
    "Like",
    "Literal",
    "Not",
    "OneOf",
    "Or",
    "Value",
    "View",
]

COMPARISONS: dict[str, Callable[..., Any]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


@dataclass(frozen=True, slots=True)
class View:
    """A batch to look at.

    Attributes
    ----------
    batch : pyarrow.RecordBatch
    untyped : bool
        Whether every value is text because the format has no types: blanks are nulls then.
    """

    batch: Any
    untyped: bool


class Value(Protocol):
    """What has a value in each row."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def evaluate(self, view: View) -> Any:
        """Return an Arrow array, or a scalar for a literal."""


class Condition(Protocol):
    """What is true, false or null in each row."""

    def evaluate(self, view: View) -> Any:
        """Return an Arrow array of booleans."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the batch."""

    column: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"column {self.column!r}"

    def evaluate(self, view: View) -> Any:
        """Return the column, decoded to a plain type."""
        values = decoded(view.batch.column(self.column))
        if view.untyped and pa.types.is_string(values.type):
            values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
        return values


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a text, or a boolean."""

    value: str | int | float | bool

    @property
    def name(self) -> str:
        """What messages call it."""
        return repr(self.value)

    def evaluate(self, view: View) -> Any:
        """Return it as a scalar."""
        return pa.scalar(self.value)


@dataclass(frozen=True, slots=True)
class Call:
    """``length``, ``lower`` or ``upper`` of a value."""

    function: str
    value: Value

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.function} of {self.value.name}"

    def evaluate(self, view: View) -> Any:
        """Return the results; characters are Unicode code points."""
        values = self.value.evaluate(view)
        kind = family(values.type)
        if kind == "nothing":
            values, kind = values.cast(pa.string()), "text"
        if self.function == "length" and kind == "lists":
            return pc.list_value_length(values)
        if kind != "text":
            raise DataError(f"{self.value.name} holds {kind}; {self.function} needs text")
        calls = {"length": pc.utf8_length, "lower": pc.utf8_lower, "upper": pc.utf8_upper}
        return calls[self.function](values)


@dataclass(frozen=True, slots=True)
class Compare:
    """Two values by one of `COMPARISONS`."""

    operator: str
    left: Value
    right: Value

    def evaluate(self, view: View) -> Any:
        """Compare; null where one of both is.

        Two columns of a format without types are compared as numbers in the rows where both are.
        """
        compare = COMPARISONS[self.operator]
        left, right = _both(self.left, self.right, view)
        found = compare(left, right)
        columns = isinstance(self.left, Column) and isinstance(self.right, Column)
        if view.untyped and columns and pa.types.is_string(left.type):
            numbers = compare(read_numbers(left), read_numbers(right))
            found = pc.coalesce(numbers, found)
        return found


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether a value equals one of some literals."""

    value: Value
    literals: tuple[Literal, ...]

    def evaluate(self, view: View) -> Any:
        """Compare with all of them; null where the value is."""
        equal = [Compare("=", self.value, literal) for literal in self.literals]
        values = self.value.evaluate(view)
        texts = all(isinstance(literal.value, str) for literal in self.literals)
        if not texts or family(values.type) != "text":
            return Or(tuple(equal)).evaluate(view)
        known = pa.array([literal.value for literal in self.literals], pa.string())
        return pc.if_else(pc.is_valid(values), pc.is_in(values, value_set=known), None)


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether a list column has a literal among its elements."""

    value: Value
    literal: Literal

    def evaluate(self, view: View) -> Any:
        """Look into the lists; null where the list is, missing elements equal nothing."""
        lists = self.value.evaluate(view)
        if family(lists.type) == "nothing":
            return pa.nulls(len(lists), pa.bool_())
        if family(lists.type) != "lists":
            raise DataError(f"{self.value.name} holds {family(lists.type)}, not lists")
        elements = _Given(pc.list_flatten(lists), f"an element of {self.value.name}")
        equal = Compare("=", elements, self.literal).evaluate(view)
        parents = np.asarray(pc.list_parent_indices(lists))
        found = np.zeros(len(lists), dtype=np.bool_)
        found[parents[np.asarray(pc.fill_null(equal, False))]] = True
        return pc.if_else(lists.is_valid(), pa.array(found), None)


@dataclass(frozen=True, slots=True)
class Like:
    """A text pattern: ``%`` stands for any characters, ``_`` for one; there is no escape."""

    value: Value
    pattern: str
    ignore_case: bool

    def evaluate(self, view: View) -> Any:
        """Match; null where the text is."""
        values = self.value.evaluate(view)
        if family(values.type) == "nothing":
            return pa.nulls(len(values), pa.bool_())
        if family(values.type) != "text":
            raise DataError(f"{self.value.name} holds {family(values.type)}; like needs text")
        # Arrow's own LIKE takes a backslash for an escape, which SQL does not.
        wild = {"%": ".*", "_": "."}
        body = "".join(wild.get(sign) or _exactly(sign) for sign in self.pattern)
        flags = "(?si)" if self.ignore_case else "(?s)"
        return pc.match_substring_regex(values, rf"{flags}\A(?:{body})\z")


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a value is missing."""

    value: Value

    def evaluate(self, view: View) -> Any:
        """Return true or false, never null."""
        return pc.is_null(self.value.evaluate(view))  # of a literal too, which is a scalar


@dataclass(frozen=True, slots=True)
class IsTrue:
    """A boolean as it stands."""

    value: Value

    def evaluate(self, view: View) -> Any:
        """Return the booleans."""
        return _both(self.value, Literal(True), view)[0]


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    parts: tuple[Condition, ...]

    def evaluate(self, view: View) -> Any:
        """Join by Kleene's and."""
        result = self.parts[0].evaluate(view)
        for part in self.parts[1:]:
            result = pc.and_kleene(result, part.evaluate(view))
        return result


@dataclass(frozen=True, slots=True)
class Or:
    """One of them at least."""

    parts: tuple[Condition, ...]

    def evaluate(self, view: View) -> Any:
        """Join by Kleene's or."""
        result = self.parts[0].evaluate(view)
        for part in self.parts[1:]:
            result = pc.or_kleene(result, part.evaluate(view))
        return result


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary; null stays null."""

    part: Condition

    def evaluate(self, view: View) -> Any:
        """Invert."""
        return pc.invert(self.part.evaluate(view))


@dataclass(frozen=True, slots=True)
class _Given:
    """Values that are already there."""

    values: Any
    name: str

    def evaluate(self, view: View) -> Any:
        return self.values


def _both(left: Value, right: Value, view: View) -> tuple[Any, Any]:
    pair = left.evaluate(view), right.evaluate(view)
    return meet(pair, (left.name, right.name), untyped=view.untyped)


def _exactly(sign: str) -> str:
    """Write a sign for RE2: by its code when it is ASCII and could mean something."""
    return sign if sign.isalnum() or ord(sign) > 127 else rf"\x{{{ord(sign):x}}}"

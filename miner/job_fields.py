"""Plain values (of TOML, of the command line) checked against the fields of a dataclass."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from miner.errors import UsageError, did_you_mean

__all__ = ["built", "known"]

_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def known(name: str, names: Iterable[str], prefix: str) -> None:
    """Raise `UsageError` with the nearest of the known names when `name` is none of them."""
    if name not in names:
        raise UsageError(f"{prefix} {name!r}: {did_you_mean(name, names)}")


def built(kind: Any, section: str, keys: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from keys and values.

    Parameters
    ----------
    kind : type
        A dataclass.
    section : str
        What stands before a key in messages, such as ``mining``.
    keys : mapping
    where : str
        The file, for messages.

    Raises
    ------
    UsageError
        On an unknown key or a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in keys.items():
        if key not in hints:
            hint = did_you_mean(key, hints) if hints else "there are none; drop it"
            raise UsageError(f"{where}: unknown key {section}.{key}: {hint}")
        values[key] = _typed(f"{where}: {section}.{key}", value, hints[key])
    return kind(**values)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _typed(where: str, value: Any, hint: Any) -> Any:
    """Check a value against its field's type; integers pass for floats."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = dict.fromkeys(typing.get_args(hint))
        known(value if isinstance(value, str) else repr(value), choices, f"{where}: unknown value")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where} = {value!r} must be a list, such as {[value]!r}")
        return tuple(_typed(where, one, typing.get_args(hint)[0]) for one in value)
    plain = Mapping if origin is not None else hint
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        value = _float(value)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        wanted = _WORDS.get(plain.__name__, "a table")
        example = ", such as '512MiB'" if where.endswith(("mining.memory", "max_size")) else ""
        if plain is int and isinstance(value, float) and value.is_integer():
            example = f", such as {value:.0f}"
        raise UsageError(f"{where} = {value!r} must be {wanted}{example}")
    return value

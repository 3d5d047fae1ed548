"""Named implementations, each imported only when it is loaded, and dataclasses built from keys.

An implementation is a ``"package.module:attribute"`` target with a name. Other packages add theirs
with an entry point in the registry's group, for example ``mine.models``.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from miner.errors import UsageError, did_you_mean, install_hint

__all__ = ["Entry", "Registry", "built", "known", "load_attribute"]

_GONE = {
    "select.rescore": "set teacher.model to the scorer instead",
    "select.rescore_max": "set teacher.max_score instead",
}
"""What to write for keys of older versions."""
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered implementation, not yet imported.

    Attributes
    ----------
    needs : tuple of str
        Modules that it imports in addition to this package's dependencies.
    extra : str
        The extra of this package that installs them.
    argument : str
        What VALUE is in ``NAME:VALUE``, for lists of names; empty if the name takes none.
    """

    name: str
    target: str
    summary: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""
    argument: str = ""

    @property
    def missing(self) -> list[str]:
        """The needed modules that are not installed; they are found without an import."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    @property
    def remedy(self) -> str:
        """The command that installs the missing modules."""
        return install_hint(self.extra)


def load_attribute(target: str) -> Any:
    """Import and return ``package.module:attribute``.

    Raises
    ------
    UsageError
        If the module or the attribute does not exist, or the target does not have that form.
    """
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise UsageError(f"{target!r} is not of the form package.module:attribute")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{target!r}: cannot import {error.name!r}; is it installed, or in this folder?"
        ) from error
    except (Exception, SystemExit) as error:  # foreign code may raise anything
        reason = " ".join(str(error).split())[:300]
        raise UsageError(
            f"{target!r}: importing it failed with {type(error).__name__}: {reason}; correct it"
        ) from error
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            known = [name for name in dir(value) if not name.startswith("_")]
            raise UsageError(
                f"{target!r}: {module_name} has no {part!r}; {did_you_mean(part, known)}"
            ) from None
    return value


@dataclass(slots=True)
class Registry:
    """The names of all implementations of one kind.

    Parameters
    ----------
    kind : str
        What the names denote, in the singular (``"model"``); used in messages.
    plural : str
        The plural, if it is irregular; it names the group of entry points.

    Attributes
    ----------
    gone : dict of str to str
        Names that earlier versions had, and what to use instead.
    """

    kind: str
    entries: dict[str, Entry] = field(default_factory=dict)
    plural: str = ""
    gone: dict[str, str] = field(default_factory=dict)
    _discovered: bool = False

    def register(
        self,
        name: str,
        target: str,
        summary: str = "",
        *,
        needs: tuple[str, ...] = (),
        extra: str = "",
        argument: str = "",
    ) -> None:
        """Add a name; a later registration of the same name wins."""
        self.entries[name] = Entry(name, target, summary, needs, extra, argument)

    def names(self) -> list[str]:
        """Return all names, sorted, including those from installed packages."""
        self._discover()
        return sorted(self.entries)

    def check(self, name: str) -> None:
        """Raise `UsageError` with the most similar name if `name` is not registered."""
        self._discover()
        if name not in self.entries:
            if now := self.gone.get(name.partition(":")[0]):
                raise UsageError(f"there is no {self.kind} {name!r} any more; {now}")
            raise UsageError(f"unknown {self.kind} {name!r}: {did_you_mean(name, self.entries)}")

    def load(self, name: str) -> Any:
        """Import and return the implementation registered under `name`."""
        self.check(name)
        entry = self.entries[name]
        if entry.missing:
            raise UsageError(
                f"{self.kind} {name!r} needs {' and '.join(entry.missing)}: {entry.remedy}"
            )
        return load_attribute(entry.target)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        for point in entry_points(group=f"mine.{self.plural or self.kind + 's'}"):
            self.entries.setdefault(point.name, Entry(point.name, point.value, "entry point"))


def known(name: str, names: Iterable[str], prefix: str) -> None:
    """Raise `UsageError` with the most similar known name if `name` is not in `names`."""
    if name not in names:
        raise UsageError(f"{prefix} {name!r}: {did_you_mean(name, names)}")


def built(kind: Any, section: str, keys: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from keys and values, and check their names and types.

    Parameters
    ----------
    kind : type
        A dataclass.
    section : str
        The section's name in messages, such as ``mining``.
    keys : mapping
    where : str
        The file's name in messages.

    Raises
    ------
    UsageError
        If a key is unknown or a value has the wrong type.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in keys.items():
        if key not in hints:
            hint = did_you_mean(key, hints) if hints else "this section has no keys; drop it"
            hint = _GONE.get(f"{section}.{key}", hint)
            raise UsageError(f"{where}: unknown key {section}.{key}: {hint}")
        values[key] = _typed(f"{where}: {section}.{key}", value, hints[key])
    return kind(**values)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _typed(where: str, value: Any, hint: Any) -> Any:
    """Return a value, checked against the type of its field; integers become floats if needed."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        several = isinstance(value, list | tuple)
        args = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        fits = [arg for arg in args if several == (typing.get_origin(arg) is tuple)]
        hint = (fits or args)[0]
        origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = dict.fromkeys(typing.get_args(hint))
        if isinstance(value, str) and value.replace("-", "_") in choices:
            return value.replace("-", "_")
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
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise UsageError(f"{where} = {value} must be a whole number of 64 bits")
    return value

"""A table of named implementations, each imported only when it is loaded.

An implementation is a ``"package.module:attribute"`` target with a name. Other packages add theirs
with an entry point in the registry's group, for example ``mine.models``.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from miner.errors import UsageError, did_you_mean, install_hint

__all__ = ["Entry", "Registry", "load_attribute"]


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

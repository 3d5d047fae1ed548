"""What a check is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    problems : list of str
        Empty when all is well.
    detail : str
        What was looked at, or why it could not be.
    """

    name: str
    problems: list[str]
    detail: str = ""
    skipped: bool = False

    @property
    def state(self) -> str:
        """``ok``, ``FAILS`` or ``skipped``."""
        return "FAILS" if self.problems else "skipped" if self.skipped else "ok"

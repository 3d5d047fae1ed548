"""What a run tells while it goes on, and how long its stages took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Clock", "Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done, and the total."""


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(slots=True)
class Clock:
    """Seconds per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)

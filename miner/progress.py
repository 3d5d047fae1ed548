"""Progress callbacks, warnings about damaged files, and the durations of stages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Clock", "Progress", "silent", "warn_damaged"]

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, the amount that is done, and the total."""


def silent(stage: str, done: int, total: int) -> None:
    """Ignore progress; a `Progress` for callers that report none."""


def warn_damaged(message: str) -> None:
    """Log a warning that a damaged file was found and is made again."""
    facts = {"event": "damaged", "message": message}
    _log.warning("%s", message, extra={"facts": facts})


@dataclass(slots=True)
class Clock:
    """Measures the seconds that each stage takes."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; log when it begins and when it is done."""
        began = time.perf_counter()
        _log.info("stage_started", extra={"facts": {"stage": name}})
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - began, 3)
        facts = {"stage": name, "seconds": self.seconds[name]}
        _log.info("stage_done", extra={"facts": facts})

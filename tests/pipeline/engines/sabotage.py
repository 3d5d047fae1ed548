"""Preloaded by Dask workers of tests: makes counting slow, deadly or wrong, as MINE_SABOTAGE says.

``slow:0.3`` sleeps before each unit, ``exit:48`` ends the process at the unit of anchor 48,
``raise:48`` raises an error of our own tree there; several are separated by commas.
"""

from __future__ import annotations

import os
import time
from typing import Any

import miner.pipeline.passes
from miner.errors import GateError

_RULES = dict(rule.split(":") for rule in os.environ.get("MINE_SABOTAGE", "").split(",") if rule)
_COUNT = miner.pipeline.passes.count_unit


def count_unit(task: Any, path: Any, unit: tuple[int, int]) -> dict[str, str]:
    time.sleep(float(_RULES.get("slow", 0)))
    if str(unit[0]) == _RULES.get("exit"):
        os._exit(9)
    if str(unit[0]) == _RULES.get("raise"):
        raise GateError("a gate that a worker found shut")
    return _COUNT(task, path, unit)


miner.pipeline.passes.count_unit = count_unit

"""Shared by the tests of operation: reading a JSON log and a metrics file, processes to signal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT, Result

Series = dict[tuple[str, ...], float]


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} is no number of JSON")


def events(text: str) -> list[dict[str, Any]]:
    """The lines of a JSON log: every line is one object."""
    lines = [json.loads(line, parse_constant=_no_number) for line in text.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def named(lines: list[dict[str, Any]], event: str, **facts: object) -> list[dict[str, Any]]:
    """The lines of an event, with the facts that are given."""
    return [one for one in lines if {**one, **facts, "event": event} == one]


def series(path: Path) -> Series:
    """The values of a metrics file by name and labels (in order of their names), but `out`."""
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            labels = [f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "out"]
            assert "out" in sample.labels
            found[(sample.name, *labels)] = sample.value
    return found


def outs(path: Path) -> set[str]:
    """The values of the label `out` in a metrics file."""
    families = text_string_to_metric_families(path.read_text())
    return {sample.labels["out"] for family in families for sample in family.samples}


MAIN = "from miner.cli.main import main\nmain()\n"
SLOW = """
import time
import miner.pipeline.passes as passes
count = passes.count_unit
def slow(*arguments):
    time.sleep(0.3)
    return count(*arguments)
passes.count_unit = slow
"""
"""So that a signal finds a run at work."""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python code with arguments, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Result:
    """Wait for a process."""
    out, err = process.communicate(timeout=60)
    return Result(process.returncode, out, err)


def wait_for_a_unit(out: Path) -> None:
    """Wait until the first unit of a run is counted."""
    for _ in range(1200):
        if list(out.glob(".staging/*/work/count-*.json")):
            return
        time.sleep(0.05)
    raise AssertionError("no unit was counted")

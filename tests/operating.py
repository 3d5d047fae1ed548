"""Shared by the tests of operation: reading a JSON log and a metrics file, processes to signal."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT, Result

Series = dict[tuple[str, ...], float]


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} is not a JSON number")


def events(text: str) -> list[dict[str, Any]]:
    """The lines of a JSON log: every line is one object."""
    lines = [json.loads(line, parse_constant=_no_number) for line in text.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def named(lines: list[dict[str, Any]], event: str, **facts: object) -> list[dict[str, Any]]:
    """The lines of an event, with the facts that are given."""
    return [one for one in lines if {**one, **facts, "event": event} == one]


def units_done(caplog: pytest.LogCaptureFixture, stage: str) -> int:
    """How many units of a stage the log says were done; see `listen`."""
    facts = [getattr(record, "facts", {}) for record in caplog.records if record.msg == "unit_done"]
    return sum(one["stage"] == stage for one in facts)


def listen(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the log of what is mined in this process from here on."""
    caplog.set_level(logging.INFO, "miner")
    caplog.clear()


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
from tests.durable import at_rename
at_rename("work/count-?????.npy", lambda *_: time.sleep(0.3), at=None)
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

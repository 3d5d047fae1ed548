"""What the pages say of metrics and alarms: the names are there, the rules do what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from miner.job_sections import GatesJob
from tests.conftest import ROOT, Result
from tests.operating import events, series

PAGE = (ROOT / "miner/docs/nightly.md").read_text()
SECTION = PAGE.partition("## Metrics and alarms")[2]
(RULES,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

CASES = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'mine_last_exit_code{out="/good"}', values: '0x60'}
      - {series: 'mine_last_exit_code{out="/held"}', values: '4x60'}
      - {series: 'mine_last_exit_code{out="/gate"}', values: '5x60'}
      - {series: 'mine_last_success_timestamp_seconds{out="/good"}', values: '0x60'}
      - {series: 'mine_gate_value{out="/good", gate="max_hard_share"}', values: '0.2x60'}
      - {series: 'mine_gate_bound{out="/good", gate="max_hard_share"}', values: '0.5x60'}
      - {series: 'mine_gate_value{out="/near", gate="max_hard_share"}', values: '0.48x60'}
      - {series: 'mine_gate_bound{out="/near", gate="max_hard_share"}', values: '0.5x60'}
    alert_rule_test:
      - alertname: MineFailed
        eval_time: 5m
        exp_alerts: []
      - alertname: MineFailed
        eval_time: 30m
        exp_alerts:
          - exp_labels: {out: /gate}
            exp_annotations: {summary: '/gate: mine ended with exit code 5'}
      - alertname: MineNearGate
        eval_time: 30m
        exp_alerts:
          - exp_labels: {out: /near, gate: max_hard_share}
            exp_annotations: {summary: '/near: 48% of the triplets are hard'}
      - alertname: MineStale
        eval_time: 30m
        exp_alerts: []
  - interval: 1h
    input_series:
      - {series: 'mine_last_success_timestamp_seconds{out="/stale"}', values: '0x40'}
    alert_rule_test:
      - alertname: MineStale
        eval_time: 35h
        exp_alerts: []
      - alertname: MineStale
        eval_time: 37h
        exp_alerts:
          - exp_labels: {out: /stale}
            exp_annotations: {summary: '/stale: no good run for 1d 13h 0m 0s'}
"""


def promtool(folder: Path, *words: str, **more: Any) -> str:
    command = [str(PROMTOOL), *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def mined(small: Path, tmp_path: Path, cli: Callable[..., Result]) -> tuple[Path, str]:
    """The metrics and the log of a run with a gate."""
    gates = ["--set", "gates.min_triplets=1", "--set", "gates.max_hard_share=0.9"]
    words = ["run", "--data", small, "--out", tmp_path / "out", "--log-format", "json", *gates]
    result = cli(*words)
    assert result.code == 0
    return tmp_path / "out/metrics.prom", result.err


def test_all_series_and_events_are_told(mined: tuple[Path, str]) -> None:
    path, log = mined
    names = {key[0] for key in series(path)}
    assert names == set(re.findall(r"\bmine_[a-z_]+\b", SECTION))
    assert set(re.findall(r"mine_[a-z_]+", RULES)) <= names
    told = re.findall(r"^\| (`[a-z_`, ]+) \| (.*) \|$", PAGE, re.MULTILINE)
    table = {name: facts for cell, facts in told for name in re.findall(r"`([a-z_]+)`", cell)}
    for line in events(log):
        assert line["event"] in table
        for key in line.keys() & {"stage", "unit", "anchors", "rows", "exit_code", "latest"}:
            assert f"`{key}`" in table[line["event"]], line
    for key in GatesJob.__dataclass_fields__:
        assert f"`gates.{key}`" in PAGE


@needs_promtool
def test_prometheus_takes_metrics_and_rules(mined: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    assert "3 rules found" in promtool(tmp_path, "check", "rules", "rules.yml")
    assert promtool(tmp_path, "check", "metrics", input=mined[0].read_text()) == ""


@needs_promtool
def test_the_rules_wake_nobody_in_vain(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "cases.yml").write_text(CASES)
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", "cases.yml")

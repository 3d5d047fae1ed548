"""The script that measures a GPU runs where there is none; its counts are those of the CPU."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("torch")


@pytest.mark.slow
def test_the_script_runs_on_any_machine(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.bench import gpu

    words = ["gpu", "--device", "torch:cpu", "--rows", "3000", "--dims", "16", "--lines", "256"]
    monkeypatch.setattr(sys, "argv", words)
    gpu.main()
    *_, last = capfd.readouterr().out.strip().splitlines()
    found = json.loads(last)["measured"]
    assert [one["precision"] for one in found] == ["fp32", "fp64", "3xbf16", "tf32"]
    assert all(one["equal"] == 1 and one["product"] > one["counts"] > 0 for one in found)
    assert [one.get("statistics", 0) > 0 for one in found] == [True, True, False, False]

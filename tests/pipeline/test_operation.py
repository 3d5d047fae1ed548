"""The log as JSON lines, however a run ends: nothing else on stderr, no secrets, all in it."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

import miner
from miner.storage.locks import lock_output
from tests.conftest import Result
from tests.durable import at_rename
from tests.operating import MAIN, SLOW, end, events, named, start, wait_for_a_unit

Cli = Callable[..., Result]
JSON = ("--log-format", "json")


@pytest.fixture
def words(small: Path, tmp_path: Path) -> list[str]:
    return ["run", "--data", str(small), "--out", str(tmp_path / "out"), *JSON]


def test_the_log_of_a_run_says_what_was_done(words: list[str], cli: Cli) -> None:
    result = cli(*words)
    lines = events(result.err)
    assert "valid triplets" in result.out
    assert all({"time", "level", "event", "run_id"} <= set(line) for line in lines)
    times = [datetime.fromisoformat(line["time"]) for line in lines]
    assert times == sorted(times)
    assert all(line["time"].endswith("Z") for line in lines)
    run = miner.open_run(words[4])
    assert {line["run_id"] for line in lines[lines.index(named(lines, "stage_started")[0]) :]} == {
        run.run_id
    }
    for stage in ("embed", "index", "count", "write", "seal"):
        (begun,) = named(lines, "stage_started", stage=stage)
        (done,) = named(lines, "stage_done", stage=stage)
        assert lines.index(begun) < lines.index(done)
        assert done["seconds"] == run.manifest["timings"][stage]
    (embedded,) = named(lines, "embedded")
    assert (embedded["rows"], embedded["computed"]) == (60, 60)
    counted = named(lines, "unit_done", stage="counting")
    assert sorted(unit["unit"] for unit in counted) == list(range(len(counted)))
    assert sum(unit["anchors"] for unit in counted) == 60
    written = sum(facts["rows"] for facts in run.manifest["written"].values())
    for stage in ("writing", "sealing"):
        units = named(lines, "unit_done", stage=stage)
        assert sum(unit["rows"] for unit in units) == written > 0
        assert all(unit["seconds"] >= 0 for unit in units)
    last = lines[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("done", "info", 0)
    assert (last["out"], last["latest"]) == (words[4], run.run_id)
    assert 0 < last["seconds"] < 600
    assert f"is the new run {run.run_id}" in last["message"]


def test_what_is_mined_already_and_quiet(words: list[str], cli: Cli) -> None:
    (last,) = events(cli(*words, "--quiet").err)
    assert last["event"] == "done"
    again = cli(*words, "--quiet")
    (only,) = events(again.err)
    assert (only["event"], only["exit_code"]) == ("already_mined", 0)
    assert only["run_id"] == only["latest"] == last["run_id"]
    assert again.out == ""
    assert cli(*words, "--json").out.startswith("{")


def test_a_plan_logs_its_end(words: list[str], cli: Cli) -> None:
    result = cli(*words, "--dry-run")
    assert events(result.err)[-1]["event"] == "done"
    assert not Path(words[4]).exists()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--margn", "1"], 2, "--margn"),
        (["--margin", "0"], 2, "mining.margin"),
        (["--metrics", "s3://bucket/mine.prom"], 2, "--metrics s3://bucket/mine.prom is a URL"),
        (["--set", "dataset.label=colour"], 3, "colour"),
        (["--data", "nowhere.parquet"], 3, "nowhere.parquet"),
        (["--set", "gates.min_triplets=1_000_000_000"], 5, "gates.min_triplets"),
        (["--out", "/proc/mined"], 6, "/proc/mined"),
    ],
)
def test_an_error_is_the_last_line(
    words: list[str], cli: Cli, more: list[str], code: int, said: str
) -> None:
    result = cli(*words, *more)
    *before, last = events(result.err)
    assert (result.code, result.out) == (code, "")
    assert (last["event"], last["level"], last["exit_code"]) == ("failed", "error", code)
    assert said in last["message"]
    assert "\n" not in last["message"]
    assert "traceback" not in last
    assert all(line["level"] == "info" for line in before)


def test_a_lock_that_is_held(words: list[str], cli: Cli) -> None:
    with lock_output(Path(words[4])):
        result = cli(*words, "--quiet")
    (last,) = events(result.err)
    assert (result.code, last["exit_code"]) == (4, 4)
    assert "is in use by process" in last["message"]


def test_a_defect_is_told_with_its_trace_on_request(
    words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*paths: Path) -> None:
        raise RuntimeError("of https://user:hush@host/x\nand more")

    at_rename("census.parquet", fail, at=None, patch=monkeypatch.setattr)
    last = events(cli(*words).err)[-1]
    assert (last["exit_code"], last["level"]) == (1, "error")
    assert last["message"].startswith("RuntimeError: of https://host/x")
    result = cli("--debug", *words)
    last = events(result.err)[-1]
    assert "Traceback" in last["traceback"]
    assert "https://host/x" in last["traceback"]
    assert "hush" not in result.err + result.out


def test_nothing_secret_is_logged(words: list[str], cli: Cli) -> None:
    for more in (["--out", "s3://user:hush@bucket/o"], ["--data", "s3://user:hush@bucket/d.csv"]):
        for debug in ([], ["--debug"]):
            result = cli(*debug, *words, *more)
            assert result.code == 2
            assert events(result.err)[-1]["exit_code"] == 2
            assert "hush" not in result.err + result.out


def test_what_others_say_is_a_line_too(
    words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(*paths: Path) -> None:
        logging.getLogger("someone.else").warning("see https://user:hush@host\nand more")
        warnings.warn("old: https://user:hush@host", DeprecationWarning, stacklevel=1)

    at_rename("census.parquet", talk, patch=monkeypatch.setattr)
    before = logging.getLogger("miner").level
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = cli(*words)
    lines = events(result.err)
    said = named(lines, "message", level="warning")
    assert [line["logger"] for line in said] == ["someone.else", "py.warnings"]
    assert said[0]["message"] == "see https://host\nand more"
    assert "hush" not in result.err
    assert lines[-1]["event"] == "done"
    assert logging.getLogger("miner").level == before


def test_names_of_any_kind_stay_in_their_line(small: Path, tmp_path: Path, cli: Cli) -> None:
    strange = tmp_path / "a\nb\u2028\x1b[31m"
    result = cli("run", "--data", small, "--out", strange, *JSON)
    assert events(result.err)[-1]["out"] == str(strange)
    assert result.err.isascii()
    assert "\x1b" not in result.err


@pytest.mark.parametrize(
    ("number", "code", "event"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_is_the_last_line(
    words: list[str], tmp_path: Path, number: signal.Signals, code: int, event: str
) -> None:
    process = start(SLOW + MAIN, *words, "--workers", "1")
    wait_for_a_unit(tmp_path / "out")
    process.send_signal(number)
    result = end(process)
    last = events(result.err)[-1]
    assert (result.code, last["exit_code"], last["event"]) == (code, code, event)
    assert "the same command continues from here" in last["message"]
    assert "no run in" in last["message"]
    assert last["run_id"] is not None


CLEARS = """
import sys, time
from tests.durable import at_rename
def hang(*paths):
    try:
        print("counting", flush=True)
        time.sleep(60)
    except BaseException:
        print("clearing", flush=True)
        time.sleep(60)
at_rename("work/count-*.npy", hang)
"""


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)]
)
def test_a_second_signal_ends_at_once(
    words: list[str], first: signal.Signals, second: signal.Signals
) -> None:
    process = start(CLEARS + MAIN, *words, "--workers", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == "counting\n"
    time.sleep(0.3)  # in the middle of its print, the line would come twice
    process.send_signal(first)
    assert process.stdout.readline() == "clearing\n"
    time.sleep(0.6)  # sooner it would be taken for the first one, sent twice
    process.send_signal(second)
    result = end(process)
    assert result.code == 128 + second
    events(result.err)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_nothing_else_is_on_stderr(words: list[str], engine: str) -> None:
    """By processes of their own, in which compiled libraries and workers write to stderr too."""
    index = ["--index", "IVF4,Flat", "--set", "index.min_recall=0.01"]
    for more in ([], index):
        result = end(start(MAIN, *words, "--engine", engine, "--workers", "2", *more))
        assert result.code == 0, result.err
        assert events(result.err)[-1]["event"] == "done"

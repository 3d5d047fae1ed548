"""A report that cannot be made costs a warning, and never the run."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import pytest

import miner
from miner.runs.run import Run
from miner.runs.staging import Staging
from tests.conftest import Result

pytestmark = pytest.mark.report

Cli = Callable[..., Result]


def failing(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def refuse(monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
    """Let the disk refuse to move or remove any report."""
    for name in methods:
        true = getattr(Path, name)

        def call(path: Path, *given: Any, true: Any = true, **more: Any) -> Any:
            if "report.html" in path.name:
                raise OSError(errno.EIO, "Input/output error", str(path))
            return true(path, *given, **more)

        monkeypatch.setattr(Path, name, call)


def mined(cli: Cli, data: Path, out: Path, *more: object) -> tuple[Result, Run]:
    """Mine in words of one line; see that the run is whole, and that nothing else is left."""
    done = cli("run", "--data", data, "--out", out, "--quiet", *more)
    assert done.code == 0, done.err
    run = miner.open_run(out / "latest")
    assert not miner.verify_run(run).problems
    assert not list((out / ".staging").iterdir())
    return done, run


def left_out(done: Result, run: Run, why: str) -> None:
    """See that a run has no report, and that warning and manifest say why."""
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"mine: warning: report.html was not written: {why}")
    assert done.err.count("the run is complete without it, mine report writes it") == 1
    said = run.manifest["report_not_written"]
    assert done.err == f"mine: warning: {said}\n" and "nothing was published" not in said
    assert not (run.path / "report.html").exists()


def page_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let every page be this text."""
    monkeypatch.setattr(jinja2.Template, "render", lambda *_, **__: text)


def page_fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let no page be made."""
    monkeypatch.setattr(jinja2.Template, "render", failing(error))


ERRORS: list[tuple[BaseException, str]] = [
    (MemoryError(), "MemoryError"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on"),
    (ImportError("No module named 'jinja2'"), "ImportError: No module named 'jin"),
    (KeyError("\x1b[31m\udc80\n of a plot"), "KeyError: "),
    (ValueError("x\x1b\udc80\n" * 9000), r"ValueError: x\x1b\udc80\nx"),
]


@pytest.mark.parametrize(
    ("error", "why"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS]
)
def test_whatever_fails(
    tmp_path: Path,
    small: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    why: str,
) -> None:
    page_fails(monkeypatch, error)
    done, run = mined(cli, small, tmp_path / "out")
    left_out(done, run, why)
    assert len(done.err) < 2000


@pytest.mark.parametrize("methods", [("replace",), ("replace", "unlink")])
def test_a_disk_that_refuses_the_report(
    tmp_path: Path,
    small: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    methods: tuple[str, ...],
) -> None:
    page_is(monkeypatch, "a page")
    with monkeypatch.context() as disk:
        refuse(disk, *methods)
        done, run = mined(cli, small, tmp_path / "out")
    left_out(done, run, str(tmp_path))
    assert "Input/output error" in done.err and "check the disk" in done.err


def test_the_last_room_of_a_disk_is_left_to_the_manifest(
    tmp_path: Path, small: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=300 << 10)
    page_is(monkeypatch, "a page")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    done, run = mined(cli, small, tmp_path / "out")
    left_out(done, run, "the disk has 300 KiB left, which the run needs")


def test_a_log_names_it(
    tmp_path: Path, small: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_fails(monkeypatch, ValueError("no ink"))
    done, run = mined(cli, small, tmp_path / "out", "--log-format", "json")
    lines = [json.loads(line) for line in done.err.splitlines()]
    (event,) = (line for line in lines if line["event"] == "report_not_written")
    assert event["message"] == run.manifest["report_not_written"]
    assert lines[-1]["exit_code"] == 0


@pytest.fixture
def dead(
    tmp_path: Path, small: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """Leave an output root in which a start has died between its report and its manifest."""

    def die() -> Path:
        with monkeypatch.context() as dying:
            page_is(dying, "of the first start")
            dying.setattr(Staging, "publish", failing(KeyboardInterrupt()))
            assert cli("run", "--data", small, "--out", tmp_path / "out", "--quiet").code == 130
        (left,) = (tmp_path / "out" / ".staging").glob("*/run/report.html")
        assert left.read_text() == "of the first start"
        return tmp_path / "out"

    return die


@pytest.mark.parametrize(("wanted", "refused"), [(True, "unlink"), (False, "replace")])
def test_an_old_report_gives_way(
    small: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    dead: Callable[[], Path],
    wanted: bool,
    refused: str,
) -> None:
    """To none where none can be made or is wanted, whatever of the two the disk refuses."""
    out = dead()
    page_fails(monkeypatch, ValueError("no ink"))
    refuse(monkeypatch, refused)
    done, run = mined(cli, small, out, "--set", f"output.report={str(wanted).lower()}")
    if wanted:
        left_out(done, run, "ValueError: no ink")
    assert wanted or (done.err == "" and "report_not_written" not in run.manifest)
    assert not (run.path / "report.html").exists()


def test_an_old_report_gives_way_to_a_new_one(
    small: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, dead: Callable[[], Path]
) -> None:
    out = dead()
    page_is(monkeypatch, "of the second start")
    refuse(monkeypatch, "unlink")
    done, run = mined(cli, small, out)
    assert done.err == "" and "report_not_written" not in run.manifest
    assert run.file("report.html").read_text() == "of the second start"


@pytest.mark.parametrize("wanted", [True, False])
def test_an_old_report_that_stays_is_named(
    small: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    dead: Callable[[], Path],
    wanted: bool,
) -> None:
    out = dead()
    page_fails(monkeypatch, ValueError("no ink"))
    refuse(monkeypatch, "unlink", "replace")
    done, run = mined(cli, small, out, "--set", f"output.report={str(wanted).lower()}")
    assert done.err.count("\n") == 1
    assert done.err.endswith("the report.html of an earlier start could not be removed\n")
    assert ("no ink" in done.err) is wanted
    assert "report.html" in {file["path"] for file in run.named_files()}
    assert done.err == f"mine: warning: {run.manifest['report_not_written']}\n"

"""Limits of disk, file size, open files; what is read-only: one line, exit code 6, and on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.faults.driver import limited
from tests.faults.jobs import QUIET, payload, words
from tests.faults.storm import Lab
from tests.inspection.report.data import images


def refused(lab: Lab, kind: int, most: int, said: str) -> None:
    driver = lab.driver()
    hit = driver.start(before=partial(limited, kind, most), more=QUIET)
    assert hit.code == 6, hit.err
    lines = [line for line in hit.err.splitlines() if not line.startswith("mine: warning: ")]
    assert len(lines) == 1 and lines[0].startswith("mine: error: "), hit
    assert said in lines[0] and "is still run" in lines[0]
    assert lab.check() == "old"
    lab.check_end(driver.start())


@pytest.mark.slow
@pytest.mark.parametrize(
    "most",
    [
        2048,
        *(n << 10 for n in (4, 12)),
        *(pytest.param(n << 10, marks=pytest.mark.wide) for n in (6, 8, 16)),
    ],
)
def test_files_that_may_not_grow(lab: Lab, most: int) -> None:
    refused(lab, resource.RLIMIT_FSIZE, most, "File too large; nothing was published; raise the")


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        3,
        6,
        *(pytest.param(n, marks=pytest.mark.wide) for n in (2, 4)),
    ],
)
def test_files_that_may_not_be_opened(lab: Lab, more: int) -> None:
    refused(lab, resource.RLIMIT_NOFILE, 6 + more, "Too many open files")


def test_a_full_disk(lab: Lab, tiny: Path) -> None:
    driver = lab.driver()
    driver.arguments = words(lab.data, tiny / "out")
    hit = driver.start(more=QUIET)
    assert hit.code == 6, hit.err
    (line,) = (one for one in hit.err.splitlines() if not one.startswith("mine: warning: "))
    assert "No space left on device; nothing was published; free some space" in line
    assert "no run in" in line
    assert not (tiny / "out/latest").exists() and not (tiny / "out/runs").exists()
    subprocess.run(["mount", "-o", "remount,size=16m", tiny], check=True)
    done = driver.start()
    assert done.code == 0, done.err
    (run,) = (tiny / "out/runs").iterdir()
    assert (tiny / "out/latest").resolve() == run
    assert payload(run) == lab.truth


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("begun", "data"), [(True, False), (False, True)])
def test_what_is_read_only(lab: Lab, tiny: Path, begun: bool, data: bool) -> None:
    """The output root is refused in one line; the data may well be."""
    remount(tiny, "size=16m")
    driver, source = lab.driver(), lab.data
    if data:
        source = Path(shutil.copy(lab.data, tiny))
    driver.arguments = words(source, tiny / "out")
    if begun:
        shutil.copytree(lab.out, tiny / "out", symlinks=True)
    remount(tiny, "ro")
    hit = driver.start(more=QUIET)
    assert hit.code == 6, hit.err
    lines = [line for line in hit.err.splitlines() if not line.startswith("mine: warning: ")]
    assert len(lines) == 1 and "Read-only file system; nothing was published" in lines[0], hit
    driver.arguments = words(source, lab.out)
    lab.check_end(driver.start())
    remount(tiny, "rw")
    driver.arguments = words(source, tiny / "out")
    assert driver.start().code == 0
    assert payload((tiny / "out/latest").resolve()) == lab.truth


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_images_that_may_not_be_opened_are_not_left_out(
    number: int, tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `on_error = "skip"`, too: the images are as good as they were."""
    images(tmp_path)
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.suffix == ".png":
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    given = ("--data", tmp_path / "images", "--out", tmp_path / "out", "--model", "pixels")
    done = cli("run", *given, "--set", "dataset.on_error=skip", "--set", "model.options.size=32")
    assert done.code == 6 and os.strerror(number) in done.err, done.err

"""A disk that fails as a run is published: the words are true of that moment, and it goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import miner
from tests.conftest import Result

Cli = Callable[..., Result]
NOTHING, PUBLISHED = "nothing was published", "the run is published, but not the latest one yet"
LATEST = "the run is published and the latest one"
EIO = OSError(errno.EIO, os.strerror(errno.EIO))


def fails(owner: Any, name: str, when: Callable[..., bool], patch: pytest.MonkeyPatch) -> None:
    """Let a call fail once, when its arguments are such."""
    real, failed = getattr(owner, name), []

    def failing(*arguments: Any, **named: Any) -> Any:
        if not failed and when(*arguments):
            failed.append(arguments)
            raise EIO
        return real(*arguments, **named)

    patch.setattr(owner, name, failing)


def opened(handle: int) -> Path:
    """The path of an open file or folder."""
    return Path(os.readlink(f"/proc/self/fd/{handle}"))


MOMENTS: dict[str, tuple[Any, str, Callable[[Path], Callable[..., bool]], str]] = {
    "manifest": (Path, "replace", lambda out: lambda _, to: to.name == "manifest.json", NOTHING),
    "rename": (Path, "rename", lambda out: lambda _, to: to.parent == out / "runs", NOTHING),
    "renamed": (
        os,
        "fsync",
        lambda out: lambda handle: opened(handle) == out / "runs",
        PUBLISHED,
    ),
    "json": (Path, "replace", lambda out: lambda _, to: to == out / "latest.json", PUBLISHED),
    "link": (Path, "symlink_to", lambda out: lambda path, *_: path.parent == out, PUBLISHED),
    "switch": (Path, "replace", lambda out: lambda _, to: to == out / "latest", PUBLISHED),
    "switched": (
        os,
        "fsync",
        lambda out: lambda handle: opened(handle) == out and (out / "latest").exists(),
        LATEST,
    ),
    "look": (
        Path,
        "read_bytes",
        lambda out: lambda path: path.name == "manifest.json" and (out / "latest").exists(),
        LATEST,
    ),
}


SLOW = {"manifest", "json", "look"}


@pytest.mark.parametrize(
    "moment",
    [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in MOMENTS],
)
def test_the_words_are_true(
    moment: str, small: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["run", "--data", small, "--out", out, "--quiet", "--set", "output.report=false"]
    owner, name, when, said = MOMENTS[moment]
    with monkeypatch.context() as patch:
        fails(owner, name, when(out), patch)
        hit = cli(*words)
    assert hit.code == 6 and hit.err.count("\n") == 1, hit
    assert f"{os.strerror(errno.EIO)}; {said}" in hit.err
    assert (out / "runs").exists() == (said != NOTHING) or not list((out / "runs").iterdir())
    assert (out / "latest").exists() == (said == LATEST)
    assert cli(*words).code == 0
    (run,) = (out / "runs").iterdir()
    assert miner.latest_id(out) == run.name == (out / "latest").resolve().name
    assert list((out / ".staging").iterdir()) == []
    assert miner.verify_run(miner.open_run(out)).problems == []

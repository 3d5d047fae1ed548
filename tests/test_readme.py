"""Every command and every Python example of the README runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import miner
from miner.engines.base import ENGINES
from miner.errors import (
    DataError,
    EngineError,
    GateError,
    LockError,
    MineError,
    StorageError,
    UsageError,
)
from tests.conftest import ROOT, Result

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a fresh clone has, in which the commands run in the README's order."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "jobs", folder / "jobs")
    shutil.copytree(
        ROOT / "sample_data", folder / "sample_data", ignore=shutil.ignore_patterns("prepared")
    )
    mine = [sys.executable, "-m", "miner", "run", "--margin", "0.2", "--quiet"]
    subprocess.run(mine, cwd=folder, check=True)
    return folder


@pytest.fixture
def checkout(mined: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test: what one leaves would be in another's way."""
    return Path(shutil.copytree(mined, tmp_path / "checkout", symlinks=True))


def test_every_command_runs(
    checkout: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: that `mine` starts as one of its own is seen by other tests."""
    monkeypatch.chdir(checkout)
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    seen = 0
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line)
        if words[0] == "make":
            assert set(words[1:]) <= set(targets)
            continue
        assert words[0] == "mine", line
        if "dask" in words and ENGINES.entries["dask"].missing:
            continue
        done = cli(*words[1:])
        assert done.code == 0, f"{line}\n{done.err}"
        seen += 1
    assert seen >= 9


def test_every_command_of_the_figures_runs(
    checkout: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    commands = re.findall(r"\| `((?:mine|make) [^`]+)` \|$", README, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for command in commands:
        program, *words = command.split()
        if program == "make":
            assert set(words) <= set(targets)
        elif "jobs/" in command:  # of data that `make data` prepares: a slow test runs them
            assert miner.load_job(ROOT / words[1]).output.path.startswith("mined_")
        else:
            assert cli(*words, "--out", "mined_figures", "--quiet").code == 0
    assert len(commands) == 13


def test_every_python_example_runs(checkout: Path) -> None:
    model, *examples = blocks("python")
    (checkout / "my_model.py").write_text(model)
    for text in examples:
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=checkout, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
    assert "64246721" in done.stdout
    command = "run --data sample_data/support_requests.csv --model my_model:embed --out mined_model"
    subprocess.run(
        [sys.executable, "-m", "miner", *command.split(), "--quiet"], cwd=checkout, check=True
    )


def test_the_job_file_shown_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, remote, whole = blocks("toml")
    assert (
        "key_env"
        in miner.parse_job({**tomllib.loads(pairs), **tomllib.loads(remote)}).model.options
    )
    assert miner.parse_job(tomllib.loads(pairs)).dataset.links == "links.csv"
    shown = miner.parse_job(tomllib.loads(whole))
    monkeypatch.chdir(ROOT)
    assert shown.identity() == miner.load_job("jobs/default.toml").identity()
    for section, keys in shown.facts().items():
        for key in keys:
            assert re.search(rf"\b{key}\b", whole), f"{section}.{key} is not in the README"


def test_exit_codes_are_those_of_the_classes() -> None:
    table = dict(re.findall(r"^\| (\d) \| (.*?) \|$", README, re.MULTILINE))
    kinds = (MineError, UsageError, DataError, LockError, GateError, StorageError, EngineError)
    assert {str(kind.exit_code) for kind in kinds} | {"0"} == set(table)

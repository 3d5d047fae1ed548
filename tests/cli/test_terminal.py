"""What a person at a terminal of 80 columns sees: completion, help, progress, a run's words."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from miner.cli.main import cli as group
from tests.conftest import ROOT, Result

PAGE = (ROOT / "miner/docs/nightly.md").read_text()
MINE = str(Path(sys.executable).with_name("mine"))


def completed(words: str, **more: str) -> list[str]:
    """What bash is offered for the last of some words."""
    environment = {
        **os.environ,
        "_MINE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run([MINE], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.skipif(not Path(MINE).exists(), reason="the command is not installed here")
def test_the_shell_completes_commands_options_and_paths() -> None:
    assert completed("mine pr") == ["prune"]
    assert completed("mine run --max") == ["--max-triplets"]
    assert completed("mine run --log-format j") == ["json"]
    asked = {"mine run jo": "file", "mine show mi": "file", "mine init da": "file"}
    for words, kind in asked.items():
        environment = {"_MINE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "2"}
        done = subprocess.run(
            [MINE], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"{kind},")


@pytest.mark.skipif(not Path(MINE).exists(), reason="the command is not installed here")
def test_the_line_of_the_readme_teaches_bash() -> None:
    (line,) = re.findall(r'^(eval "\$\(_MINE_COMPLETE=bash_source mine\)")', PAGE, re.MULTILINE)
    path = f"{Path(MINE).parent}:{os.environ['PATH']}"
    script = f"{line}\ncomplete -p mine"
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=False
    )
    if "bash is older" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert "-F _mine_completion mine" in done.stdout


COMMANDS = sorted(name for name, command in group.commands.items() if not command.hidden)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns(
    command: str, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = cli(*command.split(), "--help")
    assert told.code == 0
    assert max(map(len, told.out.splitlines())) <= 80


def seen(command: list[str], folder: Path, code: int = 0) -> list[str]:
    """The lines of a command in a terminal of 80 columns, each state of a bar a line."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(command, cwd=folder, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    parts = []
    with contextlib.suppress(OSError):  # how a terminal ends that nobody holds any more
        while part := os.read(master, 1 << 16):
            parts.append(part)
    assert process.wait() == code
    text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", b"".join(parts).decode())
    return re.split(r"\r\n|\r|\n", text)


@pytest.mark.slow
def test_a_run_in_a_terminal(tmp_path: Path) -> None:
    """Each stage has a line of its own that fits; the words after it do too."""
    data = ROOT / "sample_data/support_requests.csv"
    mine = [sys.executable, "-m", "miner"]
    (tmp_path / "mine.csv").write_bytes(data.read_bytes())
    lines = seen([*mine, "init", "mine.csv"], tmp_path)
    lines += seen([*mine, "run", "--margin", "0.1"], tmp_path)
    lines += seen([*mine, "show"], tmp_path)
    wide = [line for line in lines if len(line) > 80]
    assert [line for line in wide if str(tmp_path) not in line] == []  # a path is as it is
    for stage in ("embedding", "indexing", "counting", "writing", "sealing"):
        bar = rf"{stage} +\[#+\] +[\d,]+ of [\d,]+(, [\d,.]+/s)?"  # a short one has no rate
        assert any(re.fullmatch(bar, line.rstrip()) for line in lines)
    assert any(line.strip().startswith("anchor ") for line in lines)


def test_an_error_in_a_terminal_is_broken_between_words(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,number\none,1\ntwo,2\nthree,3\nfour,4\n")
    lines = seen([sys.executable, "-m", "miner", "init", "mine.csv"], tmp_path, code=3)
    told = [line for line in lines if line]
    assert len(told) > 1 and max(map(len, told)) <= 80
    assert told[0].startswith("mine: error: mine.csv has no column that looks like a label")
    assert all(line.startswith("  ") for line in told[1:])
    assert "name it with --label" in " ".join(line.strip() for line in told)

"""The README and the pages of miner/docs as programs: their blocks run, in their order."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT, Result

README = ROOT / "README.md"
DOCS = ROOT / "miner/docs"
PAGES = [
    DOCS / f"{name}.md"
    for name in (
        "choosing",
        "datasets",
        "definition",
        "false-negatives",
        "models",
        "nightly",
        "outputs",
        "scaling",
        "trainers",
    )
]
"""The pages with commands; those of object-storage.md run against a server."""
TARGETS = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)

_BLOCK = re.compile(r"^( *)```(\w+)(?: (\w+)=(\S+))?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, a condition (``exits=5``), and its text."""

    language: str
    condition: tuple[str, str]
    text: str
    shown: str
    """The block of text that follows it at once: what it prints."""


def blocks(page: Path, language: str = "") -> list[Block]:
    """All blocks of a page, or those of a language."""
    text = page.read_text()
    found = list(_BLOCK.finditer(text))
    listed = []
    for place, match in enumerate(found):
        after = found[place + 1] if place + 1 < len(found) else None
        follows = after is not None and not text[match.end() : after.start()].strip()
        shown = textwrap.dedent(after[5]) if after and follows and after[2] == "text" else ""
        condition = (match[3] or "", match[4] or "")
        listed.append(Block(match[2], condition, textwrap.dedent(match[5]), shown))
    return [block for block in listed if language in ("", block.language)]


def lines_of(text: str, shown: str) -> Iterator[str]:
    """Yield the lines that are shown and that a text does not have, in their order."""
    place, printed = 0, [line.strip() for line in text.splitlines()]
    for line in filter(None, map(str.strip, shown.splitlines())):
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("...")) + "$")
        found = (n for n in range(place, len(printed)) if pattern.match(printed[n]))
        at = next(found, None)
        if at is None:
            yield line
        else:
            place = at + 1


def run_shell(block: Block, cli: Callable[..., Result]) -> str:
    """Run the commands of a block in this process; return what they printed."""
    expected = int(block.condition[1]) if block.condition[0] == "exits" else 0
    said = ""
    for line in block.text.splitlines():
        program, *words = shlex.split(line)
        if program == "make":
            assert set(words) <= set(TARGETS), line
            if words != ["run"]:
                continue
            words = ["run", "--margin", "0.2"]
        else:
            assert program == "mine", line
        done = cli(*words)
        assert done.code == expected, f"{line}\n{done.err}"
        said += done.out + done.err
    return said


def run_python(block: Block) -> str:
    """Run an example in this process; one that begins with a file's name is written there."""
    name = re.match(r"# (\w+\.py)\n", block.text)
    if name:
        Path(name[1]).write_text(block.text)
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(block.text, "example", "exec"), {})
    return said.getvalue()

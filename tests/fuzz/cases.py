"""A case: files, and a command that meets them; and what must hold whatever they are."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miner.cli.main import main

__all__ = ["CODES", "Case", "Outcome", "faults", "play", "put", "replayed", "save"]

CODES = (0, 2, 3, 4, 5, 6)
"""Exit codes of a program that knows what it does; 1 is a defect of ours."""
_SECONDS = 30.0
"""Of processor time, of a case of a few kilobytes; what sleeps for ever is seen from outside."""
_MEMORY = 1 << 30
"""Bytes that a case may add to the peak."""
_LONGEST = 4000
_LINES = 12


@dataclass(frozen=True)
class Case:
    """What is on the disk, and the words after `mine`.

    Attributes
    ----------
    files : mapping of str to bytes
        Under their paths in an empty folder, which is the current one.
    words : tuple of str
    published : bool
        Whether a finished run is among the files, so that there is a `latest` before.
    """

    files: Mapping[str, bytes]
    words: tuple[str, ...]
    published: bool = False
    links: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        sizes = {name: len(content) for name, content in self.files.items()}
        return f"Case({' '.join(self.words)!r}, {sizes})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show it as `repr` does in Hypothesis' messages, without the bytes."""
        printer.text(repr(self))


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float
    grown: int


def put(case: Case, folder: Path) -> None:
    """Write a case's files into an emptied folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for name, target in case.links.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)


def save(case: Case, path: Path) -> None:
    """Keep a case in one file, to be played again."""
    files = {name: content.hex() for name, content in case.files.items()}
    facts = {"files": files, "words": case.words, "published": case.published}
    path.write_text(json.dumps({**facts, "links": dict(case.links)}))


def replayed(path: Path) -> Case:
    """Read a case that was kept."""
    facts = json.loads(path.read_text())
    files = {name: bytes.fromhex(content) for name, content in facts["files"].items()}
    return Case(files, tuple(facts["words"]), facts["published"], facts["links"])


@contextlib.contextmanager
def _standing_in(folder: Path) -> Iterator[None]:
    """Be in a folder that is home too, with no setting of the machine's."""
    before, environment = Path.cwd(), dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("AWS_", "MINE_", "OPENAI_", "HF_", "XDG_")):
            del os.environ[name]
    os.environ |= {"HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


def play(case: Case, folder: Path) -> Outcome:
    """Put a case into a folder and give its command, in this process."""
    put(case, folder)
    out, err = io.StringIO(), io.StringIO()
    began, peak = time.process_time(), _peak()  # other programs may take the machine's time
    code: object = None
    with _standing_in(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(case.words))
        except SystemExit as exit_:
            code = exit_.code
    seconds = time.process_time() - began
    return Outcome(int(str(code or 0)), out.getvalue(), err.getvalue(), seconds, _peak() - peak)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def faults(case: Case, outcome: Outcome, folder: Path) -> list[str]:
    """Say what of a case's end is not as it must be."""
    said = outcome.out + outcome.err
    found = []
    if outcome.code not in CODES:
        found.append(f"exit code {outcome.code}")
    if "Traceback" in said or "internal error" in said:
        found.append("a traceback or an internal error")
    if "report.html was not written" in said:
        found.append("a report that could not be made")
    if outcome.code and not outcome.err.strip():
        found.append("no word of what is wrong")
    if outcome.code and (len(outcome.err) > _LONGEST or outcome.err.count("\n") > _LINES):
        found.append(f"an error of {len(outcome.err)} characters")
    if outcome.seconds > _SECONDS:
        found.append(f"{outcome.seconds:.0f} seconds")
    if outcome.grown > _MEMORY:
        found.append(f"{outcome.grown >> 20} MiB of memory")
    if outcome.code and not case.published and _is_published(folder):
        found.append("a run was published, with an exit code that is not 0")
    return found


def _is_published(folder: Path) -> bool:
    return any(folder.glob("**/latest")) or any(folder.glob("**/runs/*/manifest.json"))

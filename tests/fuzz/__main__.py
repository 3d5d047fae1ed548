"""`python -m tests.fuzz`: search all targets in turn for so many minutes, each in a process.

A process that dies, hangs or finds a fault leaves the case that it was playing in a file, which
`--play FILE` plays again.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.cases import faults, play, replayed
from tests.fuzz.targets import TARGETS, search

_HANG = 180.0
"""Seconds without a new case after which a process is taken to hang."""
_ROOM = 12 << 30
"""Bytes of address space of a process: what asks for more is told that there is none."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=60, help="Of a target before the next.")
    parser.add_argument("--targets", nargs="*", choices=[*TARGETS], default=[*TARGETS])
    parser.add_argument("--found", type=Path, default=Path("fuzz_found"), help="Where cases go.")
    parser.add_argument("--play", type=Path, help="Play a case that was kept, and say how it ends.")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _ready() -> None:
    """Make this process one that plays cases: quick to its first run, and bounded."""
    sys.modules["numba"] = None  # type: ignore[assignment]  # its loops take long to compile
    os.fsync = lambda handle: None  # type: ignore[assignment]
    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _play(path: Path) -> int:
    _ready()
    case = replayed(path)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "case"
        outcome = play(case, folder)
        wrong = faults(case, outcome, folder)
    print(case, f"exit code {outcome.code}", outcome.err, *wrong, sep="\n")
    return len(wrong)


@dataclass(frozen=True)
class Piece:
    """Some examples of a target by one seed."""

    target: str
    seed: int
    examples: int


def _child(words: str) -> None:
    """Search one piece; the place is where its case is kept."""
    target, number, examples, place = words.split(" ", 3)
    _ready()
    search(target, int(number), int(examples), Path(place) / "case", Path(place) / "playing")


def _watched(piece: Piece, place: Path, until: float) -> str:
    """Search a piece in a process of its own; return what is wrong, if anything is."""
    words = f"{piece.target} {piece.seed} {piece.examples} {place}"
    playing, log = place / "playing", place / "log"
    with log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--child", words],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        began = time.time()
        while child.poll() is None:
            time.sleep(0.2)
            last = playing.stat().st_mtime if playing.exists() else began
            if time.time() > until or time.time() - last > _HANG:
                child.kill()
                child.wait()
                if time.time() > until:  # perhaps while a finding was being made smaller
                    why = place / "playing.why"
                    return why.read_text() if why.exists() else ""
                return f"no end after {_HANG:.0f} seconds"
    if child.returncode == 0:
        return ""
    text = log.read_text(errors="replace")
    if child.returncode < 0:
        return f"ended by {signal.Signals(-child.returncode).name}\n{text[:3000]}"
    return text[-3000:]


def _count(place: Path) -> int:
    """Return how many cases a piece has played."""
    count = place / "playing.count"
    return count.stat().st_size if count.exists() else 0


def main() -> int:
    """Search until the time is over; return the number of findings."""
    given = _arguments()
    if given.child:
        _child(given.child)
        return 0
    if given.play:
        return _play(given.play)
    until, number, found = time.time() + given.minutes * 60, given.seed, 0
    played: Counter[str] = Counter()
    while time.time() < until:
        for target in given.targets:
            if time.time() >= until:
                break
            with tempfile.TemporaryDirectory() as place:
                wrong = _watched(Piece(target, number, given.examples), Path(place), until)
                played[target] += _count(Path(place))
                print(f"{target}, seed {number}: {_count(Path(place))} cases", flush=True)
                if not wrong:
                    continue
                found += 1
                given.found.mkdir(exist_ok=True)
                name = given.found / f"{target}-{number}.json"
                for kept in (Path(place) / "playing.found", Path(place) / "playing"):
                    if kept.exists():
                        name.write_bytes(kept.read_bytes())
                        break
                print(f"{name}: {wrong}\n", flush=True)
        number += 1
    cases = f"{played.total()} cases of {len(played)} targets"
    print(f"{cases}, {found} findings, seeds {given.seed} to {number}", flush=True)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())

"""The kill storm: a job is killed again and again, and nothing of it shows in what it publishes.

``python -m tests.faults.storm --kills 300 --seed 0`` kills it so often, by SIGKILL at random times
and at the N-th write, fsync, rename, open and unlink, and prints what came of it.
``--every rename`` kills at each of them there is instead; of open that is each that makes or
empties a file or makes a folder, and with ``--reading`` each of the others below the output root
(before and after which the disk is the same). With ``--report`` the runs draw theirs.

A chain begins with an output root that holds a run of another job, the old one. The job is started
and killed until a start comes to its end. After each kill every run that is published must be the
old or the new one, to the byte, and ``latest`` must name one of them; a unit that had its record
must not be done again; and at the end the new run has the bytes of one that nothing disturbed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import miner
from tests.faults.driver import CALLS, Driver, Fault, Place, Start
from tests.faults.jobs import CALLS_MADE, payload, words, write_data

KINDS = ("time", *CALLS)


@dataclass
class Lab:
    """The job, its right bytes, and an output root with the old run.

    Attributes
    ----------
    seconds : float
        What an undisturbed start takes.
    """

    folder: Path
    truth: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    old: str = ""
    seconds: float = 0.0
    report: bool = False

    @classmethod
    def made(cls, folder: Path, *, report: bool = False) -> Lab:
        """Mine the job undisturbed, and the old run."""
        lab = cls(folder, report=report)
        write_data(lab.data)
        for out, margin in ((lab.folder / "truth", 0.5), (lab.folder / "old", 0.25)):
            done = Driver(words(lab.data, out, margin, report=report), folder).start()
            assert done.code == 0, done.err
            shutil.rmtree(out / ".store")
            lab.seconds = done.seconds
        lab.truth = payload((folder / "truth/latest").resolve())
        lab.before = payload((folder / "old/latest").resolve())
        lab.old = os.readlink(folder / "old/latest")
        assert lab.truth.keys() == lab.before.keys() and lab.truth != lab.before
        return lab

    @property
    def data(self) -> Path:
        """The data set."""
        return self.folder / "images.parquet"

    @property
    def out(self) -> Path:
        """The output root."""
        return self.folder / "out"

    def driver(self) -> Driver:
        """Begin a chain: an output root with nothing but the old run."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.folder / "old", self.out, symlinks=True)
        return Driver(words(self.data, self.out, report=self.report), self.folder)

    def recorded(self) -> set[str]:
        """Return the units that have their record."""
        names = {"count": "counting", "write": "writing"}
        found = set()
        for path in self.out.glob(".staging/*/work/*.json"):
            stage, _, unit = path.stem.partition("-")
            if stage in names:
                found.add(f"{names[stage]}-{int(unit)}")
            elif stage == "seal":
                folder, _, number = unit.rpartition("-")
                found.add(f"sealing-{folder}/part-{number}.parquet")
        return found

    def check(self) -> str:
        """Check all that is published; return which run is the latest: old or new."""
        runs = {f"runs/{path.name}": payload(path) for path in (self.out / "runs").iterdir()}
        assert runs.pop(self.old) == self.before, "the old run is not what it was"
        assert len(runs) <= 1 and all(files == self.truth for files in runs.values())
        named = os.readlink(self.out / "latest")
        assert named == self.old or named in runs, f"latest is {named}"
        pointer = miner.latest_id(self.out)
        assert pointer == Path(named).name
        for path in self.out.rglob("*.parquet"):
            inside = path.relative_to(self.out).parts
            assert inside[0] == "runs" or inside[:1] + inside[2:3] == (".staging", "run"), path
            assert pq.ParquetFile(path).metadata.num_rows >= 0
        return "old" if named == self.old else "new"

    def check_end(self, done: Start) -> None:
        """Check a start that came to its end."""
        assert done.code == 0, done.err
        assert self.check() == "new"
        run = miner.open_run(self.out)
        assert miner.verify_run(run).problems == []
        assert (run.path / "report.html").exists() == self.report
        left = [path.name for path in (self.out / ".staging").iterdir()]
        assert left == [], f"staging is not cleared: {left}"


@dataclass
class Tally:
    """What came of a storm."""

    kills: Counter[str] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: int = 0
    ended: int = 0
    units: int = 0
    again: int = 0
    failures: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return it in words."""
        lines = [f"{'killed':8}{'kills':>7}{'left old':>10}{'left new':>10}"]
        for kind in sorted(self.kills, key=KINDS.index):
            old, new = self.left[kind, "old"], self.left[kind, "new"]
            lines.append(f"{kind:8}{self.kills[kind]:7}{old:10}{new:10}")
        old, new = (sum(self.left[kind, name] for kind in KINDS) for name in ("old", "new"))
        lines.append(f"{'all':8}{self.kills.total():7}{old:10}{new:10}")
        lines += [
            f"runs that came to their end, with the bytes of the undisturbed one: {self.ended}",
            f"starts that ended before their kill: {self.missed}",
            f"units done: {self.units}, of which again that had their record: {self.again}",
            f"failures: {len(self.failures)}",
        ]
        return "\n".join(lines + self.failures)


def storm(
    lab: Lab, faults: Iterable[Fault], kills: float = float("inf"), tally: Tally | None = None
) -> Tally:
    """Kill chains of starts, until there are no faults left, or so many kills were done."""
    tally, waiting = tally or Tally(), iter(faults)
    for first in waiting:
        _chain(lab, itertools.chain([first], waiting), tally)
        if tally.kills.total() >= kills:
            break
    return tally


def _chain(lab: Lab, faults: Iterator[Fault], tally: Tally) -> None:
    """Kill one job until a start of it ends, undisturbed when there are no faults left."""
    driver, fault = lab.driver(), None
    try:
        while True:
            recorded, fault = lab.recorded(), next(faults, None)
            start = driver.start(fault)
            again = sorted(recorded & set(start.did))
            tally.again += len(again)
            assert not again, f"done again: {again}"
            tally.units += len(start.did)
            if fault is not None and start.killed:
                tally.kills[fault.kind] += 1
                tally.left[fault.kind, lab.check()] += 1
                continue
            tally.missed += fault is not None
            lab.check_end(start)
            tally.ended += 1
            break
    except AssertionError as error:
        tally.failures.append(f"{fault}: {error}")


def random_faults(seed: int, seconds: float, calls: Mapping[str, int]) -> Iterator[Fault]:
    """Draw kills without end: at a random time, or at a random one of so many calls of a kind.

    Early ones are likelier: a job that goes on has less to do.
    """
    rng = np.random.default_rng(seed)
    for kind in itertools.cycle(["time", *calls]):
        part = float(rng.uniform() ** 2)
        yield Fault(kind, part * seconds if kind == "time" else 1 + int(part * calls[kind]))


def sweep(lab: Lab, kind: str, more: Sequence[str] = (), *, reading: bool = False) -> list[Place]:
    """Return the calls of one kind that a kill is worth: see `--every` above."""
    places = lab.driver().places(kind, more)
    if kind != "open":
        return places
    return [one for one in places if str(lab.out) in one.told and one.makes != reading]


def main() -> None:
    """Let a storm loose, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", choices=list(CALLS), help="kill at each call of a kind")
    parser.add_argument("--first", type=int, default=1, help="of --every: where to begin")
    parser.add_argument("--last", type=int, help="of --every: where to end")
    parser.add_argument("--step", type=int, default=1, help="of --every: each so many calls")
    parser.add_argument("--reading", action="store_true", help="of --every open: the others")
    parser.add_argument("--report", action="store_true", help="let the runs draw their report")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary one)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `timeout`: print what there is
    tally = Tally()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lab = Lab.made(folder, report=given.report)
        print(f"undisturbed: {lab.seconds:.2f} s", flush=True)
        stack.callback(lambda: print(tally.table(), flush=True))
        if given.every:
            places = sweep(lab, given.every, reading=given.reading)
            chosen = places[given.first - 1 : given.last : given.step]
            print(f"{given.every}: {len(chosen)} of {len(places)} calls", flush=True)
            for place in chosen:  # each in a job not begun yet
                storm(lab, [place.fault()], tally=tally)
                if tally.kills.total() % 50 == 0:
                    print(f"{tally.kills.total()} kills", flush=True)
        else:
            storm(lab, random_faults(given.seed, lab.seconds, CALLS_MADE), given.kills, tally)
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()

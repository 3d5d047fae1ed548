"""`python -m tests.proof`: train with all methods on all sets, and print the tables."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.proof import trials
from tests.proof.figures import machine, write_figures
from tests.proof.methods import METHODS
from tests.proof.nightly import nights
from tests.proof.table import summary, table
from tests.proof.training import Budget, Trained
from tests.proof.trials import PLAN, QUICK, Trial

__all__ = ["main"]

_QUICK = (3, 100)
"""Seeds and steps with `--quick`."""
Ask = Callable[[Trial, int], Callable[[], dict[str, Trained]]]


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--set", dest="sets", action="append", choices=[*PLAN], metavar="NAME")
    parser.add_argument("--data", type=Path, help="your own labelled set, instead of the sets here")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=[*METHODS])
    parser.add_argument("--quick", action="store_true", help="three seeds and 100 steps")
    parser.add_argument("--workers", type=int, default=2, help="processes with one thread each")
    parser.add_argument("--no-nightly", dest="nightly", action="store_false")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    return parser.parse_args(given)


def _trials(options: argparse.Namespace) -> list[Trial]:
    """Return the trials that the options choose."""
    chosen = [PLAN[name] for name in options.sets or PLAN]
    if options.quick and not options.sets:
        chosen = QUICK
    if options.data is not None:
        chosen = trials.own_trials(str(options.data.resolve()))
    if options.methods:
        chosen = [replace(one, methods=tuple(options.methods)) for one in chosen]
    return [replace(one, steps=_QUICK[1]) for one in chosen] if options.quick else chosen


@contextmanager
def _spread(workers: int) -> Iterator[Ask]:
    """Yield a function that submits a seed of a trial; calling its result waits for the answer."""
    if workers == 1:
        trials.begin()
        yield lambda trial, seed: lambda: trials.one_seed(trial, seed)
        return
    context = multiprocessing.get_context("spawn")  # torch and Arrow have threads: no fork
    with ProcessPoolExecutor(workers, context, initializer=trials.begin) as pool:
        yield lambda trial, seed: pool.submit(trials.one_seed, trial, seed).result


def main(given: list[str] | None = None) -> int:
    """Run the trials, print the tables, and write the figures."""
    options = _arguments(given)
    seeds = _QUICK[0] if options.quick else options.seeds
    began, sets = time.perf_counter(), {}
    with _spread(options.workers) as ask:
        asked = {trial: [ask(trial, seed) for seed in range(seeds)] for trial in _trials(options)}
        for trial, answers in asked.items():
            runs = [answer() for answer in answers]
            found = {name: [one[name] for one in runs] for name in trial.methods}
            sets[trial.name] = found
            print(f"\n{trial.name}: {seeds} seeds, {trial.steps} steps\n")
            print(table(found), flush=True)
            facts = {"seeds": seeds, "seconds": round(time.perf_counter() - began)}
            if options.json is not None:
                write_figures(options.json, sets, {**facts, **machine()}, {})
    looped = {}
    if options.nightly and options.data is None:
        with tempfile.TemporaryDirectory() as made:
            looped = nights(Path(made), steps=_QUICK[1] if options.quick else Budget().steps)
    print(f"\nMAP@R gained over random negatives (their row: MAP@R itself)\n\n{summary(sets)}")
    facts = {"seeds": seeds, "seconds": round(time.perf_counter() - began), **machine()}
    print(f"\ntotal time: {facts['seconds']} s", file=sys.stderr)
    if options.json is not None:
        write_figures(options.json, sets, facts, looped)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What is fuzzed: strategies of cases by name, and a search that ends at the first fault."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.cases import Case, faults, play, save
from tests.fuzz.documents import DOCUMENTS, documents
from tests.fuzz.good import FORMATS, good
from tests.fuzz.jobs import broken_jobs, conditions, job_files, options
from tests.fuzz.mutations import broken
from tests.fuzz.outputs import damaged, forged

__all__ = ["TARGETS", "search"]


@st.composite
def _broken(draw: Any, name: str) -> Case:
    """A good data set with a damaged file."""
    case = good(name)
    files = draw(broken(dict(case.files)))
    more = draw(
        st.sampled_from([(), (), ("--set", "dataset.on_error=skip"), ("--max-triplets", "0")])
    )
    return Case(files, (*case.words, *more))


@st.composite
def _seldom_reported(draw: Any, cases: st.SearchStrategy[Case]) -> Case:
    """Most runs without their report: drawing it takes longer than all the rest."""
    case = draw(cases)
    if case.words[0] != "run" or draw(st.integers(0, 15)) == 0:
        return case
    words = ("run", "--set", "output.report=false", *case.words[1:])
    return dataclasses.replace(case, words=words)


TARGETS: dict[str, Callable[[], st.SearchStrategy[Case]]] = {
    **{f"document-{name}": lambda name=name: documents(name) for name in DOCUMENTS},
    **{f"broken-{name}": lambda name=name: _broken(name) for name in FORMATS},
    "job": job_files,
    "broken-job": broken_jobs,
    "condition": conditions,
    "options": options,
    "damaged": damaged,
    "forged": forged,
}


def search(name: str, number: int, examples: int, folder: Path, kept: Path | None = None) -> None:
    """Play so many cases of a target.

    Parameters
    ----------
    name : str
    number : int
        The seed.
    examples : int
    folder : Path
        Where cases are put; emptied for each.
    kept : Path or None
        Where the case that is being played is kept, in case it ends this process.

    Raises
    ------
    AssertionError
        With the smallest case found that ends as none may.
    """

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(case=_seldom_reported(TARGETS[name]()))
    def each(case: Case) -> None:
        if kept is not None:
            save(case, kept)
            with kept.with_suffix(".count").open("ab") as file:
                file.write(b".")  # its size is their number, also of a process that is ended
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            outcome = play(case, folder)
        wrong = faults(case, outcome, folder)
        if wrong and kept is not None:
            save(case, kept.with_suffix(".found"))
            kept.with_suffix(".why").write_text("; ".join(wrong) + f"\n{outcome.err[-2000:]}")
        assert not wrong, f"{case}: {'; '.join(wrong)}\n{outcome.err[-2000:]}"

    each()

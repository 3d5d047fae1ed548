"""Tables: all figures of one set, and the gains on all sets."""

from __future__ import annotations

from collections.abc import Mapping

from tests.proof.figures import Found
from tests.proof.methods import AFTER_LOOKING, BASE, METHODS
from tests.proof.statistics import Interval, interval, paired

__all__ = ["summary", "table"]

_TITLES = ("method", "Recall@1", "MAP@R", f"MAP@R over {BASE} (95 %)", "mining", "CPU of it")


def _gain(found: Interval) -> str:
    sign = "" if not found.sure else (" better" if found.mean > 0 else " worse")
    return f"{found.mean:+.4f} +- {found.half:.4f}{sign}"


def _lines(rows: list[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _short(found: Found, name: str) -> str:
    """Return a remark if a method had too few triplets for all its steps, else ''."""
    lacking = sum(one.short > 0 for one in found[name])
    return f"too few triplets in {lacking} of {len(found[name])} trainings" if lacking else ""


def _over_base(found: Found, name: str) -> Interval:
    values, base = ([one.scores.map_at_r for one in found[key]] for key in (name, BASE))
    return paired(values, base)


def table(found: Found) -> str:
    """Return a Markdown table with one row per method, in their order."""
    rows = [_TITLES, tuple("---" for _ in _TITLES)]
    for name, runs in found.items():
        said = _short(found, name)
        if said:  # the scores belong to a network with less training, or without any
            rows.append((name, "", "", said, "", ""))
            continue
        first = interval([one.scores.recall_at_1 for one in runs]).mean
        mean = interval([one.scores.map_at_r for one in runs]).mean
        gain = "" if name == BASE else _gain(_over_base(found, name))
        wall = interval([one.mining_seconds for one in runs]).mean
        cpu = interval([one.mining_cpu_seconds for one in runs]).mean
        rows.append((name, f"{first:.3f}", f"{mean:.4f}", gain, f"{wall:.2f} s", f"{cpu:.2f} s"))
    return _lines(rows)


def summary(sets: Mapping[str, Found]) -> str:
    """Return a Markdown table of gains of MAP@R over the base: a row per method, a column per set.

    The row of the base has its MAP@R. Gains whose interval excludes 0 are bold. The column of all
    sets pools the pairs of all sets and seeds of a method. A star marks methods that were chosen
    after examining such figures. The last column is the CPU time of mining for the first set.
    """
    rows = [("method", *sets, "all sets", "mining"), tuple("---" for _ in range(len(sets) + 3))]
    for name in METHODS:
        if any(name in found for found in sets.values()):
            cells = [_cell(found, name) for found in sets.values()]
            shown = f"{name} *" if name in AFTER_LOOKING else name
            cost = _cost(next(iter(sets.values())), name)
            rows.append((shown, *cells, _pooled(sets, name), cost))
    return _lines(rows)


def _pooled(sets: Mapping[str, Found], name: str) -> str:
    """Return the gain of a method over the base, on all sets that have both, as text."""
    having = [found for found in sets.values() if name in found and not _short(found, name)]
    if name == BASE or not having:
        return ""
    pairs = [
        [one.scores.map_at_r for found in having for one in found[key]] for key in (name, BASE)
    ]
    gain = paired(*pairs)
    said = f"{gain.mean:+.3f} ± {gain.half:.3f}"
    return f"**{said}**" if gain.sure else said


def _cost(found: Found, name: str) -> str:
    if name not in found or not name.startswith(("mine", "sentence-transformers")):
        return ""
    return f"{interval([one.mining_cpu_seconds for one in found[name]]).mean:.1f} s"


def _cell(found: Found, name: str) -> str:
    if name not in found:
        return ""
    if _short(found, name):
        return "too few"
    if name == BASE:
        return f"{interval([one.scores.map_at_r for one in found[name]]).mean:.3f}"
    gain = _over_base(found, name)
    said = f"{gain.mean:+.3f} ± {gain.half:.3f}"
    return f"**{said}**" if gain.sure else said

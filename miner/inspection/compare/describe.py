"""The text of a comparison for a terminal with 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from miner.formatting import LINE_WIDTH, change_text, counted, cut_line, printable, seconds_text
from miner.inspection.compare.facts import Comparison, run_seconds

__all__ = ["describe_comparison"]

_SHOWN = 5


def describe_comparison(compared: Comparison) -> str:
    """Return the text of a comparison."""
    lines = [f"A  run {compared.a.run_id}", f"B  run {compared.b.run_id}", ""]
    lines.append(f"  {compared.verdict.title}")
    for why in compared.verdict.reasons:
        lines += textwrap.wrap(why, LINE_WIDTH, initial_indent="    ", subsequent_indent="    ")
    lines.append("")
    for name, was, now in compared.settings:
        words = printable(f"{name:<12} {was} in A, {now} in B")
        lines += textwrap.wrap(words, LINE_WIDTH, initial_indent="  ", subsequent_indent="    ")
    lines += [*([""] if compared.settings else []), *_shares(compared), "", *_rest(compared)]
    return "\n".join(lines)


def _shares(compared: Comparison) -> Iterator[str]:
    yield f"  {'':<10} {'A':>10} {'B':>10} {'points':>9}"
    for row in compared.shares:
        name = row["class"].replace("_", "-")
        before, after = row["shares"]
        yield f"  {name:<10} {before:>10.2%} {after:>10.2%} {change_text(row['change']):>9}"
    for run, name in ((compared.a, "A"), (compared.b, "B")):
        for kind, recall in run.manifest["index"].get("recall", {}).items():
            yield f"  {name}: {recall['recall']:.1%} of {kind.replace('_', '-')} triplets found"


def _rest(compared: Comparison) -> Iterator[str]:
    for number, row in enumerate(compared.confusions[:_SHOWN]):
        title = "" if number else "confusions"
        before, after = row["hard"]
        words = f"{row['anchor']} -> {row['negative']}: {before:,} hard in A, {after:,} in B"
        yield cut_line(f"  {title:<10} {words}")
    anchors = compared.anchors
    if anchors is None:
        yield f"  {'anchors':<10} the runs have no anchor in common"
    else:
        alone = f"; {anchors.only_a:,} in A only, {anchors.only_b:,} in B only"
        extra = alone if anchors.only_a or anchors.only_b else ""
        fewer = counted(anchors.fewer, "has", "have")
        yield f"  {'anchors':<10} {fewer} less hard, {anchors.more:,} more{extra}"
        for change in anchors.worse[:3]:
            words = f"{change.before:.1%} hard in A, {change.after:.1%} in B"
            yield cut_line(f"  {'':<10} {change.anchor}: {words}")
    yield from _triplets(compared)
    seconds = [run_seconds(run) for run in (compared.a, compared.b)]
    yield f"  {'time':<10} {seconds_text(seconds[0])} in A, {seconds_text(seconds[1])} in B"


def _triplets(compared: Comparison) -> Iterator[str]:
    sets = compared.sets
    if sets is not None:
        counts = (
            f"{counted(sets.kept, 'stays', 'stay')}, {counted(sets.new, 'is', 'are')} new, "
            f"{counted(sets.gone, 'is', 'are')} gone"
        )
        yield f"  {'triplets':<10} {counts}"
        for words, count in sets.changed.items():
            if count:
                yield f"  {'':<10} {count:,} changed from {words.replace('_', '-')}"
    else:
        yield f"  {'triplets':<10} not compared one by one:"
        for line in textwrap.wrap(compared.why_no_sets or "their ids differ in type", 64):
            yield f"  {'':<10} {line}"
    for moved in compared.moves:
        first, second = moved.direction[0], moved.direction[1]
        parts = ", ".join(
            f"{count / moved.looked:.1%} {name.replace('_', '-')}"
            for name, count in moved.classes.items()
        )
        name = moved.name.replace("_", "-")
        yield f"  {'':<10} {name} in {first} are in {second}: {parts}"
    if not compared.moves:
        yield f"  {'':<10} (no sample could be classified by the vectors of the other run)"

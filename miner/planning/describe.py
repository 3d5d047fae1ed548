"""A plan in words, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from miner.formatting import bytes_text, seconds_text

__all__ = ["describe_plan"]

_WIDTH = 66
_BESIDE = ("store", "cache", "staged", "shards")


def describe_plan(facts: dict[str, Any]) -> str:
    """Say what a run would take.

    Parameters
    ----------
    facts : dict
        As `plan_job` gives them.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    dataset = facts["dataset"]
    anchors = f"{dataset['items']:,} items, {dataset['anchors']:,} anchors"
    known = facts["triplets_expected"], facts["triplets_at_most"]
    lines = [
        ("data", anchors + (f", {dataset['classes']:,} classes" if dataset["classes"] else "")),
        ("triplets", f"{facts['valid']:,} valid, " + _looked_at(facts["index"])),
        (
            "written",
            f"about {known[0]:,}" + (f", {known[1]:,} at most" if known[0] != known[1] else ""),
        ),
        ("model", f"{facts['model']['id']}, {facts['model']['dim']} dimensions"),
        ("engine", f"{facts['engine']['name']}, {facts['engine']['workers']} workers"),
        *_time(facts),
        ("memory", f"about {bytes_text(facts['memory_bytes'])} on a machine"),
        *_disk(facts),
        *_scaling(facts),
        *_measured(facts["calibration"]),
    ]
    if facts["count_reused"]:
        lines.append(("count", "kept from an earlier run: nothing is counted again"))
    if facts["disk_bytes"] > facts["disk_free_bytes"]:
        lines.append(("warning", "the disk may be too small: free some space, or use --out"))
    if not facts["out_writable"]:
        lines.append(("warning", "the output folder cannot be written to: use --out"))
    if facts["already_mined"]:
        lines.append(("done", f"already mined, as {facts['already_mined']}"))
        lines.append(("", "(--force mines again)"))
    return "\n".join(f"  {name:<9} {text}".rstrip() for name, text in lines)


def _looked_at(factory: str) -> str:
    if factory == "Flat":
        return "all to be classified"
    return f"of which {factory} nominates some"


def _time(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    total = (
        f"about {seconds_text(facts['total_seconds'])} ({facts['cpu_seconds']:,.0f} CPU seconds)"
    )
    yield "time", total
    some = {name: value for name, value in facts["seconds"].items() if value >= 0.05}
    yield from _wrapped([f"{name} {seconds_text(value)}" for name, value in some.items()])


def _disk(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    free = f"{bytes_text(facts['disk_free_bytes'])} are free"
    yield "disk", f"about {bytes_text(facts['disk_bytes'])} at its fullest; {free}"
    sizes = {name: facts["disk"][name] for name in _BESIDE}
    yield from _wrapped([f"{name} {bytes_text(size)}" for name, size in sizes.items() if size])


def _wrapped(words: list[str]) -> Iterator[tuple[str, str]]:
    """Put words on as many lines as they take."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 2 > _WIDTH:
            yield "", line + ","
            line = word
        else:
            line = f"{line}, {word}" if line else word
    if line:
        yield "", line


def _scaling(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    shared = ", ".join(facts["shared"])
    alone = ", ".join(name for name in facts["seconds"] if name not in facts["shared"])
    yield "workers", f"share {shared or 'nothing'};"
    yield "", f"one process does {alone}"
    if any(line["apart"] for line in facts["scaling"]):
        yield "", "each with a core of its own; marked *: processes, here or elsewhere"
    for line in facts["scaling"]:
        text = f"{line['workers']:>4}{'*' if line['apart'] else ' '}"
        text += f" {seconds_text(line['seconds']):>10}"
        text += f"  {line['worker_hours']:>10,.3f} worker hours"
        if "cost" in line:
            text += f"  cost {line['cost']:,.4g}"
        yield "", text


def _measured(calibration: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rows = f"on {calibration['rows']:,} of {calibration['of']:,} rows"
    yield "measured", f"in {seconds_text(calibration['seconds'])}, {rows}"
    if calibration["made_up"]:
        yield "", f"{calibration['made_up']:.0%} of their vectors are made up, like the others"

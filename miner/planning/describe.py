"""The text of a plan for a terminal with 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from miner.formatting import bytes_text, counted, cut_line, seconds_text
from miner.runs.describe import columns_lines

__all__ = ["describe_plan"]

Lines = Iterator[tuple[str, str]]


def describe_plan(facts: dict[str, Any]) -> str:
    """Return the text of a plan; `facts` is the result of `plan_job`."""
    lines = [*_data(facts), *_time(facts), *_room(facts), *_remarks(facts)]
    return "\n".join(f"  {name:<9} {text}".rstrip() for name, text in lines)


def _data(facts: dict[str, Any]) -> Lines:
    dataset, model, embedding = facts["dataset"], facts["model"], facts["embedding"]
    anchors = f"{counted(dataset['items'], 'item')}, {counted(dataset['anchors'], 'anchor')}"
    yield (
        "data",
        anchors
        + (f", {counted(dataset['classes'], 'class', 'classes')}" if dataset["classes"] else ""),
    )
    yield from columns_lines(dataset)
    exact = facts["index"] == "Flat"
    which = "all" if exact else f"only the candidates of {facts['index']}"
    yield "triplets", f"{facts['valid']:,} valid, {which} will be classified"
    classes = ", ".join(
        f"{name.replace('_', '-')} {most:,}" for name, most in facts["written_at_most"].items()
    )
    yield "written", f"{facts['triplets_at_most']:,} at most ({classes})"
    if facts["candidates"]:
        named = ", ".join(facts["candidates"])
        yield "drawn", cut_line(f"{'':<12}among the candidates of {named}").strip()
    teacher = facts["teacher"]
    if teacher["id"]:
        most = counted(teacher["triplets_at_most"], "triplet")
        yield "teacher", f"{teacher['id']}; the pairs of {most} at most"
    yield "model", f"{model['id']}, {counted(model['dim'], 'dimension')}"
    rows = f"{embedding['embedded']:,} of {counted(embedding['rows'], 'row')} to embed"
    yield "", rows if embedding["embedded"] else "all rows are embedded already"
    yield "engine", f"{facts['engine']['name']}, {counted(facts['engine']['workers'], 'worker')}"
    if facts["engine"]["device"].startswith("cuda"):
        yield "device", f"{facts['engine']['device']}; the time below is that of the CPU"


def _time(facts: dict[str, Any]) -> Lines:
    seconds = facts["seconds"]
    stages = ", ".join(f"{name} {seconds_text(spent)}" for name, spent in seconds.items())
    yield "time", f"about {seconds_text(sum(seconds.values()))}: {stages};"
    if "count" in seconds:
        yield "", "the index, writing and the report are not predicted"
    else:
        yield "", "the index, counting, writing and the report are not predicted"
    tried = facts["calibration"]
    rows, of = f"{tried['rows']:,}", counted(tried["of"], "row")
    if tried["anchors"]:
        against = of if tried["rows"] == tried["of"] else f"{rows} of {of}; a run may be faster"
        yield "measured", f"counting: {counted(tried['anchors'], 'anchor')} against {against}"
    if tried["embedded"]:
        rows = counted(tried["embedded"], "row")
        yield ("" if tried["anchors"] else "measured"), f"embedding: {rows}"


def _room(facts: dict[str, Any]) -> Lines:
    yield "memory", f"{bytes_text(facts['memory_bytes'])} at most on each machine"
    free = f"{bytes_text(facts['disk_free_bytes'])} are free"
    yield "disk", f"{bytes_text(facts['disk_bytes'])} at most, at the peak; {free}"
    sizes = {name: size for name, size in facts["disk"].items() if size and name != "total"}
    yield "", ", ".join(f"{name} {bytes_text(size)}" for name, size in sizes.items())


def _remarks(facts: dict[str, Any]) -> Lines:
    if facts["count_reused"]:
        yield "count", "kept from an earlier run: nothing is counted again"
    rows = sum(most for name, most in facts["written_at_most"].items() if name != "suspects")
    if rows < facts["min_rows"]:
        yield "warning", f"gates.min_rows = {facts['min_rows']:,} cannot be reached"
    if facts["disk_bytes"] > facts["disk_free_bytes"]:
        yield "warning", "the disk may be too small: free some space, or use --out"
    if not facts["out_writable"]:
        yield "warning", "the output folder cannot be written to: use --out"
    if facts["already_mined"]:
        yield "done", f"this job was mined already: run {facts['already_mined']}"
        yield "", "(--force mines again)"

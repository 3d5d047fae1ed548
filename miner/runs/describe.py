"""Describes a finished run as text, for a terminal of 80 columns."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from miner.formatting import LINE_WIDTH, counted, cut_line, printable
from miner.runs.run import REPORT, Run
from miner.runs.tables import PROMOTED
from miner.runs.totals import corrected_lines, hidden_text, why_nothing, wrote_sample
from miner.triplets.distance import scales
from miner.triplets.hardness import CLASSES, MINED_CLASSES

__all__ = ["columns_lines", "describe_facts", "describe_run", "describe_triplets", "run_facts"]
__all__ += ["scaling_text", "skipped_text", "some_triplets"]

_INDENT = 25
_LINES = 3
"""Largest number of lines for one text of a triplet."""


def describe_run(run: Run, *more: str) -> str:
    """Return the summary of a run: data, counts and shares, rows written, and how to load them.

    Parameters
    ----------
    run : Run
        A finished run from `open_run`.
    *more : str
        Lines to insert before the warnings of the run and the path of its report, which come last.
    """
    manifest = run.manifest
    lines = [f"run {run.run_id}", ""]
    lines += [f"  {name:<9} {text}" for name, text in _facts(manifest)]
    lines += ["", *_census(manifest), ""]
    lines += [*_load(run), *more, *_warnings(run)]
    return "\n".join(lines)


def _facts(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    dataset, model, mining = manifest["dataset"], manifest["model"], manifest["job"]["mining"]
    named = manifest["job"]["dataset"]
    for number, key in enumerate(key for key in ("path", "queries", "corpus") if named[key]):
        yield "" if number else "data", str(named[key])
    if dataset["kind"] == "labelled":
        classes = counted(dataset["classes"], "class", "classes")
        yield "", f"{counted(dataset['items'], 'item')} in {classes}"
    else:
        documents = f"{counted(dataset['corpus'], 'document')}, {counted(dataset['links'], 'link')}"
        yield "", f"{counted(dataset['queries'], 'query', 'queries')}, {documents}"
    yield from columns_lines(dataset)
    if any(dataset["skipped"].values()):
        yield "skipped", skipped_text(dataset["skipped"])
    yield from corrected_lines(dataset.get("corrections"))
    hidden = hidden_text(dataset["hidden"])
    if hidden:
        yield "hidden", hidden.removeprefix(": ")
    embedding = manifest["embedding"]
    rows = f"{counted(embedding['computed'], 'row')} embedded, {embedding['reused']:,} reused"
    yield "model", f"{model['id']}, {counted(model['dim'], 'dimension')}; {rows}"
    yield from _helper_lines(manifest)
    if embedding["zero_vectors"]:
        yield "", f"{embedding['zero_vectors']:,} are zero vectors: they have no direction"
    index = manifest["index"]
    if not index["exact"]:
        candidates = counted(index["candidates"], "candidate")
        yield "index", f"{index['factory']}, {candidates} per anchor"
    nearest = index["nearest"]
    if nearest["positive"] is not None:
        share = f"{nearest['positive']:.1%} have a positive as nearest row"
        yield "nearest", f"of {counted(nearest['anchors'], 'anchor')}, {share}"
    scaled = scaling_text(mining)
    yield "classes", f"{mining['metric']} distance of {scaled}, margin {mining['margin']}"
    if manifest["census"].get("reused"):
        yield "", "counts kept from an earlier run (--force counts again)"


def columns_lines(dataset: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield lines on the columns that are used for what, and those that look like a role."""
    used = dataset.get("used", {})
    shown = (
        f"{role.replace('_', ' ')} {name if isinstance(name, str) else ', '.join(name)}"
        for role, name in used.items()
    )
    if used:
        yield "columns", cut_line(" " * 12 + "; ".join(shown)).strip()
    if dataset.get("unused"):
        named = ", ".join(dataset["unused"])
        yield "unused", cut_line(f"{'':<12}columns that may matter: {named}").strip()


def skipped_text(skipped: Mapping[str, int]) -> str:
    """Return a text with the number of rows that a run skipped, by reason."""
    one = {"singletons": "singleton", "unlinked_queries": "unlinked query", "links": "link"}
    one["links_of_unknown_queries"] = "link of unknown queries"
    one["links_to_unknown_documents"] = "link to unknown documents"
    names = {why: why.replace("_", " ") for why in skipped}
    found = (counted(n, one.get(why, names[why]), names[why]) for why, n in skipped.items() if n)
    return ", ".join(found)


def scaling_text(mining: Mapping[str, Any]) -> str:
    """Return a text that says whether the vectors of a run were scaled."""
    scaled = scales(mining["metric"], mining["normalize"])
    return "unit vectors" if scaled else "vectors as they are"


def _census(manifest: dict[str, Any]) -> Iterator[str]:
    census, written = manifest["census"], manifest["written"]
    valid = census["valid"]
    if "found" in census:
        yield f"  {counted(valid, 'valid triplet')}; estimates, from those that the index found:"
    else:
        yield f"  {counted(valid, 'valid triplet')}, every one classified:"
    select = manifest["job"]["select"]
    for name in CLASSES:
        share = census[name] / valid if valid else 0.0
        line = f"    {name.replace('_', '-'):<10} {census[name]:>18,} {share:>8.2%}"
        if name in written:
            rows = written[name]["rows"]
            line += f"   {rows:,} written"
            line += _why_fewer(select, written[name]) if written[name]["truncated"] and rows else ""
        yield line
    for name, recall in manifest["index"].get("recall", {}).items():
        low, high = recall["interval"]
        found = f"{recall['recall']:.1%} found (95 % interval {low:.1%} to {high:.1%})"
        yield f"    {name.replace('_', '-'):<10} {found}"
    for name in written:
        yield from _short(name, written[name])
    if "denoised" in manifest:
        left = counted(
            manifest["denoised"]["rows"],
            "row whose label is likely wrong takes",
            "rows whose labels are likely wrong take",
        )
        yield f"    denoised: {left} no part in these"
    if select["max_triplets"] and not any(written[name]["rows"] for name in MINED_CLASSES):
        yield f"    nothing was written: {why_nothing(manifest)}"


def _helper_lines(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield lines on who proposed negatives, and on the teacher."""
    if "candidates" in manifest:
        yield from _candidate_lines(manifest["candidates"])
    if "teacher" in manifest:
        yield from _teacher_lines(manifest["teacher"])


def _candidate_lines(candidates: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = [run["name"] for run in candidates["runs"]] + ["mine"] * ("own" in candidates)
    found = counted(candidates["negatives"], "pair")
    yield "drawn", cut_line(f"{'':<12}among {found} that {', '.join(names)} proposed").strip()
    if candidates["anchors_without"]:
        yield "", f"{counted(candidates['anchors_without'], 'anchor')} without such a negative"
    for run in candidates["runs"]:
        unknown = _unknown_lines(run)
        if unknown:
            yield "", cut_line(f"{'':<12}{run['name']}: {unknown}").strip()


def _unknown_lines(run: Mapping[str, Any]) -> str:
    """Return a text with the lines of a run file whose ids are unknown; or ''."""
    found = {side: run.get(f"lines_of_unknown_{side}", 0) for side in ("queries", "documents")}
    said = [f"{n:,} of unknown {side}" for side, n in found.items() if n]
    return f"of {counted(run['lines'], 'line')}, {', '.join(said)}" if said else ""


def _teacher_lines(teacher: dict[str, Any]) -> Iterator[tuple[str, str]]:
    scored = f"{counted(teacher['pairs'], 'pair')} scored, {teacher['computed']:,} computed now"
    yield "teacher", f"{teacher['id']}; {scored}"
    if teacher["promoted"]:
        yield "", f"{counted(teacher['promoted'], 'pair')} promoted to positives: {PROMOTED}"


def _why_fewer(select: dict[str, Any], written: dict[str, Any]) -> str:
    """Return the reasons why fewer triplets of a class were written than found."""
    why, sampled = [], wrote_sample(select, written)
    if select["strategy"] != "all" or select.get("options"):
        why.append(f"by {select['strategy']}")
    elif written.get("available", written["of"]) < written["of"]:
        why.append("filtered")
    if sampled:
        even = not (why or select.get("per_pair") or select.get("per_anchor"))
        why.append("a uniform sample" if even else "a sample")
    why += ["after the teacher"] if written.get("rejected") else []
    why += ["capped"] if written.get("capped") else []
    return ", ".join(["", *why])


def _short(name: str, written: dict[str, Any]) -> Iterator[str]:
    """Yield lines on suspects, on rejected triplets, and on requests that were not met."""
    if name == "suspects":
        yield f"    suspects   {written['of']:>18,}            {written['rows']:,} written"
        return
    if written.get("rejected"):
        counts = (
            f"{written['rejected']:,} rejected by the teacher, {written['replaced']:,} replaced"
        )
        yield f"    {name.replace('_', '-')}: {counts}"
    wanted, available = (written.get(key, written["of"]) for key in ("wanted", "available"))
    if wanted > written["rows"] and not wanted == available == written["of"]:
        label = name.replace("_", "-")
        lost = "left out" if written.get("sampled") else "not found"  # a cap took part of them
        missing = f"{wanted - written['rows']:,} of {wanted:,} wanted {lost}"
        yield f"    {label}: {missing}; {available:,} pass the filters"


def _load(run: Run) -> Iterator[str]:
    """Yield the location of the triplets, and code that loads them."""
    yield f"  written   {run.where}"
    written = run.manifest["written"]
    if not any(written[name]["rows"] for name in MINED_CLASSES):
        return
    folder = _shortest(run)
    full = [name for name in reversed(MINED_CLASSES) if written[name]["rows"]]
    if "anchor" in run.schema().names:
        yield "  load      from datasets import load_dataset"
        yield '            load_dataset("parquet", split="train",'
        parts = [f'"{folder}/{name}/*.parquet"' for name in full]
        joint = ",\n" + " " * 28
        yield f"                data_files=[{joint.join(parts)}],"
        yield '                columns=["anchor", "positive", "negative"])'
    else:
        yield "  load      import pyarrow.parquet as pq"
        for name in full:
            yield f'            {name} = pq.read_table("{folder}/{name}")'


def _warnings(run: Run) -> Iterator[str]:
    """Yield the warnings of the run, one line each, and where its report is."""
    for one in run.manifest.get("warnings", []):
        yield cut_line(f"  warning   {one['text']}")
    if any(file["path"] == REPORT for file in run.manifest["files"]):
        yield f"  report    {_shortest(run)}/{REPORT}"
    else:
        yield f"  report    mine report {shlex.quote(_shortest(run))}"


def _shortest(run: Run) -> str:
    """Return the path of the run, by ``latest`` in the job's output path if it names the run."""
    latest = run.path.parent.parent / "latest"
    if run.remote is not None or latest.resolve() != run.path:
        return run.where
    return f"{run.manifest['job']['output']['path']}/latest"


def describe_triplets(run: Run, count: int) -> list[str]:
    """Return the text of up to `count` triplets of each class, as lines."""
    lines = []
    for name in reversed(MINED_CLASSES):
        for row in some_triplets(run, name, count):
            lines.append(
                f"{name.replace('_', '-')}: d(a,p) {row['d_ap']:.4f}, d(a,n) {row['d_an']:.4f}, "
                f"weight {row['weight']:.4g}"
            )
            for role in ("anchor", "positive", "negative"):
                lines += _shown(f"    {role:<9} {row[f'{role}_id']!s:<10} ", row.get(role, ""))
    return lines


def _shown(head: str, text: str) -> list[str]:
    """Return the lines of a text with its id in front, at most `_LINES` lines."""
    indent = " " * min(len(head), _INDENT)
    wrapped = textwrap.wrap(
        printable(" ".join(text.split())),
        LINE_WIDTH,
        initial_indent=printable(head),
        subsequent_indent=indent,
        max_lines=_LINES,
        placeholder=" ...",
    )
    return [cut_line(line) for line in wrapped] or [cut_line(head.rstrip())]


def some_triplets(run: Run, difficulty: str, count: int) -> list[dict[str, Any]]:
    """Return up to `count` triplets of a class, spread evenly over its rows.

    Parameters
    ----------
    run : Run
        A finished run from `open_run`.
    difficulty : str
        ``hard`` or ``semi_hard``.
    count : int
        Largest number of triplets.

    Returns
    -------
    list of dict
        One dict per triplet, with the columns of a shard.
    """
    triplets = run.triplets(difficulty)
    with run.reading():
        rows = triplets.count_rows()
        count = min(count, rows)
        if not count:
            return []
        places = [rows * n // count for n in range(count)]
        picked: list[dict[str, Any]] = triplets.take(places).to_pylist()
    return picked


def run_facts(run: Run, *, latest: bool) -> dict[str, Any]:
    """Return the main facts of a run, for a list of runs.

    Parameters
    ----------
    run : Run
        A finished run from `open_run`.
    latest : bool
        Whether ``latest`` names it.
    """
    manifest = run.manifest
    return {
        "run_id": run.run_id,
        "path": run.where,
        "latest": latest,
        "margin": manifest["job"]["mining"]["margin"],
        "metric": manifest["job"]["mining"]["metric"],
        "model": manifest["model"]["id"],
        "valid": manifest["census"]["valid"],
        "semi_hard": manifest["census"]["semi_hard"],
        "hard": manifest["census"]["hard"],
        "written": {name: manifest["written"][name]["rows"] for name in MINED_CLASSES},
    }


def describe_facts(facts: dict[str, Any]) -> str:
    """Return the result of `run_facts` as two lines of text."""
    mark = "  (latest)" if facts["latest"] else ""
    return (
        f"{facts['run_id']}{mark}\n"
        f"    {facts['model']}, {facts['metric']}, margin {facts['margin']}: "
        f"{facts['hard']:,} hard, {facts['semi_hard']:,} semi-hard"
    )

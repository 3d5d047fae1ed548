"""The commands that work on finished runs; `miner.cli.main` adds them to the command line."""

from __future__ import annotations

import shlex
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import miner
from miner.cli.help import Command
from miner.errors import StorageError, UsageError
from miner.formatting import counted, printable, printable_json, short_message

__all__ = ["COMMANDS", "STDOUT", "json_option", "print_facts"]

STDOUT = frozenset({"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
"""Paths of stdout, which a user may name as the file to write."""

_OUT = "mined"
_out_argument = click.argument("out", default=_OUT, type=click.Path())
_LATEST = "mined/latest"
_REVIEW = "review"
_FORMATS = ", ".join([*miner.EXPORT_FORMATS, _REVIEW])
_run_argument = click.argument("run", default=_LATEST, type=click.Path())

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_facts(
    facts: Any, text: str, *, as_json: bool, quiet: bool = False, aside: bool = False
) -> None:
    """Print facts as JSON or as text; with `aside` to stderr, because stdout receives a file."""
    if as_json:
        click.echo(printable_json(facts), err=aside)
    elif not quiet:
        click.echo(printable(text), err=aside)


def _listed(out: str) -> str:
    """Check that an output folder exists, except the default one, and return it."""
    return out if out == _OUT else _there(out, "name the output folder of a job")


def _there(folder: str, remedy: str) -> str:
    """Check that a folder exists, and return it; a URL is returned unchecked."""
    if "://" not in folder and not Path(folder).expanduser().is_dir():
        what = "it is a file, not a folder" if Path(folder).exists() else "no such folder"
        raise UsageError(f"{folder}: {what}; {remedy}")
    return folder


@click.command(cls=Command)
@_out_argument
@json_option
def runs(out: str, as_json: bool) -> None:
    """List the finished runs in OUT (default: mined)."""
    found, problems = miner.list_runs(_listed(out))
    latest = miner.latest_id(out)
    facts = [miner.run_facts(run, latest=run.run_id == latest) for run in found]
    text = "\n".join(miner.describe_facts(fact) for fact in facts) or f"no runs in {out}"
    print_facts(facts, text, as_json=as_json)
    for problem in problems:
        click.echo(f"mine: {short_message(problem)}", err=True)


@click.command(cls=Command)
@_run_argument
@click.option(
    "--triplets",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Triplets of each class to show.",
)
@json_option
def show(run: str, triplets: int, as_json: bool) -> None:
    """Show the counts of a RUN, its statistics, and a few triplets of each class."""
    with miner.held_run(run) as opened:
        rows = {name: miner.some_triplets(opened, name, triplets) for name in ("hard", "semi_hard")}
        tables, some = miner.describe_tables(opened), miner.describe_triplets(opened, triplets)
        text = "\n".join([miner.describe_run(opened), "", *tables, "", *some])
    print_facts({"manifest": opened.manifest, "triplets": rows}, text, as_json=as_json)


@click.command(cls=Command)
@_run_argument
@click.option("--full", is_flag=True, help="Check all triplets and anchors instead of a sample.")
@json_option
def verify(run: str, full: bool, as_json: bool) -> None:
    """Verify a RUN: checksums, schema, counts, and classes computed from the vectors."""
    with miner.held_run(run) as opened:
        result = miner.verify_run(opened, full=full)
    facts = {
        "run_id": result.run.run_id,
        "ok": not result.problems,
        "checks": [
            {key: getattr(check, key) for key in ("name", "state", "detail", "problems")}
            for check in result.checks
        ],
    }
    lines = [f"  {check.state:<7}  {check.name:<9} {check.detail}" for check in result.checks]
    print_facts(facts, "\n".join([f"run {result.run.run_id}", *lines]), as_json=as_json)
    if result.problems:
        first = "; ".join(result.problems[:3])
        raise StorageError(f"{run}: {first} ({counted(len(result.problems), 'problem')})")


@click.command(cls=Command)
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine has and lacks: versions, extras, cores, memory, folders."""
    facts = miner.machine_facts()
    print_facts(facts, miner.describe_machine(facts), as_json=as_json)


@click.command(cls=Command)
@json_option
def models(as_json: bool) -> None:
    """List the available models."""
    facts = miner.list_models()
    print_facts(facts, miner.describe_models(facts), as_json=as_json)


_cache_option = click.option(
    "--cache",
    "folder",
    metavar="DIR",
    callback=lambda _, __, folder: folder and _there(folder, "name the folder of a cache"),
    help="Cache folder; default: MINE_CACHE if it is set, else OUT/.cache.",
)


@click.command(cls=Command)
@_out_argument
@_cache_option
@click.option("--prune", hidden=True)
@json_option
def cache(out: str, folder: str | None, prune: str | None, as_json: bool) -> None:
    """List the cached vectors of OUT (default: mined)."""
    if prune is not None:
        raise UsageError(f"--prune was removed: type `mine prune {out} --vectors {prune}`")
    facts = miner.kept_facts(_listed(out), folder)
    print_facts(facts, miner.describe_kept(facts), as_json=as_json)


@click.command(cls=Command)
@_out_argument
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep the newest N runs and the latest run; default: all.",
)
@click.option(
    "--hours",
    type=click.FloatRange(min=0),
    default=24,
    show_default=True,
    help="Remove unfinished work that is older than this many hours.",
)
@click.option(
    "--vectors", metavar="SIZE", help="Limit for cached vectors and counts; default: no limit."
)
@_cache_option
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
@json_option
def prune(
    out: str,
    vectors: str | None,
    folder: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Remove unfinished work, old runs and unused vectors from OUT (default: mined)."""
    most = None if vectors is None else miner.parse_bytes(vectors, "--vectors", zero=True)
    facts = miner.prune_output(out, dry_run=dry_run, **options)
    if most is not None:
        gone = miner.prune_vectors(out, most, folder, dry_run=dry_run)
        facts["removed"] += gone
        facts["bytes"] += sum(one["bytes"] for one in gone)
    print_facts(facts, miner.describe_pruned(facts), as_json=as_json)


@click.command(cls=Command)
@_run_argument
@click.option(
    "--format",
    "name",
    metavar="NAME",
    help=f"One of {_FORMATS}.",
)
@click.option(
    "--difficulty",
    metavar="NAME",
    help="Class: hard, semi_hard or both; default: the classes that have rows.",
)
@click.option("--negatives", type=int, metavar="K", help="Take the K nearest negatives only.")
@click.option("--ragged", is_flag=True, help="labeled-list: allow lists shorter than K.")
@click.option(
    "--balance", is_flag=True, help="pair: as many negatives as positives for each anchor."
)
@click.option("--scores", is_flag=True, help="Write the teacher's scores, for distillation.")
@click.option("--clean", is_flag=True, help="ids: leave out anchors whose labels are likely wrong.")
@click.option(
    "--out",
    type=click.Path(),
    metavar="DIR",
    help="Folder to write; default: a folder in exports, next to runs.",
)
@click.option("--force", is_flag=True, help="Replace an existing export.")
@click.option(
    "--file-format",
    metavar="NAME",
    help="File format: parquet (the default) or jsonl, where the trainer reads both.",
)
@click.option(
    "--push-to-hub",
    metavar="NAME",
    help="Also push to this data set on the Hugging Face Hub; a new one becomes private.",
)
@json_option
def export(run: str, name: str | None, as_json: bool, **options: Any) -> None:
    """Export the triplets of a RUN in a format for trainers.

    triplet, n-tuple, labeled-pair and labeled-list have the columns of sentence-transformers'
    mine_hard_negatives, with labels or, with --scores, the teacher's scores; pair has labels 1.0
    and 0.0 for contrastive losses; msmarco-ids has ids only. The others are what FlagEmbedding,
    Tevatron, ms-swift, NeMo Automodel and PyLate read, with the scores of the run if there are
    any. The format ids has the ids of all anchors. n-tuple, labeled-list and pylate-kd leave out
    each pair (anchor, positive) with fewer than K negatives (default: 3), and count these pairs.

    The format review has the suspects of the run for a person: a table review.csv, and folders
    for Argilla. The job key dataset.corrections applies the decisions.
    """
    if name is None:
        raise UsageError(f"name a format: --format {_FORMATS}")
    with miner.held_run(run) as opened:
        if name == _REVIEW:
            facts = miner.export_review(opened, **_of_review(options))
            text = miner.describe_review(facts)
        else:
            facts = miner.export_triplets(opened, name, **options)
            text = miner.describe_export(facts)
    print_facts(facts, text, as_json=as_json)


def _of_review(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are given for a review; refuse those that have no meaning for it."""
    given = {key: value for key, value in options.items() if value not in (None, False)}
    for key in given.keys() - {"negatives", "out"}:
        raise UsageError(f"--{key.replace('_', '-')} has no meaning for a review; remove it")
    return given


def _gone(name: str, instead: Callable[[tuple[str, ...]], str]) -> click.Command:
    """Return a command of an earlier version that fails and says what to type instead."""

    @click.command(
        name,
        hidden=True,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def gone(words: tuple[str, ...]) -> None:
        raise UsageError(f"mine {name} was removed: {instead(words)}")

    return gone


pairs = _gone(
    "pairs", lambda words: f"type `{shlex.join(['mine', 'export', *words, '--format', 'pair'])}`"
)
batches = _gone(
    "batches",
    lambda _: (
        "random batches of P labels x K items did better; a sampler draws them: "
        "pytorch_metric_learning.samplers.MPerClassSampler(labels, m=K, batch_size=P * K)"
    ),
)


_force_option = click.option("--force", is_flag=True, help="Replace a file that mine did not make.")


@click.command(cls=Command)
@_run_argument
@click.option("--open", "show_it", is_flag=True, help="Open the page in a browser.")
@click.option(
    "--output", metavar="FILE", help="HTML file; default: reports/RUN_ID.html next to runs."
)
@_force_option
@json_option
def report(run: str, show_it: bool, output: str | None, force: bool, as_json: bool) -> None:
    """Write the report of a RUN as one HTML file."""
    with miner.held_run(run) as opened:
        made = miner.make_report(opened, output, force=force)
        facts = miner.report_facts(made, opened)
    print_facts(facts, miner.describe_report(facts), as_json=as_json, aside=output in STDOUT)
    if show_it and not webbrowser.open(made.path.resolve().as_uri()):
        click.echo(f"mine: no browser could be started; open {made.path}", err=True)


@click.command(cls=Command)
@click.argument("a")
@click.argument("b", required=False)
@click.option("--output", metavar="FILE", help="Also write the comparison as one HTML file.")
@_force_option
@json_option
def compare(a: str, b: str | None, output: str | None, force: bool, as_json: bool) -> None:
    """Compare run A with run B (default: mined/latest), and say whether B is better."""
    if b is None and not Path(_LATEST).exists():
        miner.open_run(a)  # an error of A comes first
        raise UsageError(f"one run is given, and there is no {_LATEST} to compare; name two runs")
    b = b or _LATEST
    with miner.held_run(a) as before, miner.held_run(b) as after:
        compared = miner.compare_runs(before, after)
        text = miner.describe_comparison(compared)
        if output is not None:
            text += f"\n  page       {miner.write_comparison(compared, output, force=force)}"
    facts = miner.compare_facts(compared)
    print_facts(facts, text, as_json=as_json, aside=output in STDOUT)


COMMANDS = (
    runs,
    show,
    verify,
    doctor,
    models,
    cache,
    prune,
    export,
    pairs,
    batches,
    report,
    compare,
)
"""All commands of this module; click sorts them in the help."""

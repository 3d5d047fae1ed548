"""The command line: the commands `run`, `plan` and `init`, and how every command ends.

The commands that read finished runs are in `miner.cli.commands`.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

import miner
from miner.cli.address_space import check_address_space, spare_address_space
from miner.cli.commands import COMMANDS, STDOUT, json_option, print_facts
from miner.cli.exit import (
    close_streams,
    log_ending,
    outlive_readers,
    own_process,
    print_ending,
    print_trace,
)
from miner.cli.help import Command
from miner.cli.job_options import DEFAULT_JOB, build_job, job_options
from miner.cli.json_log import LoggedProgress, json_log
from miner.cli.signals import Signalled, Signals
from miner.cli.warning_lines import warning_lines
from miner.errors import UsageError
from miner.pipeline.attempt import Attempt, Ending, RunClosure, failure
from miner.progress import ProgressBar

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(miner.__version__, prog_name="mine")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Mine exact hard and semi-hard triplets of a whole data set."""
    check_address_space()


@cli.command(cls=Command)
@job_options
@click.option("--force", is_flag=True, help="Mine even if this job was mined already.")
@click.option("--dry-run", is_flag=True, help="Check the job and print the plan, without mining.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of stderr. json: one object a line; with --quiet only warnings and the end.",
)
@click.option(
    "--metrics",
    metavar="PATH",
    help="File for Prometheus metrics; default: metrics.prom in the output folder.",
)
@json_option
@click.pass_obj
def run(
    attempt: Attempt,
    /,
    job: Path | None,
    settings: tuple[str, ...],
    force: bool,
    dry_run: bool,
    quiet: bool,
    log_format: str,
    metrics: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Mine the triplets of a job.

    JOB is a TOML file; the default is jobs/default.toml.
    """
    attempt.metrics = None if dry_run or metrics is None else miner.check_metrics(metrics)
    resolved = build_job(job, settings, flags)
    check_address_space(resolved)
    if dry_run:
        _plan(resolved, as_json=as_json, quiet=quiet)
        return
    attempt.out = resolved.output.path
    bar = LoggedProgress() if log_format == "json" else ProgressBar(quiet=quiet or as_json)
    try:
        outcome = miner.run_job(resolved, force=force, progress=bar, attempt=attempt)
    finally:
        bar.close()
    latest = f"  latest    {attempt.out}/latest is run {outcome.run.run_id}"
    text = miner.describe_run(outcome.run, latest)
    if not outcome.mined:
        text = "already mined: nothing changed since this run (--force mines again)\n" + text
    facts = {"mined": outcome.mined, "path": outcome.run.where, **outcome.run.manifest}
    print_facts(facts, text, as_json=as_json, quiet=quiet, aside=metrics in STDOUT)


@cli.command(cls=Command)
@job_options
@json_option
def plan(job: Path | None, settings: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Predict the triplets, time, memory and disk that a run needs."""
    resolved = build_job(job, settings, flags)
    check_address_space(resolved)
    _plan(resolved, as_json=as_json, quiet=False)


def _plan(job: Any, *, as_json: bool, quiet: bool) -> None:
    facts = miner.plan_job(job)
    print_facts(facts, miner.describe_plan(facts), as_json=as_json, quiet=quiet)


@cli.command(cls=Command)
@click.argument("data", type=click.Path())
@click.option(
    "--job",
    "target",
    type=click.Path(),
    default=str(DEFAULT_JOB),
    show_default=True,
    help="File to write the job to.",
)
@click.option("--id", "identity", metavar="COLUMN", help="Column of ids; default: guessed.")
@click.option("--content", metavar="COLUMN", help="Column to embed; default: guessed.")
@click.option("--label", metavar="COLUMN", help="Column of labels; default: guessed.")
@click.option("--force", is_flag=True, help="Overwrite the job file.")
@json_option
def init(data: str, target: str, force: bool, as_json: bool, **columns: str | None) -> None:
    """Examine DATA and write a commented job for it.

    DATA is a file, a folder, a pattern or a URL. The guessed columns are printed and
    written to the job file, where you can change them.
    """
    if Path(target).exists() and Path(data).exists() and Path(target).samefile(data):
        raise UsageError(f"--job {target} is the data itself; name another file")
    to_stdout = target in STDOUT
    named = None if Path(target) == DEFAULT_JOB or to_stdout else target
    starter = miner.starter_job(data, named, **columns)
    miner.write_starter(starter, target, force=force)
    facts = {"job": target, "seen": {name: text for name, text in starter.seen if name}}
    text = miner.describe_starter(starter, target, named)
    print_facts(facts, text, as_json=as_json, aside=to_stdout)


for _command in COMMANDS:
    cli.add_command(_command)


_MEANT = {
    "--strategy": "--select",
    "--k": "--set select.options.k=K",
    "--label": "--set dataset.label=COLUMN",
    "--content": "--set dataset.content=COLUMN",
    "--id": "--set dataset.id=COLUMN",
}
"""What to type in place of options that people expect."""


def _ending(error: BaseException, *, debug: bool) -> Ending:
    """Return the ending of a command that raised this error."""
    if isinstance(error, click.exceptions.Exit):
        return Ending("done", error.exit_code)
    if isinstance(error, click.ClickException):
        at = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mine"
        meant = _MEANT.get(getattr(error, "option_name", ""), "")
        hint = f" Did you mean {meant}?" if meant else ""
        return Ending(
            "failed", error.exit_code, f"{error.format_message()}{hint} (see {at} --help)"
        )
    if isinstance(error, Signalled) and error.number == signal.SIGTERM:
        return Ending("terminated", 143, "terminated; the same command continues from here")
    if isinstance(error, click.Abort) and isinstance(error.__cause__, EOFError):
        error = error.__cause__  # click makes an Abort of any EOFError
    if isinstance(error, Signalled | click.Abort | KeyboardInterrupt):
        return Ending("interrupted", 130, "interrupted; the same command continues from here")
    if isinstance(error, Exception):
        return failure(error, "" if debug else "; `mine --debug ...` shows where")
    raise error


def _settled(attempt: Attempt, ending: Ending) -> RunClosure:
    """Close a start of a job; an error in doing so must not hide how the job ended."""
    if attempt.out is None and attempt.metrics is None:
        return RunClosure(None, "")
    try:
        return miner.settle(attempt, ending)
    except Exception as error:
        return RunClosure(None, "", f"metrics: {failure(error, '').message}")


def _wants_json(words: list[str]) -> bool:
    """Return whether the arguments ask for a JSON log; needed before they are parsed."""
    pairs = itertools.pairwise([*words, ""])
    asked = [
        word.partition("=")[2] or after
        for word, after in pairs
        if word.partition("=")[0] == "--log-format"
    ]
    return "run" in words and asked[-1:] == ["json"]  # of several, the last one counts


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; `miner.errors` lists the exit codes.

    Without `arguments`, the arguments of the process are used, and the command ends the process.
    """
    if arguments is None:
        outlive_readers()
    with own_process() if arguments is None else contextlib.nullcontext():
        _run(sys.argv[1:] if arguments is None else arguments)


def _run(words: list[str]) -> NoReturn:
    debug, as_json, attempt = "--debug" in words, _wants_json(words), Attempt()
    signals, trace = Signals(), None
    spare_address_space()
    log = json_log(attempt, quiet="--quiet" in words) if as_json else warning_lines()
    with contextlib.ExitStack() as stack:
        stack.enter_context(log)
        try:
            stack.enter_context(signals)
            cli(args=words, prog_name="mine", standalone_mode=False, obj=attempt)
            signals.settling()
            ending = Ending("done", 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        except BaseException as error:
            signals.settling()
            ending = _ending(error, debug=debug)
            trace = error if debug and not isinstance(error, click.ClickException) else None
        settled = _settled(attempt, ending)
        with contextlib.suppress(OSError):  # stderr may be closed; the exit code remains
            if as_json:
                log_ending(attempt, ending, settled, trace)
            else:
                if trace is not None and ending.code:
                    print_trace(trace)
                print_ending(attempt, ending, settled)
    close_streams()
    sys.exit(ending.code)

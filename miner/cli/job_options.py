"""The argument JOB, and the options that override keys of the job."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

import miner
from miner.cli.help import option
from miner.errors import UsageError

__all__ = ["DEFAULT_JOB", "build_job", "job_options"]

DEFAULT_JOB = Path("jobs/default.toml")
_STRATEGIES = (
    "semi-hard, hardest, batch-hard, easy-positive, distance-weighted, simans, warp, uniform or all"
)
_MINED, _WRITTEN, _WHERE = "What is mined", "What is written", "Where it runs"

_FLAGS = {
    "data": "dataset.path",
    "model": "model.name",
    "margin": "mining.margin",
    "metric": "mining.metric",
    "normalize": "mining.normalize",
    "index": "index.factory",
    "select": "select.strategy",
    "per_pair": "select.per_pair",
    "per_anchor": "select.per_anchor",
    "max_triplets": "select.max_triplets",
    "seed": "select.seed",
    "out": "output.path",
    "engine": "engine.name",
    "workers": "engine.workers",
}


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument JOB and the options that override its keys to a command."""
    options = [
        click.argument("job", required=False, type=click.Path(path_type=Path)),
        option(
            "Data",
            "--data",
            type=click.Path(),
            metavar="PATH",
            help="Data set: a file, a folder, a pattern or a URL.",
        ),
        option(
            "Model",
            "--model",
            metavar="NAME",
            help="A model of `mine models`, or module:attribute.",
        ),
        option(_MINED, "--margin", type=float, help="Margin of the classes, above 0."),
        option(
            _MINED,
            "--metric",
            metavar="NAME",
            help="Distance: euclidean, sqeuclidean, cosine or dot.",
        ),
        option(
            _MINED, "--normalize/--no-normalize", default=None, help="Scale vectors to length 1."
        ),
        option(
            _MINED, "--index", metavar="NAME", help="Flat (exact), auto, or a FAISS factory string."
        ),
        option(_WRITTEN, "--select", metavar="NAME", help=f"The strategy: {_STRATEGIES}."),
        option(
            _WRITTEN,
            "--max-triplets",
            type=int,
            metavar="N",
            help="At most N triplets of each class; 0: only count.",
        ),
        option(
            _WRITTEN,
            "--per-pair",
            type=int,
            metavar="N",
            help="At most N triplets of each (anchor, positive) in a class.",
        ),
        option(
            _WRITTEN,
            "--per-anchor",
            type=int,
            metavar="N",
            help="At most N triplets of each anchor in a class.",
        ),
        option(_WRITTEN, "--seed", type=int, metavar="N", help="Seed of all random draws."),
        option(
            _WRITTEN, "--out", type=click.Path(), metavar="DIR", help="Output folder, or a URL."
        ),
        option(_WHERE, "--engine", metavar="NAME", help="Engine: threads, processes or dask."),
        option(
            _WHERE, "--workers", type=int, metavar="N", help="Workers; default: one for each core."
        ),
        option(
            "Other options",
            "--set",
            "settings",
            multiple=True,
            metavar="SECTION.KEY=VALUE",
            help="Set any key of the job file.",
        ),
    ]
    for decorate in reversed(options):
        command = decorate(command)
    return command


def build_job(path: Path | None, settings: tuple[str, ...], flags: Mapping[str, Any]) -> Any:
    """Return the job of a file and options; without a file or data, read `DEFAULT_JOB`."""
    overrides = {_FLAGS[name]: value for name, value in flags.items() if value is not None}
    overrides |= dict(_setting(text) for text in settings)
    if path is None and not {"dataset.path", "dataset.queries"} & overrides.keys():
        if not DEFAULT_JOB.exists():
            raise UsageError(
                f"no job: {DEFAULT_JOB} is not in this folder. Name a job file, use --data PATH, "
                "or let `mine init DATA` write one"
            )
        path = DEFAULT_JOB
    if path is None:
        return miner.parse_job({}, overrides)
    return miner.load_job(path, overrides)


def _near(key: str, value: str) -> str:
    """Return a hint with the section of a key that was given without one, or ''."""
    sections = miner.job_schema()["properties"]
    found = [name for name, facts in sections.items() if key.strip() in facts["properties"]]
    return f": did you mean {found[0]}.{key.strip()}={value or 'VALUE'}?" if found else ""


def _setting(text: str) -> tuple[str, Any]:
    """Split ``section.key=value``; a value that is not TOML is taken as text."""
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise UsageError(f"--set {text!r} is not of the form SECTION.KEY=VALUE{_near(key, value)}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # not TOML, or a number with too many digits
        return key.strip(), value.strip()

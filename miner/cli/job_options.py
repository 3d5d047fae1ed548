"""JOB and the options that override it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

import miner
from miner.errors import UsageError

__all__ = ["DEFAULT_JOB", "build_job", "job_options"]

DEFAULT_JOB = Path("jobs/default.toml")


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
    """Add JOB and the options that override it."""
    options = [
        click.argument("job", required=False, type=click.Path(path_type=Path)),
        click.option(
            "--data",
            type=click.Path(),
            metavar="PATH",
            help="Data set: a file, or a folder (BEIR).",
        ),
        click.option(
            "--model", metavar="SPEC", help="A name of `mine models`, or module:attribute."
        ),
        click.option("--margin", type=float, help="Margin of the classes, above 0."),
        click.option("--metric", metavar="NAME", help="euclidean, sqeuclidean, cosine or dot."),
        click.option("--normalize/--no-normalize", default=None, help="Scale to unit length."),
        click.option("--index", metavar="SPEC", help="FAISS factory string."),
        click.option("--select", metavar="NAME", help="Strategy."),
        click.option("--per-pair", type=int, metavar="N", help="Cap per (anchor, positive)."),
        click.option("--per-anchor", type=int, metavar="N", help="Cap per anchor."),
        click.option(
            "--max-triplets", type=int, metavar="N", help="Cap per class; 0: census only."
        ),
        click.option("--seed", type=int, metavar="N", help="Seed of all draws."),
        click.option("--out", type=click.Path(), metavar="DIR", help="Output folder."),
        click.option("--engine", metavar="NAME", help="threads, processes or dask."),
        click.option("--workers", type=int, metavar="N", help="Default: one a core."),
        click.option(
            "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other key."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def build_job(path: Path | None, settings: tuple[str, ...], flags: Mapping[str, Any]) -> Any:
    """Build the job from the file and the options; see DEFAULT_JOB."""
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


def _setting(text: str) -> tuple[str, Any]:
    """Split ``section.key=value``; the value is TOML, or else plain text."""
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise UsageError(f"--set {text!r} is not of the form SECTION.KEY=VALUE")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # ValueError: no TOML, or a number of too many digits
        return key.strip(), value.strip()

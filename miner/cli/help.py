"""Help of a command: options in groups, and examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["EXAMPLES", "Command", "option"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": ("mine run --margin 0.2", "mine run jobs/support_requests.toml --select semi-hard"),
    "plan": ("mine plan", "mine plan jobs/support_requests.toml --workers 8"),
    "init": (
        "mine init data.parquet --job jobs/data.toml",
        "mine init photos --label class --force",
    ),
    "runs": ("mine runs", "mine runs s3://bucket/mined --json"),
    "show": ("mine show", "mine show mined/latest --triplets 10"),
    "verify": ("mine verify", "mine verify mined/latest --full"),
    "doctor": ("mine doctor", "mine doctor --json"),
    "models": ("mine models", "mine models --json"),
    "cache": ("mine cache mined", "mine cache mined --json"),
    "prune": ("mine prune mined --keep 7", "mine prune mined --vectors 10GiB --dry-run"),
    "export": (
        "mine export mined/latest --format triplet",
        "mine export mined/latest --format n-tuple --negatives 4 --out train",
    ),
    "report": ("mine report mined/latest --open", "mine report mined/latest --output page.html"),
    "compare": (
        "mine compare mined/latest other/latest",
        "mine compare other/latest --output compared.html",
    ),
}
"""Two example command lines for each command, by its name."""

_OTHER = "Other options"


class _Option(click.Option):
    """An option that the help shows under the heading `group`."""

    group = _OTHER


def option(group: str, *names: str, **more: Any) -> Callable[[Any], Any]:
    """Return a decorator like `click.option` for an option that belongs to a group."""
    kind = type("_Grouped", (_Option,), {"group": group})
    return click.option(*names, cls=kind, **more)


class Command(click.Command):
    """A command whose help shows the options in groups, followed by examples."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section of options for each group; other options come last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(param, "group", _OTHER), []).append(record)
        width = max(len(names) for records in groups.values() for names, _ in records)
        groups[_OTHER] = groups.pop(_OTHER)
        for group, records in groups.items():
            with formatter.section("Options" if len(groups) == 1 else group):
                formatter.write_dl([(f"{names:<{width}}", text) for names, text in records])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        with formatter.section("Examples"):
            for line in EXAMPLES.get(self.name or "", ()):
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")

"""The help of every command: its options in groups, its examples, and what they name exists."""

from __future__ import annotations

import shlex

import click
import pytest

from miner.cli.help import EXAMPLES
from miner.cli.main import cli
from miner.selection.strategies.base import STRATEGIES


def shown(name: str) -> str:
    command = cli.commands[name]
    context = click.Context(command, info_name=f"mine {name}", terminal_width=80)
    return command.get_help(context)


@pytest.mark.parametrize("name", sorted(set(cli.commands) - {"batches", "pairs"}))
def test_a_command_has_two_examples_that_parse(name: str) -> None:
    text = shown(name)
    assert len(EXAMPLES[name]) == 2
    for example in EXAMPLES[name]:
        assert f"  {example}\n" in f"{text}\n"
        program, command, *words = shlex.split(example)
        assert (program, command) == ("mine", name)
        cli.commands[name].make_context(name, words)


def test_the_options_of_a_run_are_in_groups() -> None:
    text = shown("run")
    titles = ["Data:", "Model:", "What is mined:", "What is written:", "Where it runs:"]
    places = [text.index(f"\n{title}\n") for title in [*titles, "Other options:", "Examples:"]]
    assert places == sorted(places)
    assert "[JOB]" not in text[places[0] :]


def test_the_strategies_are_listed() -> None:
    words = set(shown("run").replace("\n", " ").replace(",", " ").replace(".", " ").split())
    assert set(STRATEGIES.names()) <= words

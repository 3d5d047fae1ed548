"""A commented starter job for the user's own data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.datasets.base import READERS
from miner.datasets.content import Kind, column_kind
from miner.datasets.fetch import fetch
from miner.datasets.formats.beir import is_beir
from miner.datasets.formats.files import extension
from miner.datasets.infer_roles import Guess, guess_items, guess_pairs
from miner.datasets.opening import open_table
from miner.embedding.models.base import DEFAULTS, MODELS
from miner.formatting import cut_line, short_message
from miner.progress import silent
from miner.selection.strategies.advice import LABELLED, LINKED
from miner.storage.os_errors import UNWRITTEN, outcome
from miner.storage.outputs import check_output, write_output
from miner.storage.urls import is_url, named_by_url

__all__ = ["Starter", "describe_starter", "starter_job", "write_starter"]

_OTHERS = {
    "text": "or sentence-transformers:PATH, onnx:PATH, http:URL, or your own module:attribute",
    "image": "or timm:NAME, or your own module:attribute",
    "vectors": "the content column holds the vectors",
}

_ROLES = {
    "queries": ("queries", "query"),
    "corpus": ("corpus", "documents", "passages"),
    "links": ("links", "qrels"),
}
"""How files are called that hold a role each."""

_TEMPLATE = """\
# A job of `mine`. Run it with:  mine run{path}
# See what it would do first:    mine plan{path}

[dataset]
{dataset}

[model]
{model}

[mining]
margin = 0.2                # hard: d(a,n) <= d(a,p); semi-hard: below d(a,p) + margin
metric = "euclidean"        # euclidean, sqeuclidean, cosine, dot
# normalize = true          # default: unit vectors, unless the metric is dot

[select]
{select}
max_triplets = 1_000_000    # per class; above it a uniform sample; 0 counts and writes none
# per_pair = 10             # at most so many negatives per (anchor, positive) and class
# per_anchor = 100
seed = 0

[output]
path = "mined"

[engine]
name = "threads"            # threads, processes, dask
# workers = 4               # default: one a core
"""


_GUARD = "leave out what is suspiciously near: s(n) >= s(p) - 0.05 |s(p)|"


@dataclass(frozen=True, slots=True)
class Starter:
    """A job for the user's data.

    Attributes
    ----------
    toml : str
        The commented job file.
    seen : list of (str, str)
        What was found in the data, by role, in words.
    """

    toml: str
    seen: list[tuple[str, str]]


@named_by_url()
def starter_job(
    data: str,
    job_path: str | None,
    *,
    identity: str | None = None,
    content: str | None = None,
    label: str | None = None,
) -> Starter:
    """Look at the user's data and write a job file for it.

    Parameters
    ----------
    data : str
        A file, a pattern or a folder.
    job_path : str or None
        Where the job will lie, as its comments name it; None is the job that needs no name.
    identity, content, label : str, optional
        Columns that are not to be guessed.

    Returns
    -------
    Starter
        `toml`, the text of the job file, and `seen`, what was guessed.

    Raises
    ------
    DataError
        When the data cannot be opened, or no column can be content or label.
    """
    local = fetch(data, "DATA", silent)
    named = any(name is not None for name in (identity, content, label))
    apart = None if named or is_url(data) else _apart(Path(local))
    kind: Kind = "text"
    select = LINKED
    if Path(local).is_dir() and is_beir(Path(local)):
        lines = [_key("path", data, "BEIR: corpus.jsonl, queries.jsonl, qrels/*.tsv")]
        seen = [("data", f"{data}: queries, corpus and judgements in BEIR layout")]
    elif apart is not None:
        lines = [_key(role, str(path)) for role, path in apart.items()]
        seen = [("data", ", ".join(path.name for path in apart.values()))]
    else:
        table = open_table(local)
        pairs = None if named else guess_pairs(table)
        if pairs is not None:
            lines, seen = _pairs(data, *pairs)
            kind = column_kind(table.where, pairs[0], table.types[pairs[0]], None)
        else:
            guess = guess_items(table, identity=identity, content=content, label=label)
            lines, seen, kind = list(_items(data, guess)), _words(data, guess), guess.kind
            select = LABELLED
    seen.append(("model", f"{DEFAULTS[kind]}, the default for {kind}"))
    entry = MODELS.entries[DEFAULTS[kind]]
    if entry.missing:
        seen.append(("", f"to have it: {entry.remedy}"))
    model = _key("name", DEFAULTS[kind], _OTHERS[kind])
    sections = {"dataset": "\n".join(lines), "model": model, "select": "\n".join(_select(select))}
    toml = _TEMPLATE.format(path=_argument(job_path), **sections)
    return Starter(toml, seen)


def write_starter(starter: Starter, target: str, *, force: bool) -> None:
    """Write a job file whole, or leave what is there as it was.

    Raises
    ------
    UsageError
        When a file is there and `force` is not set, or the path can hold no file.
    StorageError
        When it cannot be written.
    """
    path = check_output(target, "--job", force=force)
    with outcome(UNWRITTEN):
        write_output(path, starter.toml.encode())


def describe_starter(starter: Starter, target: str, named: str | None) -> str:
    """Say what was found, where the job is, and what to type next, where the job is `named`."""
    place = _argument(named)
    lines = [f"wrote {target}"]
    lines += [cut_line(f"  {name:<9} {text}") for name, text in starter.seen]
    lines += [f"next: mine plan{place}", f"then: mine run{place}"]
    return "\n".join(lines)


def _apart(folder: Path) -> dict[str, Path] | None:
    """Find queries, corpus and links in a folder, each a file of its own."""
    files = sorted(folder.glob("*.*")) if folder.is_dir() else []
    found: dict[str, Path] = {}
    for role, names in _ROLES.items():
        for file in files:
            if file.name.split(".")[0].lower() in names and extension(file) in READERS.names():
                found.setdefault(role, file)
    return found if len(found) == len(_ROLES) else None


def _pairs(data: str, anchor: str, positive: str) -> tuple[list[str], list[tuple[str, str]]]:
    lines = [
        _key("path", data, "a table of pairs: a row is an anchor and one of its positives"),
        _key("pair_anchor", anchor, "an anchor may have several rows"),
        _key("pair_positive", positive, "every other one is a negative"),
    ]
    return lines, [("data", f"{data}: pairs"), ("anchor", anchor), ("positive", positive)]


def _select(chosen: Mapping[str, Any]) -> Iterator[str]:
    """Write what is mined, as `miner.selection.strategies.advice` has it for such data."""
    margin = chosen.get("relative_margin")
    why = "guarded by the next line" if margin else "train on this first"
    yield _key("strategy", chosen["strategy"], why)
    guard = f"relative_margin = {margin or 0.05}"
    yield f"{guard if margin else '# ' + guard:<27} # {_GUARD}"


def _items(data: str, guess: Guess) -> Iterator[str]:
    """Write the section for labelled items."""
    words = guess.words
    yield _key("path", data)
    if guess.id is None:
        yield '# id = "id"                # default: the row number'
    else:
        yield _key("id", guess.id, "no two rows have the same")
    yield _key("content", guess.content, "what the model embeds")
    yield _key("label", guess.label, words["label"])
    if words.get("rivals"):
        yield "# " + short_message(f"label could also be: {words['rivals']}")
    group = _key("group", guess.group or "document")
    yield f"# {group}".ljust(27) + " # rows of one group are never each other's negatives"
    if guess.split is not None:
        yield "# " + short_message(f"where = ...               # which rows: see {guess.split!r}")


def _words(data: str, guess: Guess) -> list[tuple[str, str]]:
    """Say what the columns were taken for."""
    words = guess.words
    seen = [
        ("data", data),
        ("id", _with(guess.id, words["id"])),
        ("content", _with(guess.content, words["content"])),
        ("label", _with(guess.label, words["label"])),
    ]
    if words.get("rivals"):
        seen.append(("", f"or one of: {words['rivals']} (name it with --label)"))
    return seen


def _with(name: str | None, words: str) -> str:
    return words if name is None else f"{name}: {words}".removesuffix(": ")


def _key(name: str, value: str, comment: str = "") -> str:
    """Write a key with its value as TOML has it, and a comment."""
    line = f"{name} = {_quoted(value)}"
    return f"{line:<27} # {short_message(comment)}" if comment else line


def _quoted(text: str) -> str:
    """Return a TOML string: escapes are those of JSON, but for what only TOML forbids."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _argument(path: str | None) -> str:
    """Return a path as a shell takes it behind a command, on one line; nothing for none."""
    return "" if path is None else f" {short_message(shlex.quote(path))}"

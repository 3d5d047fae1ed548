"""`mine init`: write a commented job for the user's data."""

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
from miner.datasets.formats.files import extension
from miner.datasets.layouts.beir import is_beir
from miner.datasets.layouts.pair_cells import content_type
from miner.datasets.layouts.pair_columns import PairColumns
from miner.datasets.opening import open_table
from miner.datasets.recognition.columns import InferredRoles, guess_items, guess_pairs
from miner.datasets.source import open_source
from miner.embedding.models.base import DEFAULTS, MODELS
from miner.formatting import counted, cut_line, short_message
from miner.job_sections import DatasetJob
from miner.planning.job_schema import job_schema
from miner.progress import silent
from miner.selection.strategies.advice import LABELLED, LINKED
from miner.storage.os_errors import NOT_WRITTEN, publication_state
from miner.storage.outputs import check_output, is_stream, write_output
from miner.storage.urls import errors_name_urls, is_url

__all__ = ["Starter", "describe_starter", "starter_job", "write_starter"]

_OTHERS = {
    "text": "or sentence-transformers:PATH, onnx:PATH, http:URL, or your own module:attribute",
    "image": "or timm:NAME, or your own module:attribute",
    "vectors": "the content column holds the vectors",
}

_ROLES = {
    "queries": ("queries", "query", "users"),
    "corpus": ("corpus", "documents", "passages", "items", "movies", "products"),
    "links": ("links", "qrels", "interactions", "ratings"),
}
"""Names of files (without extension) that contain one role each."""

_LAYOUTS = {
    "pos": ", as FlagEmbedding has them",
    "positive_passages": ", as Tevatron has them",
    "positive_messages": ", as ms-swift has them",
}
"""By the name of the positives, whose layout a table of pairs has."""

_SCHEMA = ".mine.schema.json"
"""The file next to a job by which editors complete and check its keys."""
_SCHEMA_LINE = f"#:schema ./{_SCHEMA}\n"
"""Read by taplo, so by the TOML extensions of VS Code, Zed and others."""

_TEMPLATE = """\
# A job for `mine`. Mine it:     mine run{path}
# Predict time and size first:   mine plan{path}

[dataset]
{dataset}

[model]
{model}

[mining]
margin = 0.2                # hard: d(a,n) <= d(a,p); semi-hard: farther, but < d(a,p) + margin
metric = "euclidean"        # the distance: euclidean, sqeuclidean, cosine or dot
# normalize = true          # scale vectors to length 1; the default, except for dot

[select]
{select}
max_triplets = 1_000_000    # limit for each class; above it a uniform sample; 0 only counts
# per_pair = 10             # limit for each (anchor, positive) and class
# per_anchor = 100          # limit for each anchor and class
seed = 0                    # seed of all random draws

[output]
path = "mined"              # a folder or a URL

[engine]
name = "threads"            # threads, processes or dask
# workers = 4               # default: one for each core
"""


_GUARD = "leave out likely false negatives, by score s: s(n) >= s(p) - 0.05 |s(p)|"


@dataclass(frozen=True, slots=True)
class Starter:
    """A job for the user's data.

    Attributes
    ----------
    toml : str
        The commented job file.
    seen : list of (str, str)
        Descriptions of the columns that were found in the data, by role.
    """

    toml: str
    seen: list[tuple[str, str]]


@errors_name_urls()
def starter_job(
    data: str,
    job_path: str | None,
    *,
    identity: str | None = None,
    content: str | None = None,
    label: str | None = None,
) -> Starter:
    """Examine the user's data and return a job file for it.

    Parameters
    ----------
    data : str
        A file, a folder, a pattern or a URL.
    job_path : str or None
        The path of the job file, for the comments in it; None for the default job.
    identity, content, label : str, optional
        The names of columns; columns that are not given are guessed.

    Returns
    -------
    Starter
        `toml`, the text of the job file, and `seen`, what was found.

    Raises
    ------
    DataError
        If the data cannot be opened, or no column can be content or label.
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
        queries, corpus, links = (str(apart[role]) for role in _ROLES)
        source = open_source(DatasetJob(queries=queries, corpus=corpus, links=links), None)
        kind = source.kind
        seen = [("data", ", ".join(path.name for path in apart.values()))]
        seen += [(role.split("_")[0], f"{role}: {name}") for role, name in source.used().items()]
        seen += _ignored(source.unused())
    else:
        table = open_table(local)
        pairs = None if named else guess_pairs(table)
        if pairs is not None:
            lines, seen = list(_pair_keys(data, pairs)), list(_pair_words(data, pairs))
            kind = column_kind(table.where, "text", content_type(table.types[pairs.anchor]), None)
            used = pairs.names
        else:
            guess = guess_items(table, identity=identity, content=content, label=label)
            lines, seen, kind = list(_items(data, guess)), _words(data, guess), guess.kind
            select = LABELLED
            used = [guess.content, guess.label, *([guess.id] if guess.id else [])]
        seen += _ignored([name for name in table.types if name not in used])
    seen.append(("model", f"{DEFAULTS[kind]}, the default for {kind}"))
    entry = MODELS.entries[DEFAULTS[kind]]
    if entry.missing:
        seen.append(("", f"to install it: {entry.remedy}"))
    model = _key("name", DEFAULTS[kind], _OTHERS[kind])
    sections = {"dataset": "\n".join(lines), "model": model, "select": "\n".join(_select(select))}
    toml = _TEMPLATE.format(path=_argument(job_path), **sections)
    return Starter(toml, seen)


def write_starter(starter: Starter, target: str, *, force: bool) -> None:
    """Write a job file atomically, and next to it the JSON Schema to which its first line points.

    A job that is printed has neither.

    Raises
    ------
    UsageError
        If the file exists and `force` is False, or the path cannot be a file.
    StorageError
        If the file cannot be written.
    """
    path = check_output(target, "--job", force=force)
    alone = is_stream(path) or (path.exists() and not path.is_file())
    schema = None if alone else check_output(path.with_name(_SCHEMA), "--job", _is_schema)
    with publication_state(NOT_WRITTEN):
        if schema is not None:
            write_output(schema, f"{json.dumps(job_schema(), indent=2)}\n".encode())
        write_output(path, ("" if alone else _SCHEMA_LINE).encode() + starter.toml.encode())


def _is_schema(head: bytes) -> bool:
    """Return whether a file with these first bytes is a schema that `write_starter` wrote."""
    return f'"title": "{job_schema()["title"]}"'.encode() in head


def describe_starter(starter: Starter, target: str, named: str | None) -> str:
    """Return a text with what was found, the path of the job, and the next commands."""
    place = _argument(named)
    lines = [f"wrote {target}"]
    lines += [cut_line(f"  {name:<9} {text}") for name, text in starter.seen]
    lines += [f"next: mine plan{place}", f"then: mine run{place}"]
    return "\n".join(lines)


def _apart(folder: Path) -> dict[str, Path] | None:
    """Return the files of queries, corpus and links in a folder, or None if one is missing."""
    files = sorted(folder.glob("*.*")) if folder.is_dir() else []
    found: dict[str, Path] = {}
    for role, names in _ROLES.items():
        for file in files:
            if file.name.split(".")[0].lower() in names and extension(file) in READERS.names():
                found.setdefault(role, file)
    return found if len(found) == len(_ROLES) else None


def _ignored(names: list[str]) -> list[tuple[str, str]]:
    """Return what is said about columns that the job does not use."""
    return [("ignored", ", ".join(names))] if names else []


def _pair_keys(data: str, pairs: PairColumns) -> Iterator[str]:
    """Yield the lines of ``[dataset]`` for a table of pairs."""
    yield _key("path", data, "a table of pairs: each row has an anchor and its positive")
    yield _key("pair_anchor", pairs.anchor, "an anchor may occur in several rows")
    yield _key("pair_positive", pairs.positive, "the positives of other anchors are negatives")
    if pairs.score:
        yield _key("pair_score", pairs.score, "only pairs above 0 are positives")
    if pairs.negatives:
        names = ", ".join(map(_quoted, pairs.negatives))
        yield f"pair_negatives = [{names}]".ljust(27) + " # negatives that were judged"


def _pair_words(data: str, pairs: PairColumns) -> Iterator[tuple[str, str]]:
    """Yield descriptions of the columns of a table of pairs by role."""
    yield "data", f"{data}: pairs{_LAYOUTS.get(pairs.positive.lower(), '')}"
    yield "anchor", pairs.anchor
    yield "positive", pairs.positive
    if pairs.score:
        yield "score", f"{pairs.score}: only pairs above 0 are positives"
    if pairs.negatives:
        yield "negatives", ", ".join(pairs.negatives)


def _select(chosen: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of ``[select]`` that `miner.selection.strategies.advice` recommends."""
    margin = chosen.get("relative_margin")
    why = "guarded by relative_margin" if margin else "a good first choice; see README"
    yield _key("strategy", chosen["strategy"], why)
    guard = f"relative_margin = {margin or 0.05}"
    yield f"{guard if margin else '# ' + guard:<27} # {_GUARD}"


def _items(data: str, guess: InferredRoles) -> Iterator[str]:
    """Yield the lines of ``[dataset]`` for labelled items."""
    words = guess.words
    yield _key("path", data)
    if guess.id is None:
        yield '# id = "id"                # default: the row number'
    else:
        yield _key("id", guess.id, "a different value in each row")
    yield _key("content", guess.content, "what the model embeds")
    yield _key("label", guess.label, words["label"])
    if words.get("rivals"):
        yield "# " + short_message(f"label could also be: {words['rivals']}")
    group = _key("group", guess.group or "document")
    yield f"# {group}".ljust(27) + " # rows of a group are not each other's negatives"
    if guess.split is not None:
        yield "# " + short_message(
            f"where = ...               # condition on rows: see {guess.split!r}"
        )
    if guess.blank:
        why = f"{counted(guess.blank, 'row')} without content: such rows are left out and counted"
        yield _key("on_error", "skip", why)


def _words(data: str, guess: InferredRoles) -> list[tuple[str, str]]:
    """Return descriptions of the columns by role."""
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
    """Return a line of TOML with a key, its value and a comment."""
    line = f"{name} = {_quoted(value)}"
    return f"{line:<27} # {short_message(comment)}" if comment else line


def _quoted(text: str) -> str:
    """Return a TOML string: JSON's escapes, and an escape of DEL, which only TOML forbids."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _argument(path: str | None) -> str:
    """Return a space and a path quoted for a shell, on one line; '' for None."""
    return "" if path is None else f" {short_message(shlex.quote(path))}"

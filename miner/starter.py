"""A commented starter job for the user's own data."""

from __future__ import annotations

from pathlib import Path

from miner.clock import silent
from miner.datasets.base import Table
from miner.datasets.beir import is_beir
from miner.datasets.content import column_kind
from miner.datasets.opening import open_table
from miner.errors import DataError, did_you_mean
from miner.models.base import DEFAULTS
from miner.remote.inputs import fetch
from miner.urls import named_by_url

__all__ = ["starter_job"]

_LABELS = ("label", "labels", "class", "category", "intent", "target", "y")
_CONTENT = ("text", "image", "embedding", "content", "sentence", "question", "body", "vector")
_IDS = ("id", "_id", "uid", "key")

_TEMPLATE = """\
# A job of `mine`. Run it with:  mine run {path}
# See what it would do first:    mine plan {path}

[dataset]
{dataset}
# group = "document"        # rows of one group are never each other's negatives

[model]
{model}

[mining]
margin = 0.2                # hard: d(a,n) <= d(a,p); semi-hard: below d(a,p) + margin
metric = "euclidean"        # euclidean, sqeuclidean, cosine, dot
# normalize = true          # default: unit vectors, unless the metric is dot

[select]
strategy = "all"            # or hardest, semi-hard, batch-hard, uniform, ...: see the README
# relative_margin = 0.05    # leave out what is suspiciously near: s(n) >= s(p) - 0.05 |s(p)|
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


@named_by_url()
def starter_job(data: str, job_path: str) -> str:
    """Look at the user's data and write a job file for it.

    Parameters
    ----------
    data : str
        A file, or a folder in BEIR layout.
    job_path : str
        Where the job will lie; named in its comments.

    Returns
    -------
    str
        TOML with comments.

    Raises
    ------
    DataError
        When the data cannot be opened, or no column can be content or label.
    """
    local = fetch(data, "DATA", silent)
    if Path(local).is_dir() and is_beir(Path(local)):
        dataset = f"path = {_quoted(data)}   # BEIR: corpus.jsonl, queries.jsonl, qrels/*.tsv"
        kind = "text"
    else:
        table = open_table(local)
        content = _guess(table, _CONTENT, "content")
        kind = column_kind(table.where, content, table.types[content], None)
        dataset = "\n".join(_columns(table, data, content))
    name = DEFAULTS[kind]
    model = (
        f'name = "{name}"' + " " * max(1, 20 - len(name)) + f"# the default for {kind}; "
        'or "package.module:attribute" of your own'
    )
    return _TEMPLATE.format(path=job_path, dataset=dataset, model=model)


def _columns(table: Table, data: str, content: str) -> list[str]:
    lines = [f"path = {_quoted(data)}"]
    identity = next((name for name in _IDS if name in table.types), None)
    if identity:
        lines.append(f"id = {_quoted(identity)}")
    else:
        lines.append('# id = "id"                # default: the row number')
    lines.append(f"content = {_quoted(content)}")
    lines.append(f"label = {_quoted(_guess(table, _LABELS, 'label'))}")
    return lines


def _guess(table: Table, names: tuple[str, ...], role: str) -> str:
    """Return the first usual name that the table has."""
    by_lower = {name.lower(): name for name in table.types}
    for name in names:
        if name in by_lower:
            return by_lower[name]
    raise DataError(
        f"{table.where} has no column that looks like the {role}: "
        f"{did_you_mean(names[0], table.types)} Write the job by hand, or rename one"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""Assign roles to the columns of a table: by the keys of a job, else by their usual names."""

from __future__ import annotations

from miner.datasets.base import Table, require_column
from miner.datasets.content import column_kind, is_list, is_string
from miner.datasets.relevance.links import refuse_links
from miner.datasets.roles import Constraints, TableRoles
from miner.errors import DataError
from miner.job_sections import DatasetJob

__all__ = ["CONTENT", "assign_roles"]

CONTENT = ("text", "image", "embedding")
"""The usual names of columns of content; the first that exists is embedded."""


def _refuse_lists(table: Table, names: tuple[str, ...]) -> None:
    """Raise a `DataError` if a column whose name starts with one of `names` has lists of text."""
    for name, kind in table.types.items():
        if is_list(kind) and is_string(kind.value_type) and name.lower().startswith(names):
            raise DataError(
                f"{table.where}, column {name!r} holds lists of text; for positives name it with "
                "--set dataset.pair_positive=NAME, and the anchors with dataset.pair_anchor; "
                "for labels name it with --set dataset.label=NAME"
            )


def _refuse_vectors(table: Table) -> None:
    """Raise a `DataError` if ``.npy`` files lie next to a table: they are not read with it."""
    vectors = sorted(table.files[0].parent.glob("*.npy")) if table.files else []
    if vectors:
        stem = vectors[0].stem
        raise DataError(
            f"{table.where} has no content, and the vectors of {vectors[0]} are not read together "
            f"with it; call it {stem}.csv (or {stem}.parquet ...) and name the vectors as "
            "dataset.path, or write them into its column embedding"
        )


def assign_roles(
    table: Table, job: DatasetJob, model: str | None, *, labelled: bool, linked: str | None = None
) -> TableRoles:
    """Return a table with the roles of its columns.

    Parameters
    ----------
    table : Table
    job : DatasetJob
    model : str or None
        The model's name; None for the default.
    labelled : bool
        Whether the rows are labelled items.
    linked : str or None
        The name of the column of ids in the links.

    Raises
    ------
    DataError
        If a column is missing, or none can be content.
    """
    known = getattr(table, "usual", {})
    usual = CONTENT if labelled else (*CONTENT, "query", "question", "passage", "document")
    content = job.content or known.get("content")
    content = content or next((name for name in usual if name in table.types), None)
    content = content or known.get("embedding")
    if content is None:
        refuse_links(table)
        _refuse_lists(table, ("",))
        _refuse_vectors(table)
        raise DataError(
            f"{table.where} has none of the columns {', '.join(CONTENT)}; name the one to embed "
            f"with --set dataset.content=NAME, or let `mine init {table.where}` write a job. "
            f"It has: {', '.join(map(repr, sorted(table.types)))}"
        )
    require_column(table, content, "dataset.content")
    usual = ("id", "_id", *([linked] if linked else ())) if not labelled else ("id",)
    identity = job.id or next((name for name in usual if name in table.types), known.get("id"))
    if identity:
        require_column(table, identity, "dataset.id")
    named = job.label or known.get("label", "label")
    if labelled and not job.label and named not in table.types:
        _refuse_lists(table, ("pos", "neg"))
    label = require_column(table, named, "dataset.label") if labelled else None
    constraints = Constraints.from_job(job)
    for name, key in constraints.columns.items():
        require_column(table, name, f"dataset.{key}")
    kind = column_kind(table.where, content, table.types[content], model)
    return TableRoles(
        table,
        content,
        kind,
        identity,
        label,
        constraints,
        job.negative_only,
        fold=job.same_text == "folded",
        skip=job.on_error == "skip",
        folder=str(table.files[0].parent) if table.files else ".",
    )

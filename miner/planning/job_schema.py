"""The JSON Schema of the job file, by which editors complete and check its keys."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from miner.job import SECTIONS
from miner.selection.strategies.base import STRATEGIES

__all__ = ["DESCRIPTIONS", "job_schema"]

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "dataset": {
        "path": "A file, a folder, a pattern or a URL: labelled items or a table of pairs.",
        "queries": "The file of the queries; with corpus and links, in place of path.",
        "corpus": "The file of the documents.",
        "links": "The file that says which documents are relevant to which query.",
        "id": "The column of ids; by default `id`, else the number of the row.",
        "content": "The column to embed; by default the first of text, image and embedding.",
        "label": "The column of labels; by default `label`.",
        "group": "A column, or several: a negative differs from its anchor in each of them.",
        "positives_across": "A column, or several: a positive differs from its anchor in each.",
        "negatives_within": "A column, or several: a negative has its anchor's value in each.",
        "before": "A column of times or numbers: nothing above its anchor's is used.",
        "negative_only": "Labels whose rows are negatives, but neither anchors nor positives.",
        "link_query": "The column of the links with the id of the query.",
        "link_corpus": "The column of the links with the id of the document.",
        "link_score": "The column of the links with the score.",
        "min_relevance": "The lowest score of a positive; by default any score above 0.",
        "judged_below": "What lower scores mean: negative, prefer (taken first) or ignore.",
        "pair_anchor": "The column of a table of pairs with the anchor.",
        "pair_positive": "The column of a table of pairs with the positive, or a list of them.",
        "pair_score": "The column with the score or verdict on a pair; empty for none.",
        "pair_negatives": "The columns with negatives of the anchor, or lists of them.",
        "where": "An SQL condition: the rows that take part.",
        "anchors": "An SQL condition: the rows that are anchors; all rows stay candidates.",
        "corrections": "The edited table of mine export --format review: decisions to apply.",
        "same_id": "Whether a query and a document of one id are the same, whatever they hold.",
        "same_text": "When texts are duplicates: exact, or folded (case, spaces, Unicode form).",
        "on_error": "What to do with rows and links that cannot be used: stop, or skip and count.",
        "separator": "The character between the columns of CSV files; by default the header's.",
        "encoding": "The encoding of files of text, such as latin-1 or utf-16; by default UTF-8.",
    },
    "model": {
        "name": "A registered model, FAMILY:VALUE, a folder, or package.module:attribute.",
        "batch_size": "The number of rows in a batch; halved when the model runs out of memory.",
        "prompt": "A text that is written before each text.",
        "query_prompt": "A text that is written before each query.",
        "document_prompt": "A text that is written before each document.",
        "options": "The model's own options.",
    },
    "index": {
        "factory": "Flat is exact; else a FAISS factory string, or auto.",
        "save": "Write index.faiss with the shards.",
        "candidates": "Of an approximate index: the nearest negatives examined for each anchor.",
        "min_recall": "An approximate run that finds a smaller share ends with exit code 5.",
        "audit": "The number of anchors that are counted exactly to measure that share.",
        "budget_minutes": "With auto, the exact pass is taken up to this predicted time.",
    },
    "mining": {
        "margin": "The margin, above 0, in units of the metric.",
        "metric": "The distance: that of the loss.",
        "normalize": "Scale vectors to length 1; the default is true, and false for dot.",
        "memory": "Memory for blocks of distances and for vectors, such as 512MiB.",
        "loss": "Write the mean loss of hard and semi-hard triplets into the manifest.",
        "hubs": "The number of rows in hubs.parquet; 0 for no such table.",
        "confusions": "The number of rows in confusion.parquet; 0 for no such table.",
        "neighbours": "The nearest rows by which label_noise.parquet judges; 0 for no such table.",
        "gaps": "The number of triplets drawn for the histogram census.gaps; 0 for none.",
    },
    "candidates": {
        "runs": "Files of ranked documents, or bm25: negatives are drawn from their union.",
        "depth": "The first documents of a query in each run that are candidates.",
        "own": "The nearest negatives by the job's own model that join the union; 0 for none.",
    },
    "select": {
        "strategy": "Which triplets are taken.",
        "max_triplets": "The most triplets of a class, by a uniform sample; 0 counts only.",
        "per_pair": "The most triplets of an (anchor, positive) in each class; 0 for no cap.",
        "per_anchor": "The most triplets of an anchor in each class; 0 for no cap.",
        "per_negative": "The most triplets of a negative in each class; 0 for no cap.",
        "seed": "The seed of all draws.",
        "options": "The strategy's own options.",
        "classes": "The classes that are written.",
        "absolute_margin": "Keep negatives with s(n) < s(p) minus this.",
        "relative_margin": "Keep negatives with s(n) < s(p) minus this share of |s(p)|.",
        "min_score": "The lowest score of a negative.",
        "max_score": "The highest score of a negative.",
        "skip_nearest": "Leave out this number of the nearest negatives of each anchor.",
        "ranks": "Keep these ranks of the negatives by distance: [first, end].",
        "suspects": "Write what the margins and max_score leave out to suspects/.",
        "denoise": "Write no triplet with a row of label_noise.parquet.",
    },
    "teacher": {
        "model": "A second model that scores the drawn triplets; none by default.",
        "options": "The teacher's own options.",
        "batch_size": "Pairs, or rows of an embedding model, in a batch.",
        "prompt": "Of an embedding model: a text that is written before each text.",
        "query_prompt": "Of an embedding model: a text that is written before each query.",
        "document_prompt": "Of an embedding model: a text that is written before each document.",
        "spares": "Further negatives scored for each triplet, to take the place of rejected ones.",
        "activation": "What of logits is compared: sigmoid, or identity for the logits themselves.",
        "absolute_margin": "Reject negatives with t(n) > t(p) minus this.",
        "relative_margin": "Reject negatives with t(n) > t(p) minus this share of |t(p)|.",
        "max_score": "Reject negatives with t(n) > this.",
        "rejected": "What happens to rejected triplets: drop, suspects or promote.",
    },
    "output": {
        "path": "The output folder, or a URL.",
        "content": "Write the texts as columns of the shards.",
        "report": "Write report.html.",
    },
    "engine": {
        "name": "threads, processes or dask.",
        "workers": "The number of workers; 0 for one a core.",
        "device": "What counts, and where PyTorch models run: auto, cpu, cuda or cuda:N.",
        "address": "The address of the Dask scheduler.",
        "patience": "Seconds to wait for a Dask scheduler, or for workers when all are gone.",
    },
    "cache": {
        "path": "The folder of the vector cache; by default MINE_CACHE, else in the output folder.",
        "max_size": "The most that the cache and the stores take; the oldest are removed first.",
    },
    "gates": {
        "min_triplets": "The fewest hard and semi-hard triplets of the classes that are written.",
        "min_rows": "The fewest rows that are written; 0 allows an empty run.",
        "max_hard_share": "The largest share of hard triplets among all.",
        "min_recall": "The smallest share found by an approximate run.",
    },
}
"""One sentence for each key."""

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the job file, from its dataclasses.

    Returns
    -------
    dict
        Sections and keys with types, defaults and descriptions; other keys are errors.

    Examples
    --------
    >>> import miner
    >>> miner.job_schema()["properties"]["mining"]["properties"]["margin"]["default"]
    0.2
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A job of mine",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _section(name, kind) for name, kind in SECTIONS.items()},
    }


def _section(name: str, kind: Any) -> dict[str, Any]:
    """Return the schema of a section."""
    hints = typing.get_type_hints(kind)
    keys = {}
    for field in dataclasses.fields(kind):
        key = _type(hints[field.name]) | {"description": DESCRIPTIONS[name][field.name]}
        if field.default not in (None, dataclasses.MISSING):
            default = field.default
            key["default"] = list(default) if isinstance(default, tuple) else default
        keys[field.name] = key
    if name == "select":
        names = sorted(STRATEGIES.names())
        keys["strategy"] = {**keys["strategy"], "examples": names}  # others come from plugins
    return {"type": "object", "additionalProperties": False, "properties": keys}


def _type(hint: Any) -> dict[str, Any]:
    """Return the schema of a type; a key that may be None is left out of the file instead."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [_type(one) for one in typing.get_args(hint) if one is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is typing.Literal:
        return {"enum": list(typing.get_args(hint))}
    if origin is tuple:
        return {"type": "array", "items": _type(typing.get_args(hint)[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object"}
    return {"type": _PLAIN[hint]}

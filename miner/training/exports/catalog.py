"""The formats of exports: what each has, which options it takes, and how a trainer reads it.

This is the one list of formats; the command line, its help and the checks read it. It imports no
library, because the help of the command line needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["EXPORT_FORMATS", "Format", "Table"]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of an export.

    Attributes
    ----------
    folder : str
        Its folder in the export; empty for the export's own folder.
    file_format : str or None
        ``parquet``, ``jsonl``, or ``json`` for JSON objects with the rows in their list ``data``;
        None for what the user names.
    about : dict
        For ``json``: the members of each object before the rows.
    note : tuple of str and dict, or None
        A further JSON file of the folder: its name, and what it contains apart from ``corpus_id``.
    """

    folder: str = ""
    file_format: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    note: tuple[str, dict[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """A format of exports.

    Attributes
    ----------
    load : tuple of str
        How to load an export: the lines that are printed, with ``{folder}`` and ``{kind}``.
    options : tuple of str
        The options of `mine export` that only some formats take, and this one does.
    shows : str
        What its values are: ``texts`` only, ``ids`` only, or ``either``: texts if there are any.
    has_ids : bool
        Whether the ids of anchors and passages are written too.
    scores : str
        When the teacher's scores are written: ``never``, ``asked`` (with ``--scores``),
        ``always`` (if the run has them) or ``needed`` (a run without them is refused).
    fixed : bool
        Whether each pair has the same number of negatives, 3 by default.
    tables : tuple of Table
        The first has the rows of the export.
    """

    load: tuple[str, ...]
    options: tuple[str, ...]
    shows: Literal["texts", "ids", "either"] = "either"
    has_ids: bool = False
    scores: Literal["never", "asked", "always", "needed"] = "asked"
    fixed: bool = False
    tables: tuple[Table, ...] = (Table(),)


_LOAD = ('load_dataset("{kind}", split="train",', '    data_dir="{folder}")')
_ANY = ("difficulty", "negatives", "file-format", "push-to-hub")
_OWN = ("difficulty", "negatives", "scores", "push-to-hub")

EXPORT_FORMATS = {
    "triplet": Format(_LOAD, (*_ANY, "scores")),
    "n-tuple": Format(_LOAD, (*_ANY, "scores"), fixed=True),
    "labeled-pair": Format(_LOAD, (*_ANY, "scores")),
    "labeled-list": Format(_LOAD, (*_ANY, "scores", "ragged"), fixed=True),
    "pair": Format(_LOAD, (*_ANY, "balance"), scores="never"),
    "msmarco-ids": Format(_LOAD, (*_ANY, "scores"), shows="ids"),
    "flagembedding": Format(
        (
            "python -m FlagEmbedding.finetune.embedder.encoder_only.base ...",
            '    --train_data "{folder}"',
        ),
        _OWN,
        shows="texts",
        scores="always",
        tables=(Table(file_format="jsonl"),),
    ),
    "tevatron": Format(
        (
            "python -m tevatron.retriever.driver.train ...",
            "    --dataset_name json",
            '    --dataset_path "{folder}/*.jsonl"',
        ),
        _OWN,
        shows="texts",
        has_ids=True,
        scores="always",
        tables=(Table(file_format="jsonl"),),
    ),
    "ms-swift": Format(
        (
            "swift sft --task_type embedding --loss_type infonce ...",
            '    --dataset "{folder}"',
        ),
        ("difficulty", "negatives", "push-to-hub"),
        shows="texts",
        scores="never",
        tables=(Table(file_format="jsonl"),),
    ),
    "nemo": Format(
        ("make_retrieval_dataset(data_dir_list=", '    glob.glob("{folder}/*.json"))'),
        ("difficulty", "negatives", "scores"),
        shows="texts",
        has_ids=True,
        scores="always",
        tables=(
            Table(file_format="json", about={"corpus": {"path": "corpus"}}),
            Table("corpus", "parquet", note=("merlin_metadata.json", {"class": "TextQADataset"})),
        ),
    ),
    "pylate-kd": Format(
        (
            'load_dataset("{kind}", split="train",',
            '    data_dir="{folder}/train")',
            "and so queries and documents, for pylate.utils.KDProcessing",
        ),
        (*_ANY, "scores"),
        shows="texts",
        has_ids=True,
        scores="needed",
        fixed=True,
        tables=(Table("train"), Table("queries"), Table("documents")),
    ),
    "ids": Format(_LOAD, ("clean", "file-format", "push-to-hub"), scores="never"),
}

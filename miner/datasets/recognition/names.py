"""The usual names of columns, by role, in lower case, and those that a job leaves unused."""

from __future__ import annotations

from collections.abc import Iterable

from miner.datasets.layouts.pair_columns import NEGATIVE, SCORES

__all__ = ["CONTENT", "GROUPS", "IDS", "LABELS", "SPLITS", "unused_columns"]

LABELS = (
    *("label", "labels", "class", "category", "intent", "target", "y", "topic", "tag", "tags"),
    *("class_id", "label_id", "class_name", "label_name", "cluster", "identity", "species", "sku"),
)
CONTENT = (
    *("text", "image", "embedding", "content", "sentence", "question", "body", "vector", "img"),
    *("embeddings", "vectors", "features", "message", "review", "comment", "utterance", "query"),
    *("description", "abstract", "caption", "document", "passage", "title"),
)
IDS = ("id", "_id", "uid", "uuid", "key", "guid", "item_id", "row_id")
GROUPS = (
    *("group", "document_id", "doc_id", "session", "session_id", "thread", "thread_id"),
    *("patient", "patient_id", "user_id", "author", "speaker", "conversation_id"),
)
SPLITS = ("split", "subset", "fold")
_ROLES = {*LABELS, *GROUPS, *SPLITS, *SCORES, "timestamp", "pos_scores", "neg_scores"}


def unused_columns(names: Iterable[str], used: Iterable[str]) -> list[str]:
    """Return the columns whose names say that they matter, without those in `used`."""
    rest = [name for name in names if name not in {*used}]
    return [name for name in rest if name.lower() in _ROLES or NEGATIVE.fullmatch(name)]

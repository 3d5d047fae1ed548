"""Which columns of a table of pairs hold what, by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miner.datasets.content import is_string
from miner.datasets.layouts.pair_cells import content_type, holds_many
from miner.datasets.layouts.verdicts import is_verdict

__all__ = ["NEGATIVE", "SCORES", "PairColumns", "alike", "find_pairs", "named_pairs"]

_POSITIVES = ("positive", "positives", "pos", "pos_doc", "pos_text", "positive_passages")
_PAIRS = (
    *((anchor, name) for anchor in ("anchor", "query", "question") for name in _POSITIVES),
    *(("query", "answer"), ("question", "answer"), ("query", "document"), ("query", "passage")),
    *(("query", "response"), ("question", "context"), ("question", "passage")),
    *(("question", "document"), ("question", "positive_ctxs"), ("question", "sentence")),
    *(("question1", "question2"), ("sentence1", "sentence2"), ("text1", "text2")),
    *(("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"), ("text_a", "text_b")),
    *(("question_1", "question_2"), ("premise", "hypothesis"), ("messages", "positive_messages")),
)
NEGATIVE = re.compile(
    r"(hard_?)?neg(ative)?s?(_(doc|text|passage|ctx|message)s?)?(_?\d+)?|rejected_responses?", re.I
)
"""The usual names of columns of negatives."""
SCORES = (
    *("score", "similarity_score", "similarity", "relatedness_score", "relevance", "rel", "grade"),
    *("rating", "is_duplicate", "duplicate", "is_match", "is_relevant", "relevant", "is_positive"),
    *("is_paraphrase", "gold_label", "verdict", "judgement", "judgment", "label"),
)
"""The usual names of columns with a score or a verdict, the more telling ones first."""


@dataclass(frozen=True, slots=True)
class PairColumns:
    """The columns of a table of pairs; `score` and `negatives` may be missing."""

    anchor: str
    positive: str
    score: str | None = None
    negatives: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All columns."""
        score = [self.score] if self.score else []
        return list(dict.fromkeys([self.anchor, self.positive, *score, *self.negatives]))

    @property
    def entailment(self) -> bool:
        """Whether the pairs are of textual entailment, whose labels have no usual numbers."""
        return self.anchor.lower() == "premise"

    @property
    def origin(self) -> str:
        """A text that identifies the pairs made of a table."""
        more = f" score {self.score} negatives {self.negatives}"
        plain = f"{(self.anchor, self.positive)}"
        return plain + more if self.score or self.negatives else plain


def find_pairs(
    types: Mapping[str, Any], score: str | None = None, negatives: Sequence[str] | None = None
) -> PairColumns | None:
    """Return the columns of a table of pairs by their names; None if it is no such table.

    Parameters
    ----------
    types : mapping
        The types of the table's columns.
    score, negatives : str and sequence of str, optional
        As in `named_pairs`.
    """
    lower = {name.lower(): name for name in reversed(list(types))}
    for first, second in _PAIRS:
        if first in lower and second in lower:
            anchor, positive = lower[first], lower[second]
            if holds_many(types[anchor]):
                continue
            contents = (content_type(types[name]) for name in (anchor, positive))
            if first == "anchor" or all(map(is_string, contents)):
                return named_pairs(types, anchor, positive, score, negatives)
    return None


def named_pairs(
    types: Mapping[str, Any],
    anchor: str,
    positive: str,
    score: str | None = None,
    negatives: Sequence[str] | None = None,
) -> PairColumns:
    """Return the columns of a table of pairs whose anchor and positive are known.

    Parameters
    ----------
    types : mapping
    anchor, positive : str
    score : str, optional
        '' for none; by default a column with a usual name, unless the table has negatives: a score
        of three texts is a margin, not a verdict.
    negatives : sequence of str, optional
        By default the columns with usual names and the type of the positives.
    """
    free = [name for name in types if name not in (anchor, positive, score)]
    kind = content_type(types[positive])
    if negatives is None:
        usual = [name for name in free if NEGATIVE.fullmatch(name)]
        negatives = [name for name in usual if alike(content_type(types[name]), kind)]
    if score is None and not negatives:
        lower = {name.lower(): name for name in reversed(free) if is_verdict(types[name])}
        score = next((lower[name] for name in SCORES if name in lower), None)
    return PairColumns(anchor, positive, score or None, tuple(negatives))


def alike(one: Any, other: Any) -> bool:
    """Whether contents of two types fit in one column: the types are equal, or both text."""
    return bool(one == other or (is_string(one) and is_string(other)))

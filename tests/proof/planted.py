"""False negatives that are planted: texts of one meaning under two ids, of real sources.

A query has two documents of its meaning, of which only one is linked. The other is a false negative
by construction, among documents of near meanings. The sources are ICD-10-CM (public domain; a code
is a meaning) from `simple_icd_10_cm`, and the nouns of WordNet (permissive licence; a synset is a
meaning) from Debian's `wordnet-base`.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.proof.data import package
from tests.proof.retrieval import Retrieval, handbook

__all__ = [
    "Concept",
    "Planted",
    "folds",
    "handbook_hidden",
    "icd10_concepts",
    "plant",
    "wordnet_concepts",
]


@dataclass(frozen=True)
class Concept:
    """The texts of one meaning, and the name of the group of near meanings to which it belongs.

    The first text is the query, the second its linked document, the third the planted one.
    """

    group: str
    texts: tuple[str, ...]

    @property
    def asked(self) -> bool:
        """Whether there is a text for each of the three."""
        return len(self.texts) > 2


@dataclass(frozen=True)
class Planted(Retrieval):
    """A set with further documents of each query's meaning, by row, that are not linked to it."""

    planted: list[list[int]]


def icd10_concepts() -> list[Concept]:
    """Return the codes that have no further division: description and inclusion terms in any order.

    Codes of the rest ("other", "unspecified", "elsewhere") have no single meaning and are left out,
    and so is a text that stands at two codes. The group is the category.
    """
    icd, rng = package("simple_icd_10_cm"), np.random.default_rng(10)
    found = {}
    for code in dict.fromkeys(icd.get_all_codes(True)):
        said = icd.get_description(code)
        rest = {"other", "unspecified", "elsewhere"} & set(said.lower().replace(",", "").split())
        if icd.is_leaf(code) and not rest:
            found[code] = dict.fromkeys([said, *icd.get_inclusion_term(code)])
    often = collections.Counter(text for texts in found.values() for text in texts)
    once = {code: [text for text in texts if often[text] == 1] for code, texts in found.items()}
    return [
        Concept(code[:3], tuple(rng.permutation(texts).tolist()))
        for code, texts in once.items()
        if texts
    ]


def wordnet_concepts(folder: Path) -> list[Concept]:
    """Return synsets of nouns: the definition, then the words that have no other meaning.

    The group is the synset above. Names of single persons and places are left out.
    """
    rng, synsets = np.random.default_rng(10), []
    for line in (folder / "data.noun").read_text().splitlines():
        if not line.startswith("  "):  # the licence
            facts, gloss = line.split(" | ")
            fields = facts.split()
            words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            above = fields[fields.index("@") + 1] if "@" in fields else ""
            synsets.append((above, words, gloss.split('; "')[0].strip()))
    often = collections.Counter(word.lower() for _, words, _ in synsets for word in words)
    found = []
    for above, words, gloss in synsets:
        once = [word for word in words if often[word.lower()] == 1]
        if above and once:
            found.append(Concept(above, (gloss, *rng.permutation(once).tolist())))
    return found


def folds(
    concepts: Sequence[Concept], count: int, asked: int
) -> tuple[list[Concept], list[list[Concept]]]:
    """Return the concepts to train a teacher on, and folds to test with; no group is in two.

    Half of the groups that have a query are for the folds, each of which takes groups until it has
    the queries that are asked for.
    """
    by_group: dict[str, list[Concept]] = {}
    for concept in concepts:
        by_group.setdefault(concept.group, []).append(concept)
    having = [name for name, held in by_group.items() if any(one.asked for one in held)]
    rng = np.random.default_rng(26)
    tested = rng.permutation(having)[: len(having) // 2].tolist()
    taught = rng.permutation([name for name in by_group if name not in set(tested)]).tolist()
    rest, found = iter(tested), []
    for _ in range(count):
        fold: list[Concept] = []
        while sum(one.asked for one in fold) < asked:
            fold += by_group[next(rest)]
        found.append(fold)
    return [one for name in taught for one in by_group[name]], found


def plant(concepts: Sequence[Concept], *, all_linked: bool = False) -> Planted:
    """Return the queries and documents of concepts; a concept without query has one document.

    With `all_linked` every document of a query is linked, and none is planted.
    """
    queries, documents = [], []
    links, hidden = [], []
    for concept in concepts:
        start = len(documents)
        if concept.asked or (all_linked and len(concept.texts) > 1):
            queries.append(concept.texts[0])
            documents += concept.texts[1:] if all_linked else concept.texts[1:3]
            links.append([*range(start, len(documents))][: None if all_linked else 1])
            hidden.append([] if all_linked else [start + 1])
        else:
            documents.append(concept.texts[-1])
    return Planted(queries, documents, links, hidden)


def handbook_hidden(seed: int) -> Planted:
    """Return the queries of the handbook that have several documents, with one link each hidden."""
    whole, rng = handbook(), np.random.default_rng([26, seed])
    mixed = [
        (query, rng.permutation(found).tolist())
        for query, found in zip(whole.queries, whole.linked, strict=True)
    ]
    several = [(query, found) for query, found in mixed if len(found) > 1]
    return Planted(
        [query for query, _ in several],
        whole.documents,
        [found[1:] for _, found in several],
        [found[:1] for _, found in several],
    )

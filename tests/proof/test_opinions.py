"""Planted false negatives and retrieval sets; the published tables are of the stored figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from tests.conftest import ROOT
from tests.proof.candidates import candidates_table
from tests.proof.planted import Concept, folds, handbook_hidden, plant
from tests.proof.retrieval import Retrieval, handbook, judged
from tests.proof.teacher import OWN, RULES, Scored, measured, teacher_table

HERE = Path(__file__).parent
DOCS = ROOT / "miner" / "docs"


def _figures(name: str) -> dict[str, dict[str, dict[str, dict[str, list[float]]]]]:
    held = json.loads((HERE / f"{name}.json").read_text())
    return {key: value for key, value in held.items() if key != "facts"}


def test_the_pages_have_the_tables_of_these_figures() -> None:
    assert teacher_table(_figures("teacher")) in (DOCS / "false-negatives.md").read_text()
    assert candidates_table(_figures("candidates")) in (DOCS / "evaluation.md").read_text()


def test_folds_share_no_group_with_each_other_or_the_teacher() -> None:
    made = [
        Concept(f"g{group}", tuple(f"{group} {one} {text}" for text in range(2 + one % 3)))
        for group in range(80)
        for one in range(group % 7)
    ]
    taught, tested = folds(made, 4, 6)
    groups = [{one.group for one in part} for part in (taught, *tested)]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert all(sum(one.asked for one in fold) >= 6 for fold in tested)
    assert folds(made, 4, 6) == (taught, tested)


def test_a_query_has_one_linked_and_one_planted_document() -> None:
    concepts = [Concept("g", ("a", "b", "c", "d")), Concept("g", ("e", "f"))]
    made = plant(concepts)
    assert (made.queries, made.documents) == (["a"], ["b", "c", "f"])
    assert (made.linked, made.planted) == ([[0]], [[1]])
    whole = plant(concepts, all_linked=True)
    assert (whole.queries, whole.linked) == (["a", "e"], [[0, 1, 2], [3]])


def test_a_hidden_link_of_the_handbook_was_judged_relevant() -> None:
    made, whole = handbook_hidden(1), handbook()
    links = dict(zip(whole.queries, whole.linked, strict=True))
    for query, linked, hidden in zip(made.queries, made.linked, made.planted, strict=True):
        assert len(hidden) == 1 and linked
        assert {*linked, *hidden} == set(links[query])


def test_queries_that_share_a_document_are_one_component() -> None:
    made = Retrieval(["a", "b", "c", "d"], [*"vwxyz"], [[0], [1, 2], [2, 3], [4]])
    parts = made.components()
    assert parts[1] == parts[2]
    assert len({*parts.tolist()}) == 3


def test_ranks_by_hand() -> None:
    """The linked documents stand on the ranks 1 and 3, and 2: (1 + 2/3) / 2, and 1/2."""
    documents = np.diag([0.9, 0.8, 0.7, 0.6])
    found = judged(np.ones((2, 4)), documents, [[2, 0], [1]])
    assert found.recall_at_1 == 0.5
    assert found.map_at_r == pytest.approx((5 / 6 + 1 / 2) / 2)


def test_rules_by_hand() -> None:
    """By max_score the first of two is planted, by a margin both of the first two."""
    wrong = np.array([True, True, False, False])
    positive, negative = np.array([0.2, 0.1, 0.9, 0.8]), np.array([0.5, 0.2, 0.4, 0.1])
    fold = Scored(wrong, {OWN: (positive, negative)})
    found = measured([fold, fold])
    assert [found[OWN][rule] for rule in RULES] == [[1.0] * 2, [1.0] * 2, [0.5] * 2]
    assert found["planted"] == [2, 2] and found["triplets"] == [4, 4]
    assert found[OWN]["5 % recall"] == found[OWN]["5 % precision"] == [1.0, 1.0]

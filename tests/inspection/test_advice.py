"""Warnings begin where they say that they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from miner.inspection.advice import advise


def manifest(**changes: Any) -> dict[str, Any]:
    """The manifest of a run in which nothing stands out, with changes by dotted key."""
    facts: dict[str, Any] = {
        "job": {"mining": {"margin": 0.2}, "select": {"max_triplets": 10, "strategy": "all"}},
        "dataset": {
            "kind": "labelled",
            "items": 1000,
            "classes": 900,
            "skipped": {"unlabelled": 0},
            "hidden": {},
        },
        "embedding": {"zero_vectors": 0},
        "index": {"exact": True, "nearest": {"anchors": 1000, "positive": 0.95}},
        "census": {
            "valid": 1000,
            "easy": 800,
            "semi_hard": 150,
            "hard": 50,
            "label_noise": {"rows": 0, "of": 1000},
            "confusions": {"of": 90},
        },
        "written": {
            "hard": {"rows": 50, "truncated": False},
            "semi_hard": {"rows": 150, "truncated": False},
        },
    }
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        inner = facts
        for key in path:
            inner = inner[key]
        inner[last] = value
    return facts


def keys(
    facts: dict[str, Any],
    positives: list[int] | None = None,
    hubs: list[dict[str, Any]] | None = None,
    confusions: list[dict[str, Any]] | None = None,
) -> set[str]:
    counts = np.array(positives or [9] * 1000)
    return {one.key for one in advise(facts, counts, hubs or [], confusions or [])}


def test_nothing_stands_out_of_a_plain_run() -> None:
    assert keys(manifest()) == set()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"census__hard": 299}, set()),
        ({"census__hard": 300}, {"some_hard"}),
        ({"census__hard": 599}, {"some_hard"}),
        ({"census__hard": 600}, {"many_hard"}),
        ({"index__nearest__positive": 0.49}, {"few_nearest"}),
        ({"index__nearest__positive": None}, set()),
        ({"census__label_noise": {"rows": 9, "of": 1000}}, set()),
        ({"census__label_noise": {"rows": 10, "of": 1000}}, {"label_doubts"}),
        ({"census__label_noise": {"rows": 23, "of": 1000}}, {"label_noise"}),
        ({"census__label_noise": {"rows": 22, "of": 1000}}, {"label_doubts"}),
        (
            {
                "census__label_noise": {"rows": 100, "of": 1000},
                "index__nearest__positive": 0.5,
            },
            {"label_noise"},
        ),
        ({"embedding__zero_vectors": 1}, {"zero_vectors"}),
        ({"dataset__skipped": {"unlabelled": 3}}, {"skipped"}),
        ({"written__hard": {"rows": 5, "truncated": True, "sampled": True}}, {"sampled"}),
        ({"written__hard": {"rows": 5, "truncated": True, "sampled": False}}, set()),
        ({"written__hard": {"rows": 10, "truncated": True}}, {"sampled"}),  # of an older run
        ({"written__hard": {"rows": 5, "truncated": True}}, set()),
        ({"census__valid": 0}, {"empty"}),
        ({"census__hard": 0, "census__semi_hard": 0}, {"few_triplets"}),
        ({"index__recall": {"hard": {"recall": 0.89}}}, {"recall_hard"}),
        ({"index__recall": {"hard": {"recall": 0.9}}}, set()),
    ],
)
def test_thresholds(changes: dict[str, Any], found: set[str]) -> None:
    assert keys(manifest(**changes)) == found


def test_wrong_labels_advise_a_strategy_that_bears_them() -> None:
    facts = manifest(census__label_noise={"rows": 23, "of": 1000})
    (found,) = advise(facts, np.array([9] * 1000), [], [])
    assert "semi-hard" in found.remedy and "batch-hard" in found.remedy


def test_anchors_without_positives() -> None:
    assert keys(manifest(), [0] * 100 + [9] * 900) == {"no_positives"}
    assert keys(manifest(), [0] * 99 + [9] * 901) == set()
    assert keys(manifest(), [1] * 600 + [9] * 400) == {"few_positives"}


def test_hubs_are_more_than_an_even_share() -> None:
    def rows(hard: float, anchors: int) -> list[dict[str, Any]]:
        return [{"hard": hard, "anchors": anchors}] * 10

    assert keys(manifest(), hubs=rows(0.5, 10)) == {"hubs"}  # 10 % of what is hard, 10 times even
    assert keys(manifest(), hubs=rows(0.4, 10)) == set()
    assert keys(manifest(), hubs=rows(0.4, 500)) == {"hubs"}
    assert keys(manifest(dataset__items=100), hubs=rows(0.4, 500)) == set()


def test_two_labels_that_hold_most_of_what_is_hard() -> None:
    pairs = [{"hard": 13, "anchor_label": "a", "negative_label": "b"}, {"hard": 1}]
    assert keys(manifest(), confusions=pairs) == {"confused"}
    assert keys(manifest(), confusions=[{**pairs[0], "hard": 12}, {"hard": 1}]) == set()


def test_every_finding_says_what_to_do() -> None:
    facts = manifest(census__hard=700, embedding__zero_vectors=2)
    found = advise(facts, np.array([0, 0, 1]), [], [])
    assert {one.level for one in found} == {"warning"}
    for one in found:
        assert one.title and one.text and one.remedy.endswith(".")


def test_few_classes_are_trained_inside_batches_first() -> None:
    """Up to the number of classes at which nothing was gained by mining."""
    assert keys(manifest(dataset__classes=200)) == {"few_classes"}
    assert keys(manifest(dataset__classes=201)) == set()


def test_a_margin_at_which_nothing_is_easy() -> None:
    facts = manifest(census__easy=0, census__semi_hard=950, job__mining={"margin": 2.0})
    assert keys(facts) == {"no_easy"}

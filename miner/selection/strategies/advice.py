"""The advice on which strategy to train on, written in one place.

The README, the pages, the starter job, the help of the commands and the report quote these
sentences. Each sentence has the figure that supports it: the gain of MAP@R over training on random
triplets with equal steps, over five paired seeds, with 95 % intervals. A head was trained on two
frozen encoders, on three sets that this project had not used before: two sets of intents with
held-out classes, and one retrieval set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ADVICE", "LABELLED", "LINKED", "Advised"]

LABELLED: dict[str, Any] = {"strategy": "semi-hard"}
"""Advised keys of ``[select]`` for labelled items."""

LINKED: dict[str, Any] = {"strategy": "hardest", "relative_margin": 0.05}
"""Advised keys of ``[select]`` for queries with a corpus, and for pairs."""


@dataclass(frozen=True, slots=True)
class Advised:
    """A sentence of advice.

    Attributes
    ----------
    text : str
    figure : str
        The measured figures that support the sentence.
    """

    text: str
    figure: str

    @property
    def plain(self) -> str:
        """The sentence without backticks."""
        return self.text.replace("`", "")


ADVICE = {
    "first": Advised(
        "Train on `semi-hard` first: it gains with clean labels, and with wrong ones.",
        "+0.009 ± 0.003; +0.01 with one label in five wrong",
    ),
    "guarded": Advised(
        "On texts, guard `hardest` by `relative_margin = 0.05`, which leaves semi-hard negatives "
        "only: then it gains as much, and it is the only guard that helped retrieval.",
        "+0.010 ± 0.002; +0.01 with one label in five wrong; on pictures of letters -0.099 ± 0.044",
    ),
    "plain": Advised(
        "Do not train on plain `hardest` or on `batch-hard`, not even with clean labels and a "
        "trained encoder: what is nearest is too often mislabelled, or nearly the same thing.",
        "-0.033 ± 0.006 and -0.05; -0.14 with one label in five wrong",
    ),
    "in-batch": Advised(
        "On a small set with clean labels, train inside batches before you mine: it does as well.",
        "+0.009 with the ranking loss, +0.012 with semi-hard triplets inside random P x K batches; "
        "0.035 less than mined triplets with one label in five wrong",
    ),
    "looser": Advised(
        "A looser pick, the 30th semi-hard negative of a pair (`options.nth = 30`), may gain more "
        "than the nearest on close intents, and gains less elsewhere.",
        "+0.0016 ± 0.0011 there; -0.013 ± 0.007 on the sets of this project",
    ),
}
"""The sentences of advice, by topic."""

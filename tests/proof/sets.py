"""The sets, by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.proof.data import ProofSet, noisy, synthetic
from tests.proof.images import letters, mnist
from tests.proof.texts import icd10_head, icd10_large, icd10_tokens, intents_head, intents_minilm

__all__ = ["SETS"]

SETS: dict[str, Callable[[], ProofSet]] = {
    "icd10-tokens": icd10_tokens,
    "icd10-head": icd10_head,
    "icd10-tokens-noisy": lambda: noisy(icd10_tokens()),
    "icd10-head-noisy": lambda: noisy(icd10_head()),
    "icd10-large": icd10_large,
    "intents-head": intents_head,
    "intents-minilm": intents_minilm,
    "letters": letters,
    "letters-noisy": lambda: noisy(letters()),
    "mnist": mnist,
    "synthetic": synthetic,
}

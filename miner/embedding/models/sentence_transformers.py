"""Models of the library sentence-transformers: a name on the hub, or a folder.

This includes cross-encoders, which score a pair of texts together.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer

from miner.embedding.models.base import Batch, Model, Role
from miner.embedding.models.torch_weights import choose_device, state_digest
from miner.errors import UsageError
from miner.storage.urls import expanded

__all__ = ["CrossEncoderScores", "SentenceTransformers"]

_VERSION = 1
_HUB, _PATIENCE = "https://huggingface.co", 10.0
"""Address of the hub, and the seconds in which it must answer."""


class SentenceTransformers(Model):
    """Embeds texts by a ``SentenceTransformer``, with the model's query and document prompts.

    Parameters
    ----------
    path : str
        A folder, or a name on the Hugging Face hub.
    device : str, optional
        Such as ``cuda:1``; default: a GPU if there is one.
    revision : str, optional
        Revision of a model on the hub.
    max_length : int, optional
        Tokens after which a text is cut; default: the model's limit.
    truncate_dim : int, optional
        Dimensions to keep, for models that were trained for truncation.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    argument: ClassVar[str] = "path"
    cache_id: ClassVar[str] = "miner.models.sentence_transformers:SentenceTransformers"

    def __init__(
        self,
        path: str,
        device: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        name = _folder_or_name(path, "model 'sentence-transformers'")
        self._model = SentenceTransformer(
            name,
            device=choose_device(device),
            revision=revision,
            truncate_dim=truncate_dim,
            trust_remote_code=False,
            local_files_only=_offline(name),
        )
        self._model.eval()
        if max_length is not None:
            self._model.max_seq_length = max_length
        self._truncate = truncate_dim
        prompts = self._prompts
        self.by_role = any(prompts.get(name) for name in ("query", "document", "passage"))

    @property
    def _prompts(self) -> dict[str, str]:
        return {name: text for name, text in self._model.prompts.items() if text}

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed texts, shape (b, dim)."""
        return self.embed_as(batch, "item", "")

    def embed_as(self, batch: Batch, role: Role, prompt: str) -> NDArray[np.floating]:
        """Embed texts in a role; a prompt of the job replaces the model's prompt."""
        encode = {
            "item": self._model.encode,
            "query": self._model.encode_query,
            "document": self._model.encode_document,
        }[role]
        vectors = encode(
            list(batch),
            prompt=prompt or None,
            batch_size=len(batch),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def weights(self) -> str:
        """Return the checksum of all tensors, the structure and the tokenizer."""
        return state_digest(self._model.state_dict(), str(self._model), _words(self._model))

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the vectors."""
        return {
            "version": _VERSION,
            "max_length": self._model.max_seq_length,
            "truncate_dim": self._truncate,
            "prompts": self._prompts,
        }


class CrossEncoderScores:
    """Scores pairs of texts with a ``CrossEncoder``.

    Parameters
    ----------
    path : str
        A folder, or a name on the Hugging Face hub.
    """

    def __init__(self, path: str) -> None:
        name = _folder_or_name(path, "rescorer 'cross-encoder'")
        self._model = CrossEncoder(
            name,
            device=choose_device(None),
            trust_remote_code=False,
            local_files_only=_offline(name),
        )

    def __call__(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        """Return one score for each pair, after the model's own activation function."""
        scores = self._model.predict(pairs, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(scores, dtype=np.float64)

    def weights(self) -> str:
        """Return the checksum of all tensors, the structure and the tokenizer."""
        return state_digest(self._model.model.state_dict(), str(self._model), _words(self._model))


def _folder_or_name(path: str, what: str) -> str:
    """Return the expanded path of a folder, or the unchanged name of a model on the hub."""
    local = expanded(path)
    if local.is_dir():
        return str(local)
    if path.startswith((".", "/", "~")):
        raise UsageError(f"{what}: no such folder: {path}; check it")
    return path


def _offline(name: str) -> bool:
    """Return whether the hub does not answer, so that only what was downloaded before is usable.

    The library would try each file for a minute or more. A proxy, which answers in the hub's place,
    is left to it.
    """
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or _HUB)
    if Path(name).is_dir() or not endpoint.hostname or getproxies().get(endpoint.scheme):
        return False
    port = endpoint.port or {"http": 80}.get(endpoint.scheme, 443)
    try:
        with socket.create_connection((endpoint.hostname, port), timeout=_PATIENCE):
            return False
    except OSError:
        return True


def _words(model: Any) -> str:
    """Return the tokenizer of a model as text; '' if it has no such form."""
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    return tokenizer.to_str() if tokenizer is not None else ""

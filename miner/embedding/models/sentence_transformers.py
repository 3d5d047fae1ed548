"""Models of the library sentence-transformers: a name on the hub, or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from miner.embedding.models.base import Batch, Model, Role
from miner.embedding.models.torch_weights import choose_device, state_digest
from miner.errors import UsageError
from miner.storage.urls import expanded

__all__ = ["SentenceTransformers"]

_VERSION = 1


class SentenceTransformers(Model):
    """A ``SentenceTransformer``; its own query and document prompts are used.

    Parameters
    ----------
    path : str
        A folder, or a name on the Hugging Face hub.
    device : str, optional
        Such as ``cuda:1``; default: a GPU if there is one.
    revision : str, optional
        Of a model on the hub.
    max_length : int, optional
        Tokens after which a text is cut; default: the model's own.
    truncate_dim : int, optional
        Dimensions to keep, for models that were trained for it.
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
        if path.startswith((".", "/", "~")) and not expanded(path).is_dir():
            raise UsageError(f"model 'sentence-transformers': no such folder: {path}; check it")
        local = expanded(path)
        self._model = SentenceTransformer(
            str(local) if local.is_dir() else path,
            device=choose_device(device),
            revision=revision,
            truncate_dim=truncate_dim,
            trust_remote_code=False,
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
        """Embed texts in their role; the job's prompt goes before the model's own."""
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
        tokenizer = getattr(self._model.tokenizer, "backend_tokenizer", None)
        words = tokenizer.to_str() if tokenizer is not None else ""
        return state_digest(self._model.state_dict(), str(self._model), words)

    def facts(self) -> Mapping[str, Any]:
        """Return what beside the weights decides the vectors."""
        return {
            "version": _VERSION,
            "max_length": self._model.max_seq_length,
            "truncate_dim": self._truncate,
            "prompts": self._prompts,
        }

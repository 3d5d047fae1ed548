"""Models of the library sentence-transformers: a name on the hub, or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.base import Batch, Model, Role
from miner.embedding.models.hub.loading import (
    checked_arguments,
    code_digest,
    load_folder_or_name,
)
from miner.embedding.models.hub.processes import (
    DevicePool,
    SentenceTransformer,
    checked_devices,
)
from miner.embedding.models.torch_weights import choose_device, state_digest
from miner.errors import UsageError

__all__ = ["SentenceTransformers"]

_VERSION = 1
_TRUST = (
    "if you trust it, set model.options.trust_remote_code = true (false: load it by the class that "
    "transformers has for it, if there is one)"
)


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
    model_kwargs : mapping, optional
        Arguments with which transformers loads the model, such as ``dtype`` ("bfloat16") and
        ``attn_implementation``.
    trust_remote_code : bool, optional
        Whether to run code that comes with the model. A model with such code is refused by default;
        with False, the class that transformers has for it is used, if there is one.
    devices : sequence of str, optional
        Such as ``["cuda:0", "cuda:1"]``, or ``["cpu", "cpu"]``: one process for each.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    argument: ClassVar[str] = "path"
    cache_id: ClassVar[str] = "miner.models.sentence_transformers:SentenceTransformers"
    placement: ClassVar[frozenset[str]] = frozenset({"devices"})

    def __init__(
        self,
        path: str,
        device: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        truncate_dim: int | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        trust_remote_code: bool | None = None,
        devices: list[str] | None = None,
    ) -> None:
        _check_counts(max_length=max_length, truncate_dim=truncate_dim)
        if trust_remote_code is not None and type(trust_remote_code) is not bool:
            raise UsageError(
                f"model.options.trust_remote_code = {trust_remote_code!r} must be true or false"
            )
        self._arguments = checked_arguments(model_kwargs, trust_remote_code)
        several = checked_devices(devices, device)
        self._model = load_folder_or_name(
            SentenceTransformer,
            path,
            "model 'sentence-transformers'",
            _TRUST,
            trust=trust_remote_code,
            device="cpu" if several else choose_device(device),
            revision=revision,
            truncate_dim=truncate_dim,
            model_kwargs=self._arguments,
        )
        self._model.eval()
        if max_length is not None:
            self._model.max_seq_length = max_length
        dim = self._model.get_embedding_dimension()
        if dim is not None and truncate_dim is not None and dim < truncate_dim:
            raise UsageError(
                f"model.options.truncate_dim = {truncate_dim}: {path} has {dim} dimensions"
            )
        self._truncate = truncate_dim
        self._code = code_digest(self._model) if trust_remote_code else ""
        self._pool = DevicePool(self._model, several)
        self.parallel = max(1, len(several))
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
        return self.embed_parallel(batch, role, prompt, len(batch))

    def embed_parallel(
        self, rows: Batch, role: Role, prompt: str, batch_size: int
    ) -> NDArray[np.floating]:
        """Embed several batches, each by a process of its own if there are `devices`."""
        encode = {
            "item": self._model.encode,
            "query": self._model.encode_query,
            "document": self._model.encode_document,
        }[role]
        with self._pool.running() as pool:
            vectors = encode(
                list(rows),
                prompt=prompt or None,
                batch_size=batch_size,
                chunk_size=batch_size,
                pool=pool,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=False,
            )
        return np.asarray(vectors, dtype=np.float32)

    def close(self) -> None:
        """End the processes of `devices`."""
        self._pool.close()

    def weights(self) -> str:
        """Return the checksum of all tensors, the structure and the tokenizer.

        It includes what else comes with the model and decides the vectors: its code, and dimensions
        that it cuts without being asked.
        """
        more = [_words(self._model), self._code]
        if self._truncate is None and self._model.truncate_dim is not None:
            more.append(f"truncate_dim {self._model.truncate_dim}")
        return state_digest(self._model.state_dict(), str(self._model), *more)

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the vectors."""
        facts = {
            "version": _VERSION,
            "max_length": self._model.max_seq_length,
            "truncate_dim": self._truncate,
            "prompts": self._prompts,
        }
        if self._arguments:
            facts["model_kwargs"] = self._arguments
        return facts


def _check_counts(**options: Any) -> None:
    for name, value in options.items():
        if value is not None and (type(value) is not int or value < 1):
            raise UsageError(
                f"model.options.{name} = {value!r} must be a whole number of 1 or more"
            )


def _words(model: Any) -> str:
    """Return the tokenizer of a model as text; '' if it has no such form."""
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    return tokenizer.to_str() if tokenizer is not None else ""

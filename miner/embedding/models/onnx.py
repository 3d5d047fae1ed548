"""Text encoders exported to ONNX, run by ONNX Runtime, with a ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from miner.embedding.models.base import Batch, Model, weight_files
from miner.errors import UsageError
from miner.storage.urls import expanded

__all__ = ["Onnx"]

_VERSION = 1
_POOLINGS = ("mean", "cls", "none")
_FEEDS = ("input_ids", "attention_mask", "token_type_ids")


class Onnx(Model):
    """An encoder with the inputs of BERT: token ids, mask, and optionally token types.

    Parameters
    ----------
    path : str
        The ``.onnx`` file, or a folder with one (``model.onnx`` if there are several).
    tokenizer : str, optional
        Path of ``tokenizer.json``; default: in the model's folder, or one folder up.
    pooling : str
        ``mean`` over the tokens of the mask (Reimers and Gurevych 2019, section 3), ``cls`` for
        the first token, ``none`` for a model that returns a vector a text.
    max_length : int
        Tokens after which a text is cut.
    output : str, optional
        Name of the output; default: the first.
    threads : int
        Threads of ONNX Runtime; 0 for one per core.
    providers : list of str, optional
        Execution providers of ONNX Runtime; default: the CPU.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    argument: ClassVar[str] = "path"
    cache_id: ClassVar[str] = "miner.models.onnx:Onnx"

    def __init__(
        self,
        path: str,
        tokenizer: str | None = None,
        pooling: str = "mean",
        max_length: int = 512,
        output: str | None = None,
        threads: int = 0,
        providers: Sequence[str] | None = None,
    ) -> None:
        if pooling not in _POOLINGS:
            raise UsageError(f"model.options.pooling = {pooling!r} must be mean, cls or none")
        self._file = _model_file(expanded(path))
        self._tokens = _tokenizer_file(self._file, tokenizer)
        self._tokenizer = Tokenizer.from_file(str(self._tokens))
        self._tokenizer.enable_truncation(max_length)
        self._tokenizer.no_padding()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(self._file), settings, providers=list(providers or ["CPUExecutionProvider"])
        )
        self._feeds = [one.name for one in self._session.get_inputs()]
        strange = sorted(set(self._feeds) - set(_FEEDS))
        if strange:
            raise UsageError(
                f"model 'onnx': {self._file} wants the inputs {', '.join(strange)}; an encoder "
                f"with {', '.join(_FEEDS)} is needed"
            )
        known = {one.name: one.type for one in self._session.get_outputs()}
        self._output = output or next(iter(known))
        if self._output not in known:
            raise UsageError(
                f"model.options.output = {output!r}: {self._file} has {', '.join(known)}"
            )
        self._pooling, self._length = pooling, max_length
        if known[self._output] == "tensor(bfloat16)":  # which ONNX Runtime does not give to NumPy
            raise UsageError(
                f"model 'onnx': output {self._output!r} of {self._file} is bfloat16; export it "
                "with an output in float32 or float16"
            )

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed texts, shape (b, dim). Texts are padded to the longest of the batch."""
        encoded = self._tokenizer.encode_batch(list(batch))
        longest = max(1, max(len(text.ids) for text in encoded))
        feeds = {name: np.zeros((len(encoded), longest), dtype=np.int64) for name in _FEEDS}
        for row, text in enumerate(encoded):
            feeds["input_ids"][row, : len(text.ids)] = text.ids
            feeds["attention_mask"][row, : len(text.ids)] = 1
            feeds["token_type_ids"][row, : len(text.ids)] = text.type_ids
        given = {name: feeds[name] for name in self._feeds}
        (output,) = self._session.run([self._output], given)
        return self._pooled(np.asarray(output, dtype=np.float32), feeds["attention_mask"])

    def _pooled(self, output: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.floating]:
        wanted = 2 if self._pooling == "none" else 3
        if output.ndim != wanted:
            hint = "none" if output.ndim == 2 else "mean"
            raise UsageError(
                f"model 'onnx': output {self._output!r} has {output.ndim} axes; set "
                f"model.options.pooling = {hint!r}, or name another model.options.output"
            )
        if self._pooling == "none":
            return output
        if self._pooling == "cls":
            return np.ascontiguousarray(output[:, 0])
        weights = mask.astype(np.float32)
        total = np.einsum("btd,bt->bd", output, weights)
        return np.asarray(total / np.maximum(weights.sum(axis=1), 1)[:, None], dtype=np.float32)

    def weights(self) -> str:
        """Return the checksum of the model, of its external data, and of the tokenizer."""
        external = [*self._file.parent.glob("*.onnx_data"), *self._file.parent.glob("*.data")]
        return weight_files(self._file, *sorted(external), self._tokens)

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the vectors."""
        return {
            "version": _VERSION,
            "pooling": self._pooling,
            "max_length": self._length,
            "output": self._output,
        }


def _model_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted([*path.glob("*.onnx"), *path.glob("onnx/*.onnx")]) if path.is_dir() else []
    named = [file for file in found if file.name == "model.onnx"]
    if len(named or found) == 1:
        return (named or found)[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise UsageError(f"model 'onnx': {path} holds {names}; name one of them")
    raise UsageError(f"model 'onnx': there is no .onnx file at {path}; check the path")


def _tokenizer_file(model: Path, named: str | None) -> Path:
    places = [model.parent, model.parent.parent]
    files = [expanded(named)] if named else [one / "tokenizer.json" for one in places]
    for file in files:
        if file.is_file():
            return file
    raise UsageError(
        f"model 'onnx': no tokenizer at {files[0]}; set model.options.tokenizer to its "
        "tokenizer.json"
    )

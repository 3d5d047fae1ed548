"""Load a model of the hub or a folder; code of its own is not run unless the job allows it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from miner.errors import UsageError
from miner.storage.files import sha256_file
from miner.storage.json_files import digest
from miner.storage.urls import expanded

__all__ = ["checked_arguments", "code_digest", "load_folder_or_name"]

_HUB, _PATIENCE = "https://huggingface.co", 10.0
"""Address of the hub, and the seconds in which it must answer."""
_ELSEWHERE = {
    "trust_remote_code": "set model.options.trust_remote_code",
    "allow_all_kernels": "set model.options.trust_remote_code",
    "revision": "set model.options.revision",
    "device_map": "set model.options.device or devices",
    "token": "it would be written to the manifest; set the variable HF_TOKEN",
    "weights_only": "weights are read as tensors only",
}
"""Keys that `model_kwargs` may not have, and what to do instead."""
_LIBRARIES = {"torch", "transformers", "tokenizers", "sentence_transformers", "miner"}
_NO_MATTER = {"_name_or_path", "auto_map", "transformers_version"}
"""Keys of a configuration that do not change the vectors."""


def checked_arguments(given: Any, trust: bool | None) -> dict[str, Any]:
    """Return the arguments with which transformers is to load a model.

    Raises
    ------
    UsageError
        If they are no table, or could run code or replace another option.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UsageError(
            f"model.options.model_kwargs = {given!r} must be a table, such as "
            '{ dtype = "bfloat16" }'
        )
    for key, remedy in _ELSEWHERE.items():
        if key in given:
            raise UsageError(f"model.options.model_kwargs.{key} cannot be set; {remedy}")
    for key in {"dtype", "torch_dtype"} & given.keys():
        kind = getattr(torch, str(given[key]), None)
        if given[key] != "auto" and not (isinstance(kind, torch.dtype) and kind.is_floating_point):
            raise UsageError(
                f"model.options.model_kwargs.{key} = {given[key]!r} must be a type of floats of "
                'PyTorch, such as "bfloat16"'
            )
    attention = given.get("attn_implementation")
    if "/" in str(attention) and not trust:
        raise UsageError(
            f"model.options.model_kwargs.attn_implementation = {attention!r} is code from the hub, "
            "which is not run; if you trust it, set model.options.trust_remote_code = true"
        )
    return dict(given)


def load_folder_or_name(
    kind: Any, path: str, what: str, remedy: str, *, trust: bool | None = None, **options: Any
) -> Any:
    """Load a model from a folder or, by its name, from the hub.

    Parameters
    ----------
    kind : class
        A class of sentence-transformers.
    path : str
    what, remedy : str
        The model in messages, and what to do about code of its own.
    trust : bool or None
        Whether to run code that comes with the model. False loads it by the class that transformers
        has for it, if there is one. None refuses such a model: the vectors of the two may differ.
    options : dict
        Others of `kind`.

    Raises
    ------
    UsageError
        If there is no such folder, or if the model has code of its own that may not run.
    """
    name = _folder_or_name(path, what)
    refused = UsageError(f"{what}: {path} has code of its own, which is not run; {remedy}")
    # Weights are tensors, even if a file in the folder asks for more.
    arguments = {**options.pop("model_kwargs", {}), "weights_only": True}
    try:
        model = kind(
            name,
            trust_remote_code=bool(trust),
            local_files_only=_offline(name),
            model_kwargs=arguments,
            **options,
        )
    except ValueError as error:
        if not trust and "trust_remote_code" in str(error):
            raise refused from error
        raise
    if trust is None and any(getattr(one, "auto_map", None) for one in _configurations(model)):
        raise refused
    return model


def _configurations(model: Any) -> list[Any]:
    parts = (getattr(part, "config", None) for part in model.modules())
    return [config for config in parts if hasattr(config, "to_json_string")]


def code_digest(model: Any) -> str:
    """Return the checksum of the code that a model has of its own, and of its configuration.

    It is empty if the model has no such code.
    """
    configurations = _configurations(model)
    parts = [*model.modules(), *configurations, model.tokenizer]
    names = {type(part).__module__ for part in parts}
    names = {name for name in names if name.split(".")[0] not in _LIBRARIES}
    if not names:
        return ""
    packages = {name.rpartition(".")[0] or name for name in names}
    files = [
        (name.removeprefix(package), sha256_file(Path(file)))
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
        for package in packages
        if f"{name}.".startswith(f"{package}.")
    ]
    facts = [json.loads(one.to_json_string(use_diff=False)) for one in configurations]
    facts = [{key: one[key] for key in sorted(one.keys() - _NO_MATTER)} for one in facts]
    return digest([sorted(files), json.dumps(facts)])


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

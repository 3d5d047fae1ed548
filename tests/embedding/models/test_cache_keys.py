"""The keys under which vectors are cached: as they were before any module was renamed."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from miner.embedding.models.base import MODELS, LoadedModel
from miner.embedding.models.load import load_model
from miner.storage.json_files import digest
from tests.conftest import ROOT

CACHED_AS = {
    "sentence-transformers": "miner.models.sentence_transformers:SentenceTransformers",
    "onnx": "miner.models.onnx:Onnx",
    "torch": "miner.models.torch_module:TorchModule",
    "timm": "timm",
    "http": "miner.models.http:Http",
}
"""The class in the key of each family: a change makes every user embed everything again."""


@pytest.mark.usefixtures("aside")
@pytest.mark.parametrize("name", CACHED_AS)
def test_the_key_of_a_family_is_pinned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := MODELS.entries[name].missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    kind: Any = MODELS.load(name)
    monkeypatch.setattr(kind, "facts", lambda model: {"version": 1})
    family = LoadedModel(name, kind.__new__(kind), {"device": "cpu"}).family()
    assert family == {"class": CACHED_AS[name], "facts": {"version": 1}}


def test_every_family_is_pinned_installed_or_not() -> None:
    pinned = {}
    for name in CACHED_AS:
        module, _, attribute = MODELS.entries[name].target.partition(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        (kind,) = (one for one in tree.body if getattr(one, "name", "") == attribute)
        for line in ast.iter_child_nodes(kind):
            if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "cache_id":
                assert line.value is not None
                pinned[name] = ast.literal_eval(line.value)
    assert pinned == CACHED_AS


@pytest.mark.parametrize(
    ("name", "kind"), [("wordllama", "text"), ("pixels", "image"), ("precomputed", "vectors")]
)
def test_the_other_families_are_known_by_name_and_options(name: str, kind: str) -> None:
    assert load_model(name, kind, {}).family() == {"name": name, "options": {}}


def test_every_family_that_is_built_in_has_its_test() -> None:
    built_in = {name for name, entry in MODELS.entries.items() if entry.target.startswith("miner.")}
    assert built_in == {*CACHED_AS, "wordllama", "pixels", "precomputed"}


def test_a_subclass_does_not_share_its_parents_key() -> None:
    pytest.importorskip("requests")
    http: Any = MODELS.load("http")

    class Own(http):
        def __init__(self) -> None:
            pass

        def facts(self) -> dict[str, Any]:
            return {}

    family = LoadedModel("own", Own(), {}).family()
    assert family["class"] == f"{__name__}:{Own.__qualname__}"


def test_the_folder_of_canaries_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("requests")
    http: Any = MODELS.load("http")
    monkeypatch.setattr(http, "facts", lambda model: {"version": 1})
    family = LoadedModel("http", http.__new__(http), {}).family()
    assert digest([family, "item", ""])[:24] == "00d5a52f153879fd991a87ec"

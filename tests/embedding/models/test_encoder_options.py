"""Options of sentence-transformers: types of numbers, dimensions, code of a model's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.embedding.models.load import load_model
from miner.errors import UsageError
from tests.conftest import Result
from tests.embedding.models.conftest import TEXTS, stored, unit
from tests.embedding.models.tiny_encoders import (
    AUTO,
    change,
    encoder_with_code,
    sentence_transformers,
    tiny_encoder,
    torch,
    transformers,
)

# The library's imports warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
Mine = Callable[..., miner.Run]


@pytest.fixture(scope="module", autouse=True)
def library() -> Any:
    """Import it here, where warnings are let through, and not where the package does."""
    return sentence_transformers.SentenceTransformer


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


def computed(run: miner.Run) -> int:
    number: int = run.manifest["embedding"]["computed"]
    return number


def test_vectors_in_half_precision_are_float32_and_have_their_own_key(
    library: Any, encoder: Path, texts: Path, mine: Mine
) -> None:
    plain = mine(texts, str(encoder), options={"device": "cpu"})
    for dtype in ("bfloat16", "float16"):
        options = {"device": "cpu", "model_kwargs": {"dtype": dtype}}
        run = mine(texts, str(encoder), options=options)
        model = library(str(encoder), device="cpu", model_kwargs={"dtype": dtype})
        assert model.dtype == getattr(torch, dtype)
        expected = unit(model.encode(TEXTS, batch_size=6))
        np.testing.assert_allclose(stored(run), expected, atol=1e-7)  # rounded once, as float32
        assert computed(run) == 6 and 1e-5 < np.abs(stored(run) - stored(plain)).max() < 0.1
        assert load_model(str(encoder), "text", options).embed(TEXTS).dtype == np.float32
        assert computed(mine(texts, str(encoder), options=options, margin=0.3)) == 0
    again = mine(texts, str(encoder), options={"device": "cpu"}, margin=0.3)
    assert computed(again) == 0
    np.testing.assert_array_equal(stored(again), stored(plain))


def test_another_attention_has_its_own_key(encoder: Path) -> None:
    families = [
        load_model(str(encoder), "text", options).family()
        for options in ({}, *({"model_kwargs": {"attn_implementation": n}} for n in ATTENTION))
    ]
    assert "model_kwargs" not in families[0]["facts"]  # the key of vectors that are cached already
    assert families[0] != families[1] != families[2]


ATTENTION = ("eager", "sdpa")


def test_dimensions_that_are_cut_are_never_mixed(
    library: Any, encoder: Path, texts: Path, mine: Mine, tmp_path: Path
) -> None:
    whole = library(str(encoder), device="cpu").encode(TEXTS)
    for dim in (8, 16, 5):
        run = mine(texts, str(encoder), options={"truncate_dim": dim})
        assert (run.manifest["model"]["dim"], computed(run)) == (dim, 6)
        np.testing.assert_allclose(stored(run), unit(whole[:, :dim]), atol=1e-6)
    cut = tiny_encoder(tmp_path / "cut")  # the same weights, cut by the file of the model
    change(cut / "config_sentence_transformers.json", truncate_dim=4)
    run = mine(texts, str(cut))
    assert (run.manifest["model"]["dim"], computed(run)) == (4, 6)
    assert computed(mine(texts, str(cut), options={"truncate_dim": 8}, margin=0.3)) == 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model_kwargs": "bfloat16"}, "must be a table, such as"),
    ({"model_kwargs": {"dtype": "bfloat17"}}, r"model_kwargs\.dtype = 'bfloat17' must be a type"),
    ({"model_kwargs": {"dtype": "int8"}}, "must be a type of floats"),
    ({"model_kwargs": {"dtype": 16}}, "must be a type of floats"),
    ({"model_kwargs": {"dtype": "nn"}}, "must be a type of floats"),
    ({"model_kwargs": {"attn_implementation": "egger"}}, 'attn_implementation="egger"'),
    ({"model_kwargs": {"attn_implementation": "org/k"}}, "is code from the hub, which is not run"),
    ({"model_kwargs": {"nonsense": 1}}, "unexpected keyword argument 'nonsense'"),
    ({"model_kwargs": {"trust_remote_code": True}}, r"set model\.options\.trust_remote_code"),
    ({"model_kwargs": {"token": "secret"}}, "written to the manifest; set the variable HF_TOKEN"),
    ({"model_kwargs": {"weights_only": False}}, "weights are read as tensors only"),
    ({"model_kwargs": {"device_map": "auto"}}, "set model.options.device or devices"),
    ({"truncate_dim": 0}, "truncate_dim = 0 must be a whole number of 1 or more"),
    ({"truncate_dim": True}, "truncate_dim = True must be a whole number"),
    ({"truncate_dim": 17}, "truncate_dim = 17: .* has 16 dimensions"),
    ({"max_length": "9"}, "max_length = '9' must be a whole number"),
    ({"trust_remote_code": "yes"}, "trust_remote_code = 'yes' must be true or false"),
    ({"devices": []}, r"devices = \[\] must be a list of names"),
    ({"devices": "cpu"}, "devices = 'cpu' must be a list of names"),
    ({"devices": ["cpu", 1]}, "must be a list of names"),
    ({"devices": ["gpu"]}, "'gpu' is no device of PyTorch"),
    ({"devices": ["cpu", "cuda:99"]}, "'cuda:99' is not there"),
    ({"devices": ["cpu"], "device": "cpu"}, "are both set; drop one"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_a_wrong_option_is_one_line(options: dict[str, Any], words: str, encoder: Path) -> None:
    with pytest.raises(UsageError, match=words) as found:
        load_model(str(encoder), "text", options)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("kind", ["own", "bert"])
def test_code_of_a_model_runs_only_if_the_job_says_so(
    kind: str, texts: Path, cli: Callable[..., Result], tmp_path: Path
) -> None:
    """Of a ``bert`` with code of its own, the class of the library would give other vectors."""
    marker, folder = tmp_path / "ran", tmp_path / f"with_{kind}"
    encoder_with_code(folder, marker, kind)
    arguments = ["run", "--data", texts, "--model", folder, "--out", tmp_path / "out"]
    arguments += ["--set", "gates.min_rows=0", "--quiet"]
    result = cli(*arguments)
    assert result.code == 2 and not marker.exists()
    assert "has code of its own, which is not run" in result.err
    assert result.err.splitlines()[-1].count("model.options.trust_remote_code = true") == 1
    result = cli(*arguments, "--set", "model.options.trust_remote_code=false")
    assert (result.code, marker.exists()) == ({"own": 2, "bert": 0}[kind], False)
    result = cli(*arguments, "--set", "model.options.trust_remote_code=true")
    assert (result.code, marker.exists()) == (0, True)
    scales = np.arange(1, 17)
    plain = sentence_transformers.SentenceTransformer(str(tiny_encoder(tmp_path / "plain")))
    run = miner.open_run(tmp_path / "out")
    np.testing.assert_allclose(stored(run), unit(plain.encode(TEXTS) * scales), atol=1e-6)


def test_the_code_and_its_settings_are_in_the_key(texts: Path, mine: Mine, tmp_path: Path) -> None:
    folder = encoder_with_code(tmp_path / "code", tmp_path / "ran")
    options = {"trust_remote_code": True}
    first = mine(texts, str(folder), options=options)
    moved = folder.rename(tmp_path / "moved")
    assert computed(mine(texts, str(moved), margin=0.3, options=options)) == 0
    code = (moved / "own.py").read_text()
    (moved / "own.py").write_text(code.replace("arange(1.0, 17.0)", "arange(2.0, 18.0)"))
    second = mine(texts, str(moved), options=options)
    assert computed(second) == 6 and np.abs(stored(second) - stored(first)).max() > 1e-3
    change(moved / "config.json", taste="sweet")  # code may read any of it
    assert computed(mine(texts, str(moved), options=options)) == 6


def test_what_the_folder_says_of_its_texts_is_in_the_key(
    texts: Path, mine: Mine, tmp_path: Path
) -> None:
    """The number of tokens is no weight, and no option of the job."""
    folder = tiny_encoder(tmp_path / "own")
    first = mine(texts, str(folder))
    change(folder / "tokenizer_config.json", model_max_length=3)
    second = mine(texts, str(folder))
    assert second.run_id != first.run_id
    assert not np.array_equal(stored(first), stored(second))


def test_a_class_named_by_the_folder_is_code_too(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "classes")
    (folder / "pool.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from sentence_transformers.sentence_transformer.modules import Pooling\n"
        "class Own(Pooling): pass\n"
    )
    modules = (folder / "modules.json").read_text().split('"type": "')
    modules[-1] = 'pool.Own"' + modules[-1].partition('"')[2]
    (folder / "modules.json").write_text('"type": "'.join(modules))
    for options in ({}, {"trust_remote_code": False}):
        with pytest.raises(UsageError, match=r"set model\.options\.trust_remote_code = true"):
            load_model(str(folder), "text", options)
    assert not (tmp_path / "ran").exists()
    trusted = load_model(str(folder), "text", {"trust_remote_code": True})
    plain = load_model(str(tiny_encoder(tmp_path / "plain")), "text", {}).model.weights()
    assert (tmp_path / "ran").exists() and trusted.model.weights() != plain


@pytest.mark.parametrize("kind", ["own", "bert"])
def test_a_cross_encoder_with_code_is_refused(
    kind: str, texts: Path, cli: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "cross"
    encoder_with_code(folder, tmp_path / "ran", kind)
    transformers.BertForSequenceClassification(
        transformers.BertConfig.from_pretrained(folder, num_labels=1)
    ).save_pretrained(folder)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    auto = {**AUTO, "AutoModelForSequenceClassification": "own.OwnModel"}
    change(folder / "config.json", auto_map=auto, model_type=kind)
    result = cli(
        *("run", "--data", texts, "--out", tmp_path / "out", "--quiet"),
        *("--set", f"teacher.model=cross-encoder:{folder}", "--set", "teacher.max_score=0.5"),
    )
    assert result.code == 2 and "has code of its own, which is not run" in result.err
    assert not (tmp_path / "ran").exists() and result.err.splitlines()[-1].startswith(
        "mine: error:"
    )
    (folder / "config.json").write_text("{}")
    result = cli(
        *("run", "--data", texts, "--out", tmp_path / "out", "--quiet"),
        *("--set", f"teacher.model=cross-encoder:{folder}", "--set", "teacher.max_score=0.5"),
    )
    assert result.code == 2 and "cannot be made" in result.err

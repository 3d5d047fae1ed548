"""Image models on image files: pixels, PyTorch, timm."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Image = pytest.importorskip("PIL.Image")

import miner
from miner.embedding.models.load import load_model
from miner.errors import DataError, MineError, UsageError
from tests.embedding.models.conftest import stored, unit

NETWORK = """
import torch


class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        torch.manual_seed(1)
        self.inner = torch.nn.Linear(3, width)

    def forward(self, batch):
        if isinstance(batch, list):
            counts = [[float(t.count(c)) for c in 'abc'] for t in batch]
            return self.inner(torch.tensor(counts))
        return self.inner(batch.mean(dim=(2, 3)))


made = Net()


def make(width):
    return Net(width)
"""


def picture(seed: int, size: tuple[int, int] = (20, 14), kind: str = "PNG") -> bytes:
    """Encode an image: a patch of colour by class, with noise."""
    rng = np.random.default_rng(seed)
    values = (
        rng.integers(0, 60, (size[1], size[0], 3)) + np.array([120, 20, 20])[:: 1 - 2 * (seed % 2)]
    )
    image = Image.fromarray(values.astype(np.uint8))
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Eight pictures in two classes, a Parquet file of bytes in three formats."""
    kinds = ["PNG", "JPEG", "WEBP", "BMP"]
    files = [picture(n, kind=kinds[n % 4]) for n in range(8)]
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": files, "label": [n % 2 for n in range(8)]}), path)
    return path


def decoded(path: Path) -> list[Any]:
    files = pq.read_table(path)["image"].to_pylist()
    return [Image.open(io.BytesIO(file)).convert("RGB") for file in files]


def squares(path: Path, size: int) -> np.ndarray:
    """Resize the shorter edge, cut the middle out; shape (n, 3, size, size), 0 to 1."""
    wide = round(20 * size / 14)
    left = (wide - size) // 2
    cut = [
        image.resize((wide, size), Image.Resampling.BICUBIC).crop((left, 0, left + size, size))
        for image in decoded(path)
    ]
    return np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) / 255 for image in cut])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_of_image_files(mode: str, images: Path, mine: Callable[..., miner.Run]) -> None:
    run = mine(images, "pixels", options={"mode": mode})
    rows = [np.asarray(image.convert(mode)).reshape(-1) for image in decoded(images)]
    np.testing.assert_allclose(stored(run), unit(np.stack(rows)), atol=1e-7)
    assert run.manifest["model"]["dim"] == 20 * 14 * len(mode)


def test_paths_and_structs_are_images_too(
    images: Path, mine: Callable[..., miner.Run], tmp_path: Path
) -> None:
    table = pq.read_table(images)
    files, labels = table["image"].to_pylist(), table["label"]
    expected = stored(mine(images, "pixels"))
    (tmp_path / "pics").mkdir()
    for n, file in enumerate(files):
        (tmp_path / "pics" / f"{n}.img").write_bytes(file)
    paths = [f"pics/{n}.img" for n in range(8)]
    pq.write_table(pa.table({"image": paths, "label": labels}), tmp_path / "paths.parquet")
    structs = [{"bytes": file if n % 2 else None, "path": paths[n]} for n, file in enumerate(files)]
    pq.write_table(pa.table({"image": structs, "label": labels}), tmp_path / "structs.parquet")
    for name in ("paths", "structs"):
        run = mine(tmp_path / f"{name}.parquet", "pixels")
        np.testing.assert_array_equal(stored(run), expected)


def test_sizes_that_differ_need_an_option(mine: Callable[..., miner.Run], tmp_path: Path) -> None:
    files = [picture(n, (20, 14) if n % 3 else (30, 30)) for n in range(8)]
    path = tmp_path / "sizes.parquet"
    pq.write_table(pa.table({"image": files, "label": [n % 2 for n in range(8)]}), path)
    with pytest.raises(MineError, match=r"30 x 30 and of 20 x 14.*model\.options\.size"):
        mine(path, "pixels")
    assert mine(path, "pixels", options={"size": 8}).manifest["model"]["dim"] == 64


def test_an_unreadable_image_is_named_or_left_out(images: Path, tmp_path: Path) -> None:
    table = pq.read_table(images)
    files = table["image"].to_pylist()
    files[5] = files[5][: len(files[5]) // 2]  # a header, and half of the rest
    files[3] = b"not an image"
    files[2] = None
    broken = pa.table({"id": [f"i{n}" for n in range(8)], "image": files, "label": table["label"]})
    pq.write_table(broken, tmp_path / "broken.parquet")
    job: dict[str, Any] = {
        "dataset": {"path": str(tmp_path / "broken.parquet")},
        "output": {"path": str(tmp_path / "out")},
        "gates": {"min_rows": 0},
    }
    with pytest.raises(DataError, match=r"row 2 \(id 'i2'\).*no content.*on_error"):
        miner.mine(job)
    job["dataset"]["on_error"] = "skip"
    run = miner.mine(job)
    assert run.manifest["dataset"]["skipped"]["unreadable"] == 3
    assert run.manifest["dataset"]["items"] == 5
    assert run.census()["anchor_id"].to_pylist() == ["i0", "i1", "i4", "i6", "i7"]


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("torch")
    (tmp_path / "mynet.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mynet", raising=False)
    return tmp_path


def test_a_module_of_ones_own(
    network: Path, images: Path, texts: Path, mine: Callable[..., miner.Run]
) -> None:
    import torch

    run = mine(images, "torch:mynet.made", options={"size": 10, "mean": [0] * 3, "std": [1] * 3})
    module = __import__("mynet").made
    means = squares(images, 10).mean(axis=(2, 3))
    with torch.no_grad():
        expected = module.inner(torch.from_numpy(means)).numpy()
    np.testing.assert_allclose(stored(run), unit(expected), atol=1e-5)
    assert (
        mine(texts, "torch:mynet.make", options={"arguments": {"width": 5}}).manifest["model"][
            "dim"
        ]
        == 5
    )


def test_weights_from_a_file(network: Path, texts: Path, mine: Callable[..., miner.Run]) -> None:
    import torch
    from safetensors.torch import save_file

    module = __import__("mynet").make(4)
    first = mine(texts, "torch:mynet.Net")
    with torch.no_grad():
        module.inner.weight += 1
    save_file(module.state_dict(), network / "state.safetensors")
    torch.save(module.state_dict(), network / "state.pt")
    runs = [
        mine(texts, "torch:mynet.Net", options={"state": f"state.{end}"})
        for end in ("safetensors", "pt")
    ]
    weights = [run.manifest["model"]["weights"] for run in (first, *runs)]
    assert weights[0] != weights[1] == weights[2]
    np.testing.assert_array_equal(stored(runs[0]), stored(runs[1]))
    assert runs[1].manifest["embedding"]["computed"] == 0


def test_a_checkpoint_that_could_run_code_is_refused(network: Path) -> None:
    import torch

    torch.save({"net": __import__("mynet").made}, network / "whole.pt")
    for name, words in (("whole.pt", "cannot be read as tensors"), ("gone.pt", "no such file")):
        with pytest.raises(UsageError, match=words):
            load_model("torch:mynet.Net", "text", {"state": name})


@pytest.fixture
def backbone(aside: Any, network: Path) -> Any:
    """A small network of timm with ten classes; its weights lie in two files."""
    timm = pytest.importorskip("timm")
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    module = timm.create_model("test_resnet", num_classes=10).eval()
    save_file(module.state_dict(), network / "w.safetensors")
    torch.save(module.state_dict(), network / "w.pt")
    return module


def test_timm_gives_the_features_below_the_classifier(
    backbone: Any, images: Path, mine: Callable[..., miner.Run]
) -> None:
    import timm
    import torch

    config = timm.data.resolve_model_data_config(backbone)
    assert (config["input_size"], config["interpolation"]) == ((3, 160, 160), "bilinear")
    prepare = timm.data.create_transform(**config)
    with torch.no_grad():
        seen = backbone.forward_features(torch.stack([prepare(one) for one in decoded(images)]))
        expected = backbone.forward_head(seen, pre_logits=True).numpy()
    runs = [
        mine(images, "timm:test_resnet", options={"weights": f"w.{end}"}, **more)
        for end, more in (("safetensors", {}), ("pt", {}), ("pt", {"batch_size": 3}))
    ]
    assert runs[0].manifest["model"]["dim"] == backbone.num_features == 96
    np.testing.assert_allclose(stored(runs[0]), unit(expected), atol=1e-6)
    assert [run.manifest["embedding"]["computed"] for run in runs] == [8, 0, 0]
    model = load_model("timm:test_resnet", "image", {"weights": "w.pt"})
    one = np.concatenate([model.embed([image]) for image in decoded(images)])
    np.testing.assert_allclose(unit(one), stored(runs[0]), atol=1e-6)


def test_timm_takes_rows_of_grey_pixels_too(backbone: Any) -> None:
    model = load_model("timm:test_resnet", "image", {"weights": "w.pt"})
    rows = np.random.default_rng(0).integers(0, 256, (3, 64))
    images = [Image.fromarray(row.reshape(8, 8).astype(np.uint8)) for row in rows]
    np.testing.assert_array_equal(model.embed(rows), model.embed(images))


def test_untrained_networks_of_timm_are_asked_for(
    backbone: Any, images: Path, mine: Callable[..., miner.Run]
) -> None:
    seen = [
        load_model(f"timm:{name}", "image", {"weights": "random"}).model
        for name in ("test_resnet", "test_resnet", "test_resnet.r160_in1k")
    ]
    assert len({model.weights() for model in seen}) == 1
    assert seen[0].facts() == seen[1].facts() != seen[2].facts()
    run = mine(images, "timm:test_resnet", options={"weights": "random"})
    assert run.manifest["model"]["weights"] == seen[0].weights()


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "none": ("test_resnet", {}, r"set either model\.options\.weights to a file"),
    "both": ("test_resnet", {"weights": "w.pt", "pretrained": True}, "set either model"),
    "name": ("test_resnt", {"weights": "w.pt"}, "no model 'test_resnt': did you mean test_resnet"),
    "tag": ("test_resnet.a1", {"weights": "w.pt"}, r"Invalid pretrained tag \(a1\)"),
    "file": ("test_resnet", {"weights": "gone.pt"}, "no such file of weights"),
    "other": ("test_vit", {"weights": "w.pt"}, "w.pt does not fit test_vit: .*Missing key"),
    "shape": ("test_resnet", {"weights": "narrow.pt"}, "narrow.pt does not fit .*size mismatch"),
    "pickle": ("test_resnet", {"weights": "whole.pt"}, "cannot be read as tensors"),
    "option": ("test_resnet", {"weights": "w.pt", "size": 64}, "cannot be made with these options"),
    "offline": ("test_resnet", {"pretrained": True}, r"cannot be downloaded .*; set model\.opti"),
    "untrained": ("test_vit4", {"pretrained": True}, "No pretrained weights exist for test_vit4"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_timm_cannot_do_is_one_line(
    case: str, backbone: Any, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if case == "shape":
        state = backbone.state_dict()
        narrow = {name: part[:1] if part.ndim else part for name, part in state.items()}
        torch.save(narrow, network / "narrow.pt")
    if case == "pickle":
        torch.save({"net": __import__("mynet").made}, network / "whole.pt")
    name, options, said = WRONG[case]
    with pytest.raises(UsageError, match=said) as found:
        load_model(f"timm:{name}", "image", options)
    assert "\n" not in str(found.value)

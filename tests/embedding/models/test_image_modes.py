"""Images of all modes become the picture that a viewer shows, or are refused by their mode."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("PIL")
from PIL import Image

import miner
from miner.errors import DataError
from tests.conftest import Result
from tests.embedding.models.conftest import stored

GREY = np.random.default_rng(10).integers(1, 256, (4, 6, 5)).astype(np.uint8)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pgm(values: np.ndarray, white: int) -> bytes:
    height, width = values.shape
    return f"P5 {width} {height} {white}\n".encode() + values.astype(">u2").tobytes()


def with_alpha(values: np.ndarray, mode: str) -> Any:
    """Grey values as the transparency of a black image: on white they are as bright as before."""
    alpha = Image.fromarray(255 - values)
    image = Image.new(mode, alpha.size, 0)
    image.putalpha(alpha)
    return image


def wide(values: np.ndarray, kind: str) -> Any:
    return Image.fromarray((values.astype(np.uint16) * 257).astype(kind))


def palette(values: np.ndarray, **options: Any) -> bytes:
    """An image of a palette, whose last colour may be transparent."""
    image = Image.fromarray(values, "P")
    image.putpalette([shade for shade in range(256) for _ in "RGB"])
    return encoded(image, "PNG", **options)


def mined(files: list[bytes], folder: Path) -> np.ndarray:
    """Mine images, a Parquet file, with the model `pixels`; return the stored rows."""
    columns = {"image": files, "label": [n % 2 for n in range(len(files))]}
    pq.write_table(pa.table(columns), folder / "d.parquet")
    job = {
        "dataset": {"path": str(folder / "d.parquet")},
        "mining": {"metric": "sqeuclidean", "normalize": False},
        "select": {"max_triplets": 0},
        "output": {"path": str(folder / "out"), "report": False},
    }
    return stored(miner.mine(job))


def of(image: Callable[[np.ndarray], Any], kind: str, **options: Any) -> Any:
    return lambda values: encoded(image(values), kind, **options)


def converted(mode: str) -> Callable[[np.ndarray], Any]:
    grey = "L" if mode == "PA" else "RGB"
    return lambda values: Image.fromarray(values).convert(grey).convert(mode)


EXACT = {
    "L": of(Image.fromarray, "PNG"),
    "LA": of(lambda values: with_alpha(values, "LA"), "PNG"),
    "RGBA": of(lambda values: with_alpha(values, "RGBA"), "TIFF"),
    "PA": of(converted("PA"), "TIFF"),
    "P": palette,
    "RGB": of(converted("RGB"), "PNG"),
    "RGBX": of(converted("RGBX"), "TIFF"),
    "CMYK": of(converted("CMYK"), "TIFF"),
    "YCbCr": of(converted("YCbCr"), "TIFF"),
    "I;16 PNG": of(lambda values: wide(values, "<u2"), "PNG"),
    "I;16 TIFF": of(lambda values: wide(values, "<u2"), "TIFF"),
    "I;16B": of(lambda values: wide(values, ">u2"), "TIFF"),
    "I of 16 bits": lambda values: pgm(values.astype(np.uint16) * 257, 65535),
    "I of 10 bits": lambda values: pgm(np.rint(values * (1023 / 255)), 1023),
    "upright": of(
        lambda values: Image.fromarray(values).transpose(Image.Transpose.ROTATE_90),
        "PNG",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    ),
    "upright I;16": of(
        lambda values: Image.fromarray(
            np.rot90(np.asarray(wide(values, "<u2"))).copy()  # counter-clockwise
        ),
        "PNG",
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0",
    ),
    "animation": of(Image.fromarray, "PNG", save_all=True, append_images=[Image.new("L", (5, 6))]),
    "pages": of(Image.fromarray, "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))]),
}


def cleared(clear: int) -> list[Callable[[np.ndarray], bytes]]:
    """Ways to call one value of an image, or of its palette, transparent."""
    alphas = bytes(255 * (n != clear) for n in range(256))
    return [
        of(Image.fromarray, "PNG", transparency=clear),
        of(converted("RGB"), "PNG", transparency=(clear, clear, clear)),
        of(lambda values: wide(values, "<u2"), "PNG", transparency=clear * 257),
        lambda values: palette(values, transparency=clear),
        lambda values: palette(values, transparency=alphas),
    ]


def lab(values: np.ndarray) -> bytes:
    planes = np.stack([values, np.zeros_like(values), np.zeros_like(values)], -1)
    return encoded(Image.frombytes("LAB", values.shape[::-1], planes.tobytes()), "TIFF")


def test_the_same_picture_in_all_modes(tmp_path: Path) -> None:
    """Also upright, the first of several, on white where it is transparent, black and white."""
    bits = (GREY > 128).astype(np.uint8) * 255
    white = np.where(GREY == GREY[0, 0, 0], np.uint8(255), GREY)
    ways = [(way, GREY, GREY) for way in EXACT.values()]
    ways += [(of(converted("1"), "PNG"), bits, bits)]
    ways += [(way, GREY, white) for way in cleared(int(GREY[0, 0, 0]))]
    files = [way(values) for way, given, _ in ways for values in given]
    expected = np.stack([values.ravel() for _, _, wanted in ways for values in wanted])
    rows = mined(files + [lab(values) for values in GREY], tmp_path)
    names = np.repeat([*EXACT, "1", *(f"cleared {n}" for n in range(5))], len(GREY))
    off = np.abs(rows[: len(expected)] - expected).max(axis=1)
    rounded = np.isin(names, ["YCbCr", "I of 10 bits"])  # to another scale, and back
    assert not set(names[off > rounded * 2]), dict(zip(names, off, strict=True))
    assert np.linalg.matrix_rank(rows[len(expected) :]) == len(GREY)  # LAB: no blank pictures


@pytest.mark.parametrize(
    ("mode", "numbers", "kind"),
    [
        ("I", np.int32, "TIFF"),
        ("F", np.float32, "TIFF"),
        ("F", np.float32, "PPM"),
    ],
)
def test_numbers_without_a_range_are_refused(
    mode: str, numbers: Any, kind: str, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    files = [encoded(Image.fromarray(one), "PNG") for one in GREY]
    files[3] = encoded(Image.fromarray(GREY[3].astype(numbers)), kind)
    pq.write_table(pa.table({"image": files, "label": [0, 1] * 2}), tmp_path / "d.parquet")
    words = ["run", "--quiet", "--data", tmp_path / "d.parquet", "--out", tmp_path / "out"]
    refused = cli(*words)
    assert refused.code == 3 and refused.err.count("\n") == 1
    assert f"row 3, column 'image' is an image of 32-bit or signed numbers (mode {mode})" in (
        refused.err
    )
    assert "save it with 8 or 16 bits" in refused.err
    assert cli(*words, "--set", "dataset.on_error=skip").code == 0


@pytest.mark.parametrize("top", [65535, 1.5, -1])
def test_rows_of_numbers_of_another_range_are_refused(top: float) -> None:
    pytest.importorskip("torch")
    from miner.embedding.models.torch_module import rgb_images

    with pytest.raises(DataError, match=r"numbers from .* scale them"):
        rgb_images(np.array([[0, 0, 0, top]]))

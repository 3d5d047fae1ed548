"""Runs to report on, small and of every kind."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import miner
from miner.runs.run import Run

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \x1b]0;gone\x07 & \"'"

ODD = {
    "markup": '<b onclick="alert(3)">&amp;</b>',
    "closing": "</text></svg><script>alert(4)</script>",
    "arabic": "تم رفض البطاقة",
    "hebrew": "הכרטיס נדחה",
    "emoji": "👩‍👩‍👧 🏳️‍🌈",
    "piled": "Z" + "\u0351\u0343\u0300\u0301" * 50 + "algo",
    "marked": "\u202egnp.exe\u2066 \u200f",
    "controls": "\x1b[31mred\x00\x07\x85\u2028",
    "colour": '#1c2530 id="a" url(#b) font: 9px',
    "formula": "$x^2$ %s {{ 7 * 7 }} {% raw %}",
    "blank": " \u3000 ",
}
"""Labels that are of no use in a page as they stand."""


def embed(texts: Sequence[str]) -> np.ndarray:
    """Embed each text as four numbers that only its letters decide."""
    sums = ([zlib.crc32(text.encode(), salt) % 1000 for salt in range(4)] for text in texts)
    return np.array(list(sums), dtype=np.float32) - 500


def mined(tmp_path: Path, data: Path, **sections: dict[str, object]) -> Run:
    """Mine a file into a folder beside it."""
    job = {"dataset": {"path": str(data)}, "output": {"path": str(tmp_path / "out")}}
    for name, keys in sections.items():
        job[name] = {**job.get(name, {}), **keys}  # type: ignore[dict-item]
    return miner.mine(job)


def texts(tmp_path: Path) -> Path:
    """40 texts in four classes; ids, labels and texts would each like to be markup."""
    words = ("card was refused", "refund please", "where is my parcel", "password reset")
    path = tmp_path / "texts.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        sheet.writerow(["id", "text", "label"])
        for row in range(40):
            label = f"<b>日本 {words[row % 4]}</b>"
            text = f"{words[row % 4]} {words[(row * 7) % 3]} {row} {HOSTILE if row % 3 else ''}"
            sheet.writerow([f"<i>{row}</i>", text, label])
    return path


def images(tmp_path: Path) -> Path:
    """24 pictures in three class folders, one of them far too large to show as it is."""
    rng = np.random.default_rng(3)
    for row in range(24):
        folder = tmp_path / "images" / f"class{row % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        edge = 1500 if row == 5 else 24
        pixels = rng.integers(0, 90, (edge, edge, 3)) + 60 * (row % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{row}.png")
    return tmp_path / "images"


def empty(tmp_path: Path) -> Path:
    """Two labels whose rows are all of one group: there is no negative, so no triplet."""
    path = tmp_path / "empty.jsonl"
    rows = [
        {"id": n, "embedding": [float(n), 1.0], "label": n % 2, "group": "one"} for n in range(6)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def odd(tmp_path: Path) -> Path:
    """Three rows of each label of `ODD`, and of two that differ in their last letter alone."""
    names = [*ODD.values(), "x" * 5000 + "1", "x" * 5000 + "2"]
    labels = [name for name in names for _ in range(3)]
    ids = [f"{row} {label}" for row, label in enumerate(labels)]
    texts = [f"{one} {HOSTILE} {ODD['piled']} {'very long ' * 500}" for one in ids]
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"id": ids, "text": texts, "label": labels}), path)
    return path

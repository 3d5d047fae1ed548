"""Odd data through ``mine run``: a page that is whole, safe, of bounded size, and makes sense."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from html import unescape as html_text
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import miner
from tests.conftest import Result, write_vectors
from tests.inspection.report.data import HOSTILE, ODD, images, odd
from tests.inspection.report.test_page import Page, check_safe, page

pytestmark = pytest.mark.report

Cli = Callable[..., Result]
MODEL = ("--model", "tests.inspection.report.data:embed")
PLAIN, PICTURED = 300_000, 2_000_000
"""Bytes of a page at most, without and with pictures, whatever the data; README says so."""


def report(cli: Cli, out: Path, *words: object, most: int = PLAIN) -> tuple[miner.Run, str, Page]:
    """Mine; return the run and its page, which is sound and reads as by a person."""
    done = cli("run", "--out", out, "--quiet", *words)
    assert (done.code, done.err) == (0, ""), done
    run = miner.open_run(out)
    assert "report_not_written" not in run.manifest
    html, parsed = page(run)
    sensible(html, parsed, most)
    return run, html, parsed


def sensible(html: str, parsed: Page, most: int) -> None:
    """No number that is none, nothing of Python, no more than so many bytes."""
    assert len(html.encode()) < most
    shown = parsed.text.split("The complete job")[0]
    assert not re.search(r"\b(nan|inf|None|True|False)\b|-0\.0|Markup\(", shown)


def vectors(path: Path, rows: Sequence[Sequence[float]], labels: list[Any], **more: Any) -> Path:
    return write_vectors(path, np.asarray(rows, np.float32), labels, **more)


def test_labels_ids_and_texts_of_every_kind(tmp_path: Path, cli: Cli) -> None:
    """Markup, other directions, piles of marks, control characters, blanks, far too long ones."""
    _, html, parsed = report(cli, tmp_path / "out", "--data", odd(tmp_path), *MODEL)
    for name in ("arabic", "hebrew", "emoji", "markup", "colour", "formula"):
        assert ODD[name] in parsed.text, name
    assert "(blank)" in parsed.text and "\\x1b" in parsed.text and "\\u202e" in parsed.text
    assert not re.search("[\u0300-\u036f]{5}", html)  # no pile of marks
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
    assert html.count("<script") == html.count("<b>card") == html.count("xxxxxxxxx1") == 0
    (drawn,) = re.findall(r'<svg[^>]*class="plot confusion".*?</svg>', html, re.DOTALL)
    texts = re.findall(r"<text[^>]*>(?:<title>([^<]*)</title>)?([^<]*)</text>", drawn)
    words = [html_text(short) for _, short in texts]
    assert len(words) == 2 * (len(ODD) + 2) + 2  # the two that begin alike are two
    assert '#1c2530 id="a…' in words and words.count("xxxxxxxxxxxxx…") == 4
    cut = {html_text(short): html_text(whole) for whole, short in texts if whole}
    assert cut['#1c2530 id="a…'] == ODD["colour"] and len(cut["xxxxxxxxxxxxx…"]) == 64
    inside = re.findall(r"<bdi>([^<]*)</bdi>", html)
    assert max(map(len, inside)) <= 280 * len("&#34;") and len(inside) > 60


LINE = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8], [-1.0, 0.0], [0.6, -0.8]]
NEAR = [[1.0, 0.01], [1.0, 0.02], [1.0, 0.03], [-1.0, 0.01], [-1.0, 0.02], [-1.0, 0.03]]
CROSS = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
ALL, NONE = "100.00 %", "0.00 %"
SHAPES: dict[str, tuple[list[list[float]], str, tuple[str, str, str]]] = {
    "two items and one": (LINE[:3], "aab", (NONE, NONE, ALL)),
    "all equal": ([[1.0, 1.0]] * 6, "aabbcc", (ALL, NONE, NONE)),
    "all easy": (NEAR, "aaabbb", (NONE, NONE, ALL)),
    "all hard": (CROSS, "aabb", (ALL, NONE, NONE)),
    "all semi-hard": (NEAR[:3], "aab", ("50.00 %", "50.00 %", NONE)),
    "zero vectors": ([[0.0, 0.0]] * 3 + LINE[::2], "aabbab", ("72.22 %", NONE, "27.78 %")),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_class_without_triplets(tmp_path: Path, cli: Cli, shape: str) -> None:
    rows, labels, shares = SHAPES[shape]
    path = vectors(tmp_path / "rows.parquet", rows, list(labels))
    empty = ("--set", "gates.min_rows=0")
    _, _, parsed = report(cli, tmp_path / "out", "--data", path, *empty)
    for name, share in zip(("hard", "semi-hard", "easy"), shares, strict=True):
        assert f" {name} {share} " in parsed.text, name


@pytest.mark.parametrize(("rows", "labels"), [(6, "aaaaaa"), (2, "aa"), (2, "ab")])
def test_labels_that_make_no_triplet_are_refused(
    tmp_path: Path, cli: Cli, rows: int, labels: str
) -> None:
    path = vectors(tmp_path / "rows.parquet", LINE[:rows], list(labels))
    done = cli("run", "--out", tmp_path / "out", "--quiet", "--data", path)
    assert done.code == 3 and done.err.count("\n") == 1 and not (tmp_path / "out/runs").exists()


def test_several_labels_a_row(tmp_path: Path, cli: Cli) -> None:
    rng = np.random.default_rng(2)
    labels = [[f"<b>{n % 3}", f"é{n % 4}"] for n in range(24)]
    path = vectors(tmp_path / "rows.parquet", rng.standard_normal((24, 3)), labels)
    _, html, _ = report(cli, tmp_path / "out", "--data", path)
    assert 'id="labels"' not in html and 'id="hubs"' in html


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_a_table_of_pairs(tmp_path: Path, cli: Cli) -> None:
    rows = [(f"question {n // 2} {HOSTILE}", f"answer {n} {ODD['arabic']}") for n in range(16)]
    path = write_table(tmp_path / "pairs.csv", ("anchor", "positive"), rows)
    _, _, parsed = report(cli, tmp_path / "out", "--data", path, *MODEL)
    assert "8 queries, 16 documents, 16 links" in parsed.text and ODD["arabic"] in parsed.text


def test_links_that_leave_queries_alone(tmp_path: Path, cli: Cli) -> None:
    """Most queries have no link, one has all documents but one."""
    columns = ("id", "text")
    queries = [(f"<q>{n}", f"query {n} {HOSTILE}") for n in range(9)]
    corpus = [(f"<d>{n}", f"document {n} {ODD['piled']}") for n in range(7)]
    links = [("<q>0", f"<d>{n}", 1) for n in range(6)]
    files = [
        write_table(tmp_path / "queries.csv", columns, queries),
        write_table(tmp_path / "corpus.csv", columns, corpus),
        write_table(tmp_path / "links.csv", ("query_id", "doc_id", "score"), links),
    ]
    names = ("queries", "corpus", "links")
    words = [w for n, f in zip(names, files, strict=True) for w in ("--set", f"dataset.{n}={f}")]
    _, _, parsed = report(cli, tmp_path / "out", *words, *MODEL)
    assert "9 queries, 7 documents, 6 links" in parsed.text
    assert "89 % of anchors have no positive" in parsed.text


def test_pictures_that_are_broken_or_gone(tmp_path: Path, cli: Cli) -> None:
    folder = images(tmp_path)
    (folder / "class0" / "none.png").write_bytes(b"")
    (folder / "class1" / "torn.png").write_bytes((folder / "class1" / "1.png").read_bytes()[:600])
    Image.new("P", (1, 3000)).save(folder / "class2" / 'a "thin" <one>.gif')
    run, html, _ = report(
        cli, tmp_path / "out", "--data", folder, "--model", "pixels",
        "--set", "model.options={size=4}", "--set", "dataset.on_error=skip", most=PICTURED,
    )  # fmt: skip
    assert run.manifest["dataset"]["skipped"]["unreadable"] == 2 and html.count("<img") >= 24
    for victim in (folder / "class2").iterdir():
        victim.write_bytes(b"\0" * victim.stat().st_size)  # as large as they were
    made = miner.make_report(run)
    again = made.path.read_text(encoding="utf-8")
    check_safe(again, Page(again))
    assert html.count("<img") > again.count("<img") > 12
    assert 'src="data:' in again and "class2/" in again


def many_labels(path: Path, labels: int) -> Path:
    """Write so many labels, each of one row but for the first, of which each has two."""
    rng = np.random.default_rng(4)
    names = [f"{n:06} {'label ' * 20}" for n in range(labels)]
    names += names[:40]
    rows = rng.standard_normal((len(names), 4)).astype(np.float32)
    pq.write_table(
        pa.table({"embedding": pa.array(list(rows), pa.list_(pa.float32())), "label": names}), path
    )
    return path


@pytest.mark.parametrize("labels", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_labels_without_end(tmp_path: Path, cli: Cli, labels: int) -> None:
    path = many_labels(tmp_path / "many.parquet", labels)
    _, html, parsed = report(cli, tmp_path / "out", "--data", path, "--per-anchor", 100)
    assert f"The 40 of {labels:,} labels with the most hard triplets" in parsed.text
    assert html.count("000001 label") <= 30

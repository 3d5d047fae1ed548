"""The page says what the manifest says, escapes what data say, and asks for nothing."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import miner
from miner.runs.manifest_schema import manifest_checksum
from miner.runs.run import Run
from miner.runs.staging import Staging
from miner.storage.files import sha256_file
from tests.conftest import ROOT, Result
from tests.inspection.report.data import empty, images, mined, texts

pytestmark = pytest.mark.report
BARE: dict[str, object] = {"report": False}
"""A run without a report of its own."""


class Page(HTMLParser):
    """What a page holds: tags with attributes, ids, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html.replace("<wbr>", ""))  # a place where a line may break is no text
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def page(run: Run) -> tuple[str, Page]:
    html = run.file("report.html").read_text(encoding="utf-8")
    parsed = Page(html)
    assert parsed.open == []
    check_safe(html, parsed)
    return html, parsed


def check_safe(html: str, parsed: Page) -> None:
    """No script, no request, no id twice, headings in order, every picture with words."""
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "iframe", "link", "object", "embed", "form", "b-script"}
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/")), value
        if tag == "img":
            assert attributes["alt"]
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(target[1:] in ids for target in re.findall(r'href="(#[^"]+)"', html))
    assert not re.search(r"url\((?!#)|@import", html)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", html)
    for svg in re.findall(r"<svg[^>]*>", html):
        assert 'role="img"' in svg and 'aria-label="' in svg


def test_a_run_of_texts_has_its_report(tmp_path: Path) -> None:
    run = mined(tmp_path, texts(tmp_path), mining={"metric": "cosine"})
    html, parsed = page(run)
    census = run.manifest["census"]
    for name in ("valid", "easy", "semi_hard", "hard"):
        assert f"{census[name]:,}" in parsed.text
    for name in ("easy", "semi_hard", "hard"):
        assert f"{census[name] / census['valid']:.2%}".replace("%", " %") in parsed.text
    assert run.run_id in parsed.text and "Yes: all triplets were counted" in parsed.text
    assert "<script>alert(1)</script>" in parsed.text  # as words
    assert "<script" not in html and "<b>card" not in html and "<i>" not in html
    assert html.count("<svg") == 5
    assert html.count("h0") > 9_000 and len(html.encode()) < 200_000
    named = {file["path"]: file for file in run.manifest["files"]}
    assert named["report.html"]["sha256"] == sha256_file(run.path / "report.html")
    assert not miner.verify_run(run).problems
    assert run.manifest["timings"]["report"] > 0


def test_findings_lead_to_their_lists(tmp_path: Path) -> None:
    job = {"dataset": {"path": "sample_data/support_requests.csv"}, "mining": {"metric": "cosine"}}
    run = miner.mine({**job, "output": {"path": str(tmp_path / "out")}})
    html, parsed = page(run)
    for place in ("hardest", "suspects", "triplets"):
        assert f'<a href="#{place}">See ' in html and f'id="{place}"' in html
    assert "14 labels may be wrong" in parsed.text and "Labels that may be wrong" in parsed.text


def test_a_narrow_screen_shows_three_columns(tmp_path: Path) -> None:
    """What it leaves out is of a class that the style sheet hides there."""
    job = {"dataset": {"path": "sample_data/support_requests.csv"}, "mining": {"metric": "cosine"}}
    html, _ = page(miner.mine({**job, "output": {"path": str(tmp_path / "out")}}))
    tables = re.findall(r"<table>.*?</table>", html, re.DOTALL)
    for words in ("label of nearest rows", "hard triplets</th>"):
        for table in (one for one in tables if words in one):
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL):
                kinds = re.findall(r'<t[hd](?: scope="col")?(?: class="([^"]*)")?>', row)
                assert sum("more" not in kind.split() for kind in kinds) == 3


def test_the_same_facts_give_the_same_page(tmp_path: Path, small: Path) -> None:
    run = mined(tmp_path, small, output=BARE)
    first = miner.make_report(run, tmp_path / "a.html")
    second = miner.make_report(run, tmp_path / "b.html")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.facts.sample is not None and len(first.facts.sample) == 10_000


def test_the_report_changes_no_other_byte(tmp_path: Path, small: Path) -> None:
    sums = []
    for report in (True, False):
        job = {
            "dataset": {"path": str(small)},
            "output": {"path": str(tmp_path / f"out{report}"), "report": report},
        }
        run = miner.mine(job)
        files = {file["path"]: file["sha256"] for file in run.named_files()}
        assert ("report.html" in files) is report
        sums.append({k: v for k, v in files.items() if k not in ("report.html", "metrics.prom")})
    assert sums[0] == sums[1]


def test_images_are_shown_small(tmp_path: Path) -> None:
    run = mined(
        tmp_path,
        images(tmp_path),
        model={"name": "pixels", "options": {"size": 8}},
    )
    _, parsed = page(run)
    shown = [attributes["src"] or "" for tag, attributes in parsed.tags if tag == "img"]
    assert len(shown) >= 24
    assert all(src.startswith("data:image/jpeg;base64,") and len(src) < 25_000 for src in shown)


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_of_pixels_are_shown_as_they_are(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(channels).integers(0, 256, (30, 25 * channels), np.uint8)
    values[0, 0] = 255  # the brightest of all is white
    table = pa.table({"image": values.tolist(), "label": [n % 3 for n in range(30)]})
    pq.write_table(table, tmp_path / "data.parquet")
    _, parsed = page(mined(tmp_path, tmp_path / "data.parquet"))
    shown = [attributes["src"] or "" for tag, attributes in parsed.tags if tag == "img"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) for src in shown]
    assert {picture.size for picture in pictures} == {(5, 5)} and len(pictures) >= 24
    found = {np.asarray(picture).tobytes() for picture in pictures}
    assert found <= {row.tobytes() for row in values}


def test_pictures_that_changed_since_are_left_out(tmp_path: Path) -> None:
    folder = images(tmp_path)
    run = mined(tmp_path, folder, model={"name": "pixels", "options": {"size": 8}}, output=BARE)
    (folder / "class0" / "0.png").write_bytes(b"something else")
    made = miner.make_report(run)
    assert "<img" not in made.path.read_text(encoding="utf-8")
    assert made.path == run.root / "reports" / f"{run.run_id}.html"


def test_pairs_without_labels(tmp_path: Path) -> None:
    run = mined(tmp_path, ROOT / "sample_data" / "handbook", mining={"metric": "cosine"})
    html, parsed = page(run)
    assert "60 queries, 300 documents" in parsed.text
    assert 'id="labels"' not in html and 'id="hubs"' in html


def test_no_triplet_at_all(tmp_path: Path) -> None:
    data = empty(tmp_path)
    dataset = {"path": str(data), "group": "group"}
    run = mined(tmp_path, data, dataset=dataset, gates={"min_rows": 0})
    html, parsed = page(run)
    assert "There is no valid triplet" in parsed.text and "<svg" not in html
    assert "0 valid triplets" in parsed.text
    assert parsed.text.count(" \N{EN DASH} 0 triplets") == 3
    assert not re.search(r"(?<!\d)0\.00 %", parsed.text)  # 100.00 % may well be there


def test_a_census_only_run_shows_triplets_of_the_sample(tmp_path: Path) -> None:
    run = mined(tmp_path, texts(tmp_path), select={"max_triplets": 0})
    _, parsed = page(run)
    assert "triplets of the sample (none was written)" in parsed.text
    assert "card was refused" in parsed.text


def test_an_approximate_run_says_what_it_is(tmp_path: Path, small: Path) -> None:
    run = mined(
        tmp_path,
        small,
        index={"factory": "HNSW16", "min_recall": 0.01, "candidates": 8, "audit": 60},
    )
    _, parsed = page(run)
    assert "estimated from the triplets that the index found" in parsed.text
    assert "No: HNSW16 proposed 8 negatives for each anchor." in parsed.text
    assert "percentage points (95 % confidence)" in parsed.text


def test_a_report_that_fails_never_loses_the_run(
    tmp_path: Path, small: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ValueError("no ink")

    monkeypatch.setattr(jinja2.Template, "render", broken)
    done = cli("run", "--data", small, "--out", tmp_path / "out", "--quiet")
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert "mine: warning: report.html was not written: ValueError: no ink" in done.err
    run = miner.open_run(tmp_path / "out" / "latest")
    assert not (run.path / "report.html").exists()
    assert not miner.verify_run(run).problems


def test_a_report_of_a_start_that_died_is_not_published(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    job = {"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "out")}}
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(Staging, "publish", die)
        miner.mine(job)
    assert list((tmp_path / "out" / ".staging").glob("*/run/report.html"))
    run = miner.mine({**job, "output": {"path": str(tmp_path / "out"), "report": False}})
    assert not (run.path / "report.html").exists()
    assert not miner.verify_run(run).problems


def test_the_command_writes_a_page_of_any_run(
    tmp_path: Path, small: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mined(tmp_path, small, output={"path": str(tmp_path / "out"), "report": False})
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    target = tmp_path / "page.html"
    done = cli("report", tmp_path / "out", "--output", target, "--open", "--json")
    facts = json.loads(done.out)
    assert done.code == 0 and facts["run_id"] == run.run_id
    assert facts["bytes"] == target.stat().st_size and facts["sample"] == 10_000
    assert opened == [target.as_uri()]
    told = cli("report", tmp_path / "out", "--output", target)
    assert "wrote" in told.out and str(target) in told.out


def test_a_run_is_sealed(tmp_path: Path, small: Path, cli: Callable[..., Result]) -> None:
    run = mined(tmp_path, small, output=BARE)
    for target in (run.path / "more.html", tmp_path):
        done = cli("report", run.path, "--output", target)
        assert done.code == 2 and done.err.count("\n") == 1
    assert not miner.verify_run(run).problems


def test_a_damaged_run_is_named(tmp_path: Path, small: Path, cli: Callable[..., Result]) -> None:
    run = mined(tmp_path, small, output=BARE)
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest["timings"]
    manifest["checksum"] = manifest_checksum(manifest)
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    done = cli("report", run.path)
    assert done.code == 6 and done.err.count("\n") == 1 and "see mine verify" in done.err


def test_vectors_that_are_gone_leave_the_rest(tmp_path: Path, small: Path) -> None:
    run = mined(tmp_path, small, output=BARE)
    (run.root / ".store" / run.manifest["store"] / "store.json").unlink()
    made = miner.make_report(run)
    text = made.path.read_text(encoding="utf-8")
    assert "The vectors of this run no longer exist" in text and made.facts.sample is None
    assert text.count("<svg") == 2  # shares by margin and confusions are in the run itself

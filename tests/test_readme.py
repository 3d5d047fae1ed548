"""Every command and every Python example of the README and of the pages runs as shown."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import miner
from miner.errors import (
    DataError,
    EngineError,
    GateError,
    LockError,
    MineError,
    StorageError,
    UsageError,
)
from tests import pages
from tests.conftest import ROOT, Result

README = pages.README.read_text()
BENCHMARKS = (pages.DOCS / "benchmarks.md").read_text()
ROWS = 120
"""The number of digits, and for the README of support requests, in place of all: what the commands
do does not depend on it."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone has, with fewer digits."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "jobs", folder / "jobs")
    shutil.copytree(
        ROOT / "sample_data", folder / "sample_data", ignore=shutil.ignore_patterns("prepared")
    )
    digits = folder / "sample_data/digits.parquet"
    pq.write_table(pq.read_table(digits).slice(0, ROWS), digits)
    return folder


@pytest.fixture(scope="module")
def mined(clone: Path) -> Path:
    """The run that pages begin with."""
    data = {"path": str(clone / "sample_data/support_requests.csv")}
    out = {"path": str(clone / "mined_support"), "report": False}
    miner.mine({"dataset": data, "mining": {"metric": "cosine"}, "output": out})
    return clone / "mined_support"


@pytest.fixture
def here(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of its own for each test: what one leaves would be in another's way."""
    folder = tmp_path / "here"
    shutil.copytree(clone, folder, ignore=shutil.ignore_patterns("cache", "mined_support"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MINE_CACHE", str(clone / "cache"))
    return folder


def run_blocks(page: Path, cli: Callable[..., Result]) -> list[tuple[pages.Block, str]]:
    """Run a page's blocks in their order, in this process: that `mine` starts, others test."""
    said = []
    for block in pages.blocks(page):
        if block.language == "sh":
            said.append((block, pages.run_shell(block, cli)))
        elif block.language == "python" and block.condition[0] != "needs":
            said.append((block, pages.run_python(block)))
    return said


def test_the_readme_runs(here: Path, cli: Callable[..., Result]) -> None:
    requests = here / "sample_data/support_requests.csv"
    requests.write_text("\n".join(requests.read_text().splitlines()[: ROWS + 1]) + "\n")
    assert len(run_blocks(pages.README, cli)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_it_shows(
    page: Path, here: Path, mined: Path, cli: Callable[..., Result]
) -> None:
    shutil.copytree(mined, here / "mined_support", symlinks=True, dirs_exist_ok=True)
    ran = run_blocks(page, cli)
    for block, said in ran:
        missing = list(pages.lines_of(said, block.shown)) if said else []
        assert not missing, f"{block.text}\nprinted\n{said}\nwithout\n{missing}"
    assert ran


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("text", "rows"), [(README, 7), (BENCHMARKS, 12)], ids=["readme", "page"])
def test_every_command_of_the_figures_runs(
    text: str, rows: int, cli: Callable[..., Result]
) -> None:
    commands = re.findall(r"\| `((?:mine|make) [^`]+)` \|$", text, re.MULTILINE)
    for command in commands:
        program, *words = command.split()
        if program == "make":
            assert set(words) <= set(pages.TARGETS)
        elif "jobs/" in command:  # of data that `make data` prepares: a slow test runs them
            assert miner.load_job(ROOT / words[1]).output.path.startswith("mined_")
        else:
            assert cli(*words, "--out", "mined_figures", "--quiet").code == 0
    assert len(commands) == rows


def test_a_model_of_ones_own_is_used(here: Path, cli: Callable[..., Result]) -> None:
    (model,) = pages.blocks(pages.DOCS / "models.md", "python")
    pages.run_python(model)
    command = "run --data sample_data/support_requests.csv --model my_model:embed --out mined_model"
    assert cli(*command.split(), "--quiet").code == 0
    assert miner.open_run(here / "mined_model").manifest["model"]["dim"] == 2


def test_the_counts_shown_are_those_of_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    job = miner.load_job(
        "jobs/default.toml", {"select.max_triplets": 0, "output.path": str(tmp_path / "mined")}
    )
    census = miner.mine(job).manifest["census"]
    assert f"{census['valid']:,} valid triplets" in README
    for name in ("easy", "semi_hard", "hard"):
        assert re.search(rf"^ +{name.replace('_', '-')} +{census[name]:,} ", README, re.MULTILINE)
    outputs = (pages.DOCS / "outputs.md").read_text()
    assert f'print(run.manifest["census"]["hard"])  # {census["hard"]}\n' in outputs


def test_the_job_file_shown_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    (short,) = (block.text for block in pages.blocks(pages.README, "toml"))
    assert miner.parse_job(tomllib.loads(short)).select.strategy == "semi-hard"
    (whole,) = (block.text for block in pages.blocks(pages.DOCS / "job-file.md", "toml"))
    shown = miner.parse_job(tomllib.loads(whole))
    monkeypatch.chdir(ROOT)
    assert shown.identity() == miner.load_job("jobs/default.toml").identity()
    for section, keys in shown.facts().items():
        for key in keys:
            assert re.search(rf"\b{key}\b", whole), f"{section}.{key} is not on the page"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.stem)
def test_jobs_on_pages_are_jobs(page: Path) -> None:
    for block in pages.blocks(page, "toml"):
        miner.parse_job({"dataset": {"path": "data.csv"}, **tomllib.loads(block.text)})


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 250


def test_exit_codes_are_those_of_the_classes() -> None:
    nightly = (pages.DOCS / "nightly.md").read_text()
    table = dict(re.findall(r"^\| (\d) \| (.*?) \|$", nightly, re.MULTILINE))
    kinds = (MineError, UsageError, DataError, LockError, GateError, StorageError, EngineError)
    assert {str(kind.exit_code) for kind in kinds} | {"0"} == set(table)


def slugs(text: str) -> set[str]:
    """The anchors that a forge gives to headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


@pytest.mark.parametrize(
    "page", [pages.README, *sorted(pages.DOCS.glob("*.md"))], ids=lambda page: page.stem
)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]*)\)", re.sub(r"\n", " ", page.read_text()))
    local = [link for link in links if "://" not in link]
    for link in local:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in slugs(target.read_text()), link


def test_the_reference_has_every_public_name() -> None:
    told = (ROOT / "miner/docs/api.md").read_text()
    names = set(re.findall(r"^\.\. auto(?:function|class):: (\w+)$", told, re.MULTILINE))
    assert names == set(miner.__all__) - {"MineError"} and "miner.errors" in told

"""The package itself: what an import loads, its public names, sizes of files, the top level."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import miner
from tests.conftest import ROOT
from tests.test_architecture import FLOORS

MODULES = [path for path in sorted((ROOT / "miner").rglob("*.py")) if path.parent.name != "docs"]
SOME = [
    "PIL",
    "distributed",
    "duckdb",
    "jinja2",
    "joblib",
    "numba",
    "obstore",
    "onnxruntime",
    "pandas",
    "requests",
    "safetensors",
    "scipy",
    "sentence_transformers",
    "timm",
    "tokenizers",
    "torch",
    "wordllama",
]
"""What no run needs, or not every one."""


def relative(path: Path) -> str:
    """A file's path within the package."""
    return str(path.relative_to(ROOT / "miner"))


def test_files_are_short() -> None:
    assert not [path for path in MODULES if len(path.read_text().splitlines()) > 350]


def test_borders_stand_in_one_place() -> None:
    """No other module adds the margin to a distance and compares."""
    for path in MODULES:
        if relative(path) != "triplets/hardness.py":
            assert "<= d_ap" not in path.read_text().replace("``", ""), path


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            "import miner.cli.main",
            [*SOME, "faiss", "pyarrow", "duckdb", "numpy", "prometheus_client"],
        ),
        ("import miner.pipeline.run", [*SOME, "pyarrow.dataset"]),
    ],
)
def test_an_import_is_light(statement: str, heavy: list[str]) -> None:
    code = f"{statement}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_all_there() -> None:
    assert sorted(miner.__all__) == miner.__all__
    for name in miner.__all__:
        assert getattr(miner, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'mien'"):
        _ = miner.mien


def test_the_page_of_the_architecture_names_what_is_there() -> None:
    page = (ROOT / "miner/docs/architecture.md").read_text()
    changes = page.partition("## Changes and their files")[2]
    named = re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.(?:py|toml))`", changes)
    places = [ROOT, ROOT / "miner", ROOT / "miner/indexes", ROOT / "miner/inspection/report"]
    assert [name for name in named if not any((at / name).is_file() for at in places)] == []
    assert len(named) > 20
    rooms = re.findall(r"^\| (?:\d|faces) \| (.*?) \|", page, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rooms] == FLOORS
    tree = page.partition("```text\nminer/")[2].partition("```")[0]
    listed = set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE))
    listed |= set(re.findall(r"(\w+)\.py ", tree)) | {"__main__"}
    assert listed == set().union(*FLOORS)


def test_the_top_level_holds_what_the_owner_fixed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    allowed = {"setup.cfg", "pyproject.toml", "miner", "jobs", "tests", "sample_data", "Makefile"}
    allowed |= {"README.md", "LICENSE", "CHANGELOG.md"}
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= allowed


@pytest.mark.slow
def test_a_users_type_checker_finds_the_types(tmp_path: Path) -> None:
    """In an editable install, as `make setup` makes it."""
    pytest.importorskip("mypy", reason="needs pip install '.[check]'")
    (tmp_path / "user.py").write_text(
        "import miner\n"
        'run = miner.mine("job.toml", progress=False)\n'
        'print(run.triplets("hard"), run.census(), miner.select([[1.0]], ["a"]))\n'
        "run.triplets(3)\n"
        "miner.mine(margins=1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"user\.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    assert found == [("4", "arg-type"), ("5", "call-arg")], done.stdout + done.stderr

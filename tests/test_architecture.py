"""The house: the floors of its rooms, the one place of each library, and no way round either."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PACKAGE = ROOT / "miner"

FLOORS = [
    {"errors", "registry", "version", "formatting", "triplets"},
    {"progress"},
    {"storage", "job_sections"},
    {"job", "datasets", "indexes", "census", "runs"},
    {"embedding", "selection"},
    {"inspection", "training"},
    {"pipeline", "torch"},
    {"planning"},
    {"__init__", "cli", "__main__"},
]
"""A room may import rooms of lower floors, and everybody `errors`."""

CLI_MAY_IMPORT = {"miner", "miner.errors", "miner.formatting", "miner.storage.urls"}
CLI_MAY_IMPORT |= {"miner.pipeline.attempt", "miner.progress"}

ONLY = {
    "click": ["cli/"],
    "numba": ["census/kernels/"],
    "filelock": ["storage/", "embedding/", "runs/metrics.py"],
    "threadpoolctl": ["pipeline/engines/"],
    "faiss": ["indexes/"],
    "joblib": ["pipeline/engines/"],
    "distributed": ["pipeline/engines/"],
    "pyarrow": [
        *("datasets/", "runs/", "training/", "inspection/compare/", "storage/remote/"),
        "pipeline/units/in_memory.py",
    ],
    "duckdb": ["datasets/where.py"],
    "bm25s": ["pipeline/candidates/bm25.py"],
    "obstore": ["storage/remote/"],
    "torch": ["embedding/models/", "torch.py", "census/"],
    "timm": ["embedding/models/"],
    "onnxruntime": ["embedding/models/"],
    "requests": ["embedding/models/"],
    "urllib3": ["embedding/models/"],
    "tokenizers": ["embedding/models/"],
    "safetensors": ["embedding/models/"],
    "sentence_transformers": ["embedding/models/"],
    "wordllama": ["embedding/models/"],
    "jinja2": ["inspection/"],
    "PIL": ["datasets/", "embedding/models/", "inspection/report/"],
    "prometheus_client": ["runs/metrics.py"],
    "datasets": ["training/exports/hub.py"],
    "huggingface_hub": ["training/exports/hub.py"],
}
"""Where a library may be imported."""

KNOWN = {"miner", "numpy", *sys.stdlib_module_names}
"""What every file may import; what is in neither table has no place yet."""

DOORS = ["registry.py", "__init__.py", "census/kernels/__init__.py"]
"""Where modules are imported by a name in a string; the registry's are given to `register`."""

FILES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] != "docs"
}


def module_of(file: str) -> str:
    """The dotted name of a file."""
    return "miner." + file.removesuffix(".py").replace("/", ".")


MODULES = {module_of(file) for file in FILES}


def room_of(module: str) -> str:
    """The room that a module lies in."""
    return module.split(".")[1] if "." in module else "__init__"


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported; of ours to the file, ``TYPE_CHECKING`` and functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES
            yield from found or {node.module or ""}


def ours(file: str) -> set[str]:
    """The modules of ours that a file imports."""
    return {name for name in imported(FILES[file]) if name.split(".")[0] == "miner"}


def test_every_room_has_a_floor() -> None:
    assert {room_of(name) for name in MODULES} == set().union(*FLOORS)


def test_rooms_import_lower_floors_only() -> None:
    level = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    upward = [
        f"{file} imports {name}"
        for file in FILES.keys() - {"__init__.py", "__main__.py"}
        for name in ours(file)
        if room_of(name) not in (room_of(module_of(file)), "errors")
        and not file.startswith("cli/")
        and level[room_of(name)] >= level[room_of(module_of(file))]
    ]
    assert not upward


def test_the_command_line_goes_through_the_face() -> None:
    for file in FILES:
        if file.startswith("cli/"):
            beyond = {name for name in ours(file) if not name.startswith("miner.cli.")}
            assert beyond <= CLI_MAY_IMPORT, file


def test_each_library_has_its_place() -> None:
    for file, tree in FILES.items():
        for name in imported(tree):
            library = name.split(".")[0]
            if library in ONLY:
                assert file.startswith(tuple(ONLY[library])), f"{file} imports {library}"
            else:
                assert library in KNOWN, f"{file} imports {library}, which has no place"


def test_no_import_hides_in_a_function_or_a_string() -> None:
    for file in FILES.keys() - set(DOORS):
        registered: set[int] = set()
        for node in ast.walk(FILES[file]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                hidden = [name for name in imported(node) if name.split(".")[0] == "miner"]
                assert not hidden, f"{file}: {node.name} imports {hidden}"
            elif isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                assert name not in ("import_module", "__import__"), f"{file}:{node.lineno}"
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "register":
                registered |= {id(inner) for inner in ast.walk(node)}
            elif isinstance(node, ast.Constant) and id(node) not in registered:
                text = str(node.value).partition(":")[0].removesuffix(".")
                assert text not in MODULES, f"{file}:{node.lineno} names {text}"


def test_no_folder_is_crowded() -> None:
    folders = {Path(file).parent for file in FILES}
    counts = {str(one): sum(Path(file).parent == one for file in FILES) for one in folders}
    assert {one for one, count in counts.items() if count > 14} <= {"census/kernels"}


def test_no_circle() -> None:
    graph = {module_of(file): ours(file) & MODULES for file in FILES if file != "__init__.py"}
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert not graph, f"a circle among {sorted(graph)}"

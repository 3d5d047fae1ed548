"""No code from data, no way out of a folder, nothing without bounds, no secret in what is said."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.formatting import printable, printable_json, short_message
from miner.runs.manifest_schema import manifest_checksum
from miner.storage.json_files import pretty_json
from tests.conftest import Result, write_vectors
from tests.test_package import MODULES, relative

Cli = Callable[..., Result]

BANNED = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "subprocess"}
BANNED |= {"tarfile", "xml", "ctypes", "runpy", "code", "pty", "telnetlib", "ftplib"}
TRUSTING = {"embedding/models/hub/loading.py"}
"""Modules that run a model's own code, if the job says so."""
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "joblib.load"}
CALLS |= {"shutil.unpack_archive"}


def refused(result: Result, code: int, *words: object) -> str:
    """Check the exit code, that the message is one line, and its words."""
    assert result.code == code, result.err
    assert result.err.startswith("mine: error: ") and result.err.count("\n") == 1
    assert len(result.err) < 1800
    for word in words:
        assert str(word) in result.err
    return result.err


# The source


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            assert not BANNED & {name.split(".")[0] for name in names}, names
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert name not in CALLS, f"{path}: {name}"
        if name in ("np.load", "numpy.load"):
            assert given.get("allow_pickle") == "False", ast.unparse(node)
        if name == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(node)
        asked = {"False", "bool(trust)"} if relative(path) in TRUSTING else {"False"}
        assert given.get("trust_remote_code", "False") in asked, ast.unparse(node)
        assert given.get("shell", "False") == "False", ast.unparse(node)


def test_modules_are_named_by_few() -> None:
    """Only what the job names as its model, its network or its teacher is imported."""
    importers = {
        relative(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "import_from_here")
        and not isinstance(node.args[0], ast.Constant)
    }
    models = {f"embedding/models/{name}.py" for name in ("load", "pairs/load", "torch_module")}
    assert importers <= {"__init__.py", "registry.py", "census/kernels/__init__.py"} | models


CODE_KEYS = ["engine.name", "select.strategy", "index.factory", "dataset.path", "mining.metric"]


@pytest.mark.parametrize("key", CODE_KEYS)
def test_other_keys_import_nothing(
    key: str, cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    result = cli("run", "--data", small, "--set", f"{key}=planted:attribute", "--out", "out")
    assert result.code in (2, 3, 6), result
    assert not (tmp_path / "ran").exists() and "planted" not in sys.modules


# Archives and manifests


def forge(run: miner.Run, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a manifest as one would who knows how it is sealed."""
    manifest = json.loads(pretty_json(run.manifest))
    change(manifest)
    manifest["checksum"] = manifest_checksum(manifest)
    (run.path / "manifest.json").write_bytes(pretty_json(manifest))


PATHS = ["../x", "/etc/passwd", "hard/../../x", "hard//x", "./x", "", "a\\b", "hard/\x1b[2Jx", "."]


@pytest.mark.parametrize("command", ["verify", "show", "export"])
@pytest.mark.parametrize("path", PATHS)
def test_manifests_cannot_name_other_folders(
    path: str, command: str, cli: Cli, run: miner.Run
) -> None:
    more = ["--format", "triplet"] if command == "export" else []
    for key in ("shards", "files"):
        forge(run, lambda manifest, key=key: manifest[key][0].update(path=path))
        refused(cli(command, run.path, *more), 6, "manifest.json is damaged", f"{key}[0].path")


FORGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "store": (lambda m: m.update(store="../../x"), "store"),
    "run_id": (lambda m: m.update(run_id="../x"), "run_id"),
    "twice": (lambda m: m["files"].append(m["files"][0]), "census.parquet is named twice"),
    "itself": (lambda m: m["files"][0].update(path="manifest.json"), "named twice"),
    "text": (lambda m: m.update(shards="x"), "shards"),
    "no dict": (lambda m: m["shards"].insert(0, "x"), "shards[0] is not a table"),
    "huge": (lambda m: m["census"].update(valid=10**400), "census.valid"),
    "huge fraction": (lambda m: m["census"].update(valid=1e300), "census.valid"),
    "negative": (lambda m: m["written"]["hard"].update(rows=-1), "written.hard.rows"),
    "flag": (lambda m: m["census"].update(hard=True), "census.hard"),
    "checksum": (lambda m: m["files"][0].update(sha256="../x"), "files[0].sha256"),
    "metric": (lambda m: m["job"]["mining"].update(metric="other"), "job.mining.metric"),
    "unfinished": (lambda m: m.update(status="running"), "not a finished run"),
    "newer": (lambda m: m.update(format_version=3), "made by a newer mine"),
    "much newer": (lambda m: m.update(format_version=10**400), "made by a newer mine"),
    "older than all": (lambda m: m.update(format_version=0), "not a run's manifest"),
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_manifests_are_refused(what: str, cli: Cli, run: miner.Run) -> None:
    change, words = FORGED[what]
    forge(run, change)
    for command in (["verify"], ["show"], ["export", "--format", "pair"]):
        refused(cli(command[0], run.path, *command[1:]), 6, words)
    listed = cli("runs", run.path.parent.parent)
    assert listed.code == 0 and words in listed.err


def test_a_manifest_of_lists_in_lists_is_refused(cli: Cli, run: miner.Run) -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, "NaN", "9" * 5000, '{"format_version": NaN}'):
        (run.path / "manifest.json").write_text(text)
        refused(cli("show", run.path), 6, "manifest.json")


def test_latest_cannot_lead_elsewhere(run: miner.Run) -> None:
    root = run.path.parent.parent
    (root / "latest").unlink()
    (root / "latest").symlink_to("runs/gone")
    with pytest.raises(miner.MineError):
        miner.open_run(root)


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", 7, None, "a\0b"])
def test_saved_data_sets_cannot_name_other_folders(name: Any, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (tmp_path / "x.arrow").write_bytes(b"x")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    refused(cli("run", "--data", folder, "--out", tmp_path / "o"), 3, "cannot lie in this folder")
    for listed in (7, "x", [name], {"filename": name}):
        (folder / "state.json").write_text(json.dumps({"_data_files": listed}))
        refused(cli("init", folder, "--job", tmp_path / "j"), 3, "cannot lie in this folder")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    refused(cli("run", "--data", folder, "--out", tmp_path / "o"), 3, "names no splits")


# Bounds


def data(cli: Cli, path: Path, *more: str) -> Result:
    return cli("run", "--quiet", "--data", path, "--out", path.parent / "out", *more)


DEEP = 100_000
NESTED = {
    "list": "[" * DEEP + "]" * DEEP,
    "object": '{"a":' * DEEP + "1" + "}" * DEEP,
    "open": "[" * DEEP,
    "across": '"' + "x" * (15 << 20) + '", "b": ' + "[" * DEEP + "]" * DEEP,
}
NULLS = {
    "alone": b"null\n",
    "first": b'null\n{"text": "a", "label": 1}\n',
    "blanks": b' \t null \n{"text": "a", "label": 1}\n',
    "mark": b"\xef\xbb\xbfnull\n",
    "inside": b'{"text": "a", "label": 1}\nnull\n',
    "beside": b'null {"text": "a", "label": 1}\n',
    "later": (b'{"label": 1, "text": "' + b"x" * (1 << 20) + b'"}\n') * 17 + b"null\n",
}
MINE_EACH = """
import sys
from miner.cli.main import main
out, *paths = sys.argv[1:]
for path in paths:
    try:
        main(["run", "--data", path, "--out", out])
    except SystemExit as ended:
        print(f"<{path}> {ended.code}", file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What is said of files that Arrow's parser would bring a process down at: exit code, words.

    They are read by a process of their own, one after the other.
    """
    folder, paths = tmp_path_factory.mktemp("lines"), []
    for name, value in NESTED.items():
        line = f'{{"text": "a", "label": 1, "more": {value}}}\n'
        path = folder / f"nested-{name}.jsonl"
        path.write_text('{"text": "[[[", "label": 1, "more": null}\n' * 3 + line)
        paths.append(path)
    for name, content in NULLS.items():
        paths += [folder / f"null-{name}.jsonl", folder / f"null-{name}.jsonl.gz"]
        paths[-2].write_bytes(content)
        paths[-1].write_bytes(gzip.compress(content, 1))
    words = [sys.executable, "-c", MINE_EACH, str(folder / "out"), *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done
    parts = re.findall(r"(.*?)^<(.*?)> (\d+)$", done.stderr, re.MULTILINE | re.DOTALL)
    assert len(parts) == len(paths)
    return {Path(path).name: (int(code), words) for words, path, code in parts}


@pytest.mark.parametrize("kind", NESTED)
def test_deeply_nested_lines_are_refused(kind: str, told: dict[str, tuple[int, str]]) -> None:
    code, said = told[f"nested-{kind}.jsonl"]
    assert code == 3
    assert "line 4" in said or "longer" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", NULLS)
def test_a_line_that_is_null_is_refused(
    place: str, packed: bool, told: dict[str, tuple[int, str]]
) -> None:
    code, said = told[f"null-{place}.jsonl{'.gz' if packed else ''}"]
    assert code == 3
    number = {"inside": 2, "later": 18}.get(place, 1)
    assert f"line {number} is not a JSON object" in said


def test_brackets_in_texts_are_no_nesting(cli: Cli, tmp_path: Path) -> None:
    rows = [{"text": "[{" * 500 + f'\\" {n}', "label": n % 2} for n in range(8)]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert data(cli, path).code == 0


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "qrels"])
@pytest.mark.parametrize("packed", [False, True])
def test_giant_lines_are_refused(kind: str, packed: bool, cli: Cli, tmp_path: Path) -> None:
    starts = {"csv": "text,label\n", "tsv": "text\tlabel\n", "qrels": "1 0 2 1\n"}
    content = starts.get(kind, '{"text": "').encode() + b"x" * (40 << 20)
    path = tmp_path / f"data.{kind}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    if kind == "qrels":
        for name in ("queries", "corpus"):
            (tmp_path / f"{name}.csv").write_text("id,text\n1,a\n2,b\n3,c\n")
        parts = {"queries": "queries.csv", "corpus": "corpus.csv", "links": path.name}
        more = [w for n, f in parts.items() for w in ("--set", f"dataset.{n}={tmp_path / f}")]
        result = cli("run", "--quiet", "--out", tmp_path / "out", *more)
    else:
        result = data(cli, path)
    refused(result, 3, path.name)


def test_a_packed_array_beyond_the_memory_is_refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    header = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 4)}
    np.lib.format.write_array_header_1_0(header, facts)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embedding.npy", header.getvalue() + bytes(1000))
    refused(data(cli, path), 3, "data.npz")
    content = path.read_bytes()
    size = struct.pack("<L", len(header.getvalue()) + 1000)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<L", 2**32 - 2)))
    refused(data(cli, path), 3, "data.npz")


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG whose header says how large it is."""

    def chunk(name: bytes, content: bytes) -> bytes:
        code = zlib.crc32(name + content)
        return struct.pack(">L", len(content)) + name + content + struct.pack(">L", code)

    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


BOMBS = {
    "dimensions": png(2**31 - 1, 2**31 - 1),
    "pixels": png(12_000, 10_000, bytes(12_001 * 10_000)),
    "cut": png(8, 8, bytes(72))[:45],
    "no rows": png(8, 8),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
    "text": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_image_bombs_are_refused(bomb: str, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    for n in range(4):
        folder = tmp_path / "images" / f"c{n % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.png").write_bytes(png(8, 8, bytes(72)))
    (tmp_path / "images" / "c1" / "9.png").write_bytes(BOMBS[bomb])
    refused(data(cli, tmp_path / "images"), 3, "row 4", "c1/9.png")
    more = ["--set", "dataset.on_error=skip", "--set", "gates.min_rows=0"]
    skipped = data(cli, tmp_path / "images", *more)
    assert skipped.code == 0, skipped.err


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/stdin", ".", "pipe", "a\\u0000b"])
def test_images_that_are_no_files_are_refused(place: str, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    os.mkfifo(tmp_path / "pipe")
    rows = [f'{{"image": "{place}", "label": {n % 2}}}\n' for n in range(4)]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(rows))
    refused(data(cli, path), 3, "row 0", "image")


def test_loops_of_links_end(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "data.csv").write_text("text,label\na,x\nb,x\nc,y\nd,y\n")
    (folder / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder)
    assert data(cli, folder).code == 0


def test_job_files_are_bounded(cli: Cli, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    for text in (
        f"a = {'[' * 100_000}",
        f"[model]\noptions = {'{a=' * 5000}1{'}' * 5000}",
        f"[mining]\nmargin = {'9' * 5000}",
        f"[mining]\nmargin = 1{'0' * 400}",
        f'[dataset]\npath = "{"x" * (5 << 20)}"',
        f'[dataset]\npath = "{"x" * 100_000}"',
        f"[dataset]\n{'k' * 100_000} = 1",
        '[dataset]\npath = "a\\u0000b"',
        "\0",
    ):
        job.write_text(text)
        result = cli("run", job, "--out", tmp_path / "out")
        assert result.code in (2, 3), result
        refused(result, result.code)
    for value in ("[" * 100_000, "9" * 5000, "{a=" * 5000):
        refused(cli("run", "--data", "x", "--set", f"mining.margin={value}"), 2, "mining.margin")


# What is printed


def test_control_characters_are_shown_as_escapes() -> None:
    hostile = "a\x1b]0;title\x07\x9b2J\x7f\r\u202eb\ud800\n\tc"
    assert printable(hostile) == "a\\x1b]0;title\\x07\\x9b2J\\x7f\\r\\u202eb\\ud800\n\tc"
    assert short_message(hostile).endswith("\\n\\tc")
    assert printable("Grüße, 世界 🎉") == "Grüße, 世界 🎉"
    shown = printable_json({"a": hostile})
    assert json.loads(shown) == {"a": hostile}
    assert shown.isascii() and "\x1b" not in shown and "\x7f" not in shown
    long = short_message("x" * 10_000 + " end")
    assert len(long) < 1700 and long.endswith(" end")


def test_data_cannot_speak_to_the_terminal(cli: Cli, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b\u202e"
    rows = [{"text": f"{evil}{n}", "id": f"{evil}{n}", "label": f"{evil}{n % 2}"} for n in range(6)]
    path = tmp_path / f"{evil}data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = []
    for extra in (["--out", tmp_path / "o"], ["--json", "--out", tmp_path / "p"]):
        seen.append(cli("run", "--data", path, *extra))
    seen += [cli("show", tmp_path / "o"), cli("show", tmp_path / "o", "--json")]
    seen += [cli("runs", tmp_path / "o"), cli("verify", tmp_path / "o")]
    assert [result.code for result in seen] == [0] * 6
    rows[3]["id"] = rows[2]["id"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen.append(cli("run", "--data", path, "--out", tmp_path / "o"))
    seen.append(cli("run", "--data", path, "--set", f"dataset.label={evil}"))
    seen.append(cli("run", "--data", f"{evil}nowhere"))
    assert [result.code for result in seen[6:]] == [3, 3, 3]
    for result in seen:
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(result.out + result.err)


SECRET = "s3cr3t-Passw0rd"


@pytest.mark.parametrize(
    "settings",
    [
        ["--data", f"s3://user:{SECRET}@bucket/data"],
        ["--out", f"s3://user:{SECRET}@bucket/out"],
        ["--model", f"http:https://user:{SECRET}@host/v1"],
        ["--model", f"http:htp://user:{SECRET}@host/v1"],
        ["--model", f"https://user:{SECRET}@host/v1"],
        ["--model", f"http:https://host/v1?api_key={SECRET}"],
        [
            "--model",
            "http:https://host/v1",
            "--set",
            f'model.options.headers={{"X-Api-Key" = "{SECRET}"}}',
        ],
        ["--model", "http:https://host/v1", "--set", f"model.options.key={SECRET}"],
    ],
)
def test_secrets_are_not_said(settings: list[str], cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("requests")
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,x\nb,x\nc,y\nd,y\n")
    for debug in ([], ["--debug"]):
        given = settings if settings[0] == "--data" else ["--data", str(path), *settings]
        more = [] if "--out" in given else ["--out", str(tmp_path / "out")]
        result = cli(*debug, "run", *given, *more)
        assert result.code == 2, result
        assert SECRET not in result.out + result.err
    assert not any(SECRET in file.read_text(errors="replace") for file in files_of(tmp_path))


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_environment_is_in_no_file(
    cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HF_TOKEN", "MY_SECRET"):
        monkeypatch.setenv(name, SECRET)
    result = cli("run", "--data", small, "--out", tmp_path / "out")
    assert result.code == 0 and SECRET not in result.out + result.err
    content = [path.read_bytes() for path in files_of(tmp_path / "out")]
    assert len(content) > 8 and not any(SECRET.encode() in one for one in content)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_are_only_as_open_as_the_umask_says(mask: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32)
    source = write_vectors(tmp_path / "v.parquet", vectors, [n % 3 for n in range(12)])
    before = os.umask(mask)
    try:
        miner.mine({"dataset": {"path": str(source)}, "output": {"path": str(tmp_path / "out")}})
    finally:
        os.umask(before)
    for path in (tmp_path / "out").rglob("*"):
        if not path.is_symlink():
            assert not path.stat().st_mode & mask, path

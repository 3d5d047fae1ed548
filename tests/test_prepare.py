"""The script that prepares real data sets, and the jobs that mine them."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import miner
from tests.conftest import ROOT

SCRIPT = ROOT / "sample_data" / "prepare.py"


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_line_of_wordnet(prepare: ModuleType) -> None:
    head = "00001740 03 n 02 entity 0 living_thing 1 002 ~ 00001930 n 0000 @ 00002137 n 0000"
    line = f'{head} | that which is; "x"  '
    assert prepare.synset(line, "noun") == (
        "noun.00001740",
        'that which is; "x"',
        "noun.Tops",
        "noun.00002137",
        "entity, living thing",
    )
    line = "00003131 00 s 01 galore(ip) 0 001 & 00013887 a 0000 | plentiful"
    assert prepare.synset(line, "adj")[2:] == ("adj.all", "adj.00013887", "galore")


def test_codes_become_texts_and_pairs(prepare: ModuleType) -> None:
    chain = ["A00.0", "A00", "A00-A09", "1"]
    codes = [
        prepare.Code("A00", "Cholera", [], chain[1:]),
        prepare.Code("A00.0", "Classical cholera", ["Asiatic", "Epidemic"], chain),
    ]
    rows = prepare.icd10_texts(codes).to_pylist()
    assert [row["id"] for row in rows] == ["A00", "A00.0", "A00.0#1", "A00.0#2"]
    assert {row["label"] for row in rows} == {"A00"} and rows[2]["text"] == "Asiatic"
    tables = prepare.icd10_pairs(codes)
    assert tables["queries"]["id"].to_pylist() == ["A00.0#1", "A00.0#2"]
    assert tables["links"]["corpus_id"].to_pylist() == ["A00.0", "A00.0"]


def test_pixels_are_exact_or_refused(prepare: ModuleType) -> None:
    levels = np.arange(784) % 256
    found = prepare.grey(np.round(levels / 255, 3).tolist())
    np.testing.assert_array_equal(found.reshape(-1), levels)
    with pytest.raises(prepare.PrepareError, match="28 x 28"):
        prepare.grey([0.5004] * 784)


def test_a_set_is_there_whole_or_not_at_all(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(target: Path, downloads: Path) -> str:
        (target / "a").write_text("half")
        raise prepare.PrepareError("the index is gone")

    def whole(target: Path, downloads: Path) -> str:
        (target / "a").write_text("whole")
        return "made"

    monkeypatch.setitem(prepare.MAKERS, "mnist", half)
    assert prepare.main(["mnist", "--into", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(prepare.MAKERS, "mnist", whole)
    assert prepare.main(["mnist", "--into", str(tmp_path)]) == 0
    monkeypatch.setitem(prepare.MAKERS, "mnist", half)
    assert prepare.main(["mnist", "--into", str(tmp_path)]) == 0  # it is there
    assert prepare.main(["mnist", "--into", str(tmp_path), "--force"]) == 1
    assert (tmp_path / "mnist" / "a").read_text() == "whole"


def test_without_npm(
    prepare: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert prepare.main(["wordnet", "--into", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "apt-get install npm" in said


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.toml")), ids=lambda path: path.stem)
def test_every_job_is_one(path: Path) -> None:
    job = miner.load_job(path)
    assert job.output.path.startswith("mined") and job.mining.margin > 0


COUNTS: dict[str, dict[str, int]] = {
    "icd10": {"items": 110_755, "classes": 1_918},
    "icd10-terms": {"queries": 12_569, "corpus": 98_186, "links": 12_569},
    "wordnet": {"items": 117_791, "classes": 45},
    "mnist": {"items": 10_000, "classes": 10},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_real_sets_have_the_counts_that_are_known(name: str, tmp_path: Path) -> None:
    """Prepares the set for real; a plan counts what a job of it would mine."""
    if name.startswith("icd10"):
        pytest.importorskip("simple_icd_10_cm")
    elif shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    (tmp_path / "sample_data").mkdir()
    place = tmp_path / "sample_data" / "prepared"
    command = [sys.executable, str(SCRIPT), name, "--into", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "index reachable" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    job = ROOT / "jobs" / f"{name.replace('-', '_')}.toml"
    plan = [sys.executable, "-m", "miner", "plan", str(job), "--json"]
    ran = subprocess.run(plan, cwd=tmp_path, capture_output=True, text=True, check=True)
    facts = json.loads(ran.stdout)
    assert {key: facts["dataset"][key] for key in COUNTS[name]} == COUNTS[name]
    assert facts["valid"] > 0
    if name == "mnist":
        assert 9.0e10 < facts["valid"] < 9.1e10

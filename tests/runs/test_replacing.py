"""What a user names as output is replaced only if `mine` made it, and whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import miner
from tests.conftest import ROOT, Result

Cli = Callable[..., Result]
Writing = dict[str, tuple[list[object], str]]


@pytest.fixture
def writing(run: miner.Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> Writing:
    """Commands that write a file, each with the option that names it; the file comes last."""
    root = run.path.parent.parent
    monkeypatch.chdir(root.parent)
    return {
        "report": (["report", root], "--output"),
        "compare": (["compare", root, root], "--output"),
        "init": (["init", small], "--job"),
        "run": (["run", "--data", small, "--out", root], "--metrics"),
    }


def test_what_mine_did_not_make_is_kept(cli: Cli, writing: Writing, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    for words, option in writing.values():
        table.write_text("name,score\n")
        refused = cli(*words, option, table)
        assert (refused.code, refused.out) == (2, "") and refused.err.count("\n") == 1
        assert str(table) in refused.err and option in refused.err
        assert table.read_text() == "name,score\n"
        if "--force" in refused.err:
            assert cli(*words, option, table, "--force").code == 0
            assert "name,score" not in table.read_text()


def test_what_mine_made_is_replaced(cli: Cli, writing: Writing, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.touch()  # as mktemp leaves it
    page.chmod(0o640)
    for name in ("report", "compare", "report"):
        words, option = writing[name]
        assert cli(*words, option, page).code == 0
    assert page.read_bytes().startswith(b"<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o640
    page.chmod(0o440)
    assert "read-only" in cli(*words, option, page).err
    words, option = writing["run"]
    for _ in range(2):
        assert cli(*words, option, tmp_path / "m.prom").code == 0
    assert cli(*words, option, page).code == 2


def test_a_link_stays_a_link(cli: Cli, writing: Writing, tmp_path: Path) -> None:
    link, real = tmp_path / "link", tmp_path / "real"
    link.symlink_to("real")
    for words, option in writing.values():
        real.unlink(missing_ok=True)
        assert cli(*words, option, link).code == 0
        assert link.is_symlink() and real.stat().st_size
    link.unlink()
    link.symlink_to("link")
    for words, option in writing.values():
        assert cli(*words, option, link).code == 2


def test_what_can_hold_no_file_is_refused(cli: Cli, writing: Writing, run: miner.Run) -> None:
    file = run.path.parent.parent / "a file"
    file.write_text("x")
    places = (file.parent, file / "page", "s3://bucket/page")
    for words, option in writing.values():
        force = [] if option == "--metrics" else ["--force"]
        for place in (*places, run.path / "page", run.path / "metrics.prom"):
            refused = cli(*words, option, place, *force)
            assert (refused.code, refused.out) == (2, "")
            assert option in refused.err and refused.err.count("\n") == 1
    refused = cli("export", run.path, "--format", "ids", "--out", file / "page")
    assert refused.code == 2 and "is a file, not a folder" in refused.err
    assert miner.verify_run(run).problems == []


def test_stdout_takes_the_file_and_stderr_the_words(cli: Cli, writing: Writing) -> None:
    begins = {"init": "# A job", "run": "# HELP mine_"}
    for name, (words, option) in writing.items():
        done = cli(*words, option, "/dev/stdout")
        assert done.code == 0 and done.out.startswith(begins.get(name, "<!doctype html>"))
        assert "wrote" not in done.out and done.err
        assert cli(*words, option, "/dev/null").code == 0
    assert Path("/dev/null").is_char_device() and not Path("/dev/.stdout.lock").exists()


@pytest.mark.parametrize("name", ["latest", "latest.json"])
def test_a_run_keeps_what_others_put_in_its_folder(
    cli: Cli, small: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    words = ("run", "--data", small, "--out", out, "--max-triplets", "0", "--quiet")
    out.mkdir()
    (out / name).write_text('{"best": 1}')
    (out / "metrics.prom").write_text("other_items 3\n")
    refused = cli(*words)
    assert refused.code == 2 and f"{out / name} was not made by mine" in refused.err
    assert (out / name).read_text() == '{"best": 1}'
    (out / name).unlink()
    done = cli(*words)
    assert done.code == 0 and "metrics.prom cannot be written" in done.err
    assert (out / "metrics.prom").read_text() == "other_items 3\n"


def test_a_job_file_is_written_whole_or_not(small: Path, tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text("# mine\n")
    words = f"{sys.executable} -m miner init {small} --job {job} --force"
    script = ["sh", "-c", f"ulimit -f 0; exec {words}"]  # as on a full disk, but for the error
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 6 and "nothing was written" in done.stderr
    assert job.read_text() == "# mine\n"
    assert [path.name for path in tmp_path.glob("*job*")] == ["job.toml"]

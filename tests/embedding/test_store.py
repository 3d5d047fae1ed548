"""The embedding store: nothing is embedded twice, and nothing stale is used."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.embedding.cache import open_generation
from miner.embedding.eviction import list_kept
from miner.embedding.store import open_store
from miner.errors import DataError, EngineError, LockError
from miner.storage.locks import lock_output
from tests.conftest import Result
from tests.durable import Crash, at_rename, crash
from tests.faults.jobs import payload

MODEL = '''
import os
import time
from pathlib import Path

import numpy as np

from miner import Model

HERE = Path(__file__).parent


class Counting(Model):
    """Vectors of character counts; every batch is noted in a file."""

    def __init__(self, version="1", die=0):
        self.version, self.die = version, die

    def embed(self, batch):
        with (HERE / "calls.txt").open("a") as file:
            file.write(f"{len(batch)}\\n")
        seen = sum(map(int, (HERE / "calls.txt").read_text().split()))
        if self.die and seen >= self.die:
            os.kill(os.getpid(), 9)
        scale = 2.0 if self.version == "2" else 1.0
        rows = [
            [1 + t.count(c) + scale * (len(t) % 7 == n) for n, c in enumerate("abcdefgh")]
            for t in batch
        ]
        return np.asarray(rows, dtype=np.float32)

    def weights(self):
        return (HERE / "weights.txt").read_text()

    def facts(self):
        return {"version": self.version}


def function(batch):
    return Counting().embed(batch)
'''


class Desk:
    """A folder with the counting model, and data that can grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "counting.py").write_text(MODEL)
        (folder / "weights.txt").write_text("one")
        self.clear()

    def clear(self) -> None:
        (self.folder / "calls.txt").write_text("")

    @property
    def calls(self) -> int:
        """How many rows went through the model since the last look."""
        count = sum(map(int, (self.folder / "calls.txt").read_text().split()))
        self.clear()
        return count

    def data(self, rows: int, name: str = "data.parquet") -> Path:
        rng = np.random.default_rng(5)
        texts = ["".join(rng.choice(list("abcdefgh "), 12)) + f" {n}" for n in range(rows)]
        labels = [n % 10 for n in range(rows)]
        pq.write_table(pa.table({"text": texts, "label": labels}), self.folder / name)
        return self.folder / name

    def job(self, path: Path, out: str = "out", **sections: Any) -> dict[str, Any]:
        return {
            "dataset": {"path": str(path), **sections.pop("dataset", {})},
            "model": {"name": "counting:Counting", "batch_size": 16, **sections.pop("model", {})},
            "mining": {"margin": 0.1, **sections.pop("mining", {})},
            "select": {"max_triplets": 100},
            "output": {"path": str(self.folder / out)},
            "gates": {"min_rows": 0},
            **sections,
        }

    def mine(self, path: Path, out: str = "out", **sections: Any) -> miner.Run:
        return miner.mine(self.job(path, out, **sections))

    def spawn(self, path: Path, *settings: str, out: str = "out") -> subprocess.Popen[str]:
        command = ["run", "--data", str(path), "--model", "counting:Counting", "--out", out]
        given = ("model.batch_size=16", "output.report=false", *settings)
        more = [word for text in given for word in ("--set", text)]
        return subprocess.Popen(
            [sys.executable, "-m", "miner", *command, "--max-triplets", "100", *more],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "counting", raising=False)
    monkeypatch.delenv("MINE_CACHE", raising=False)
    return Desk(tmp_path)


def vectors(run: miner.Run) -> bytes:
    folder = run.path.parent.parent / ".store" / run.manifest["store"]
    return (folder / "vectors-0.f32").read_bytes()


def test_another_margin_or_normalisation_embeds_nothing(desk: Desk) -> None:
    path = desk.data(300)
    desk.mine(path)
    assert desk.calls == 300
    run = desk.mine(path, mining={"margin": 0.3})
    assert run.manifest["embedding"]["computed"] == desk.calls == 0
    run = desk.mine(path, mining={"normalize": False})
    assert run.manifest["embedding"]["computed"] == desk.calls == 0


@pytest.mark.slow
def test_one_percent_more_rows_embed_one_percent(desk: Desk) -> None:
    desk.mine(desk.data(1000))
    assert desk.calls == 1000
    grown = desk.data(1010)
    run = desk.mine(grown)
    facts = run.manifest["embedding"]
    assert (facts["rows"], facts["computed"], facts["reused"]) == (1010, 10, 1000)
    assert desk.calls == 10
    fresh = desk.mine(grown, "fresh")
    assert vectors(fresh) == vectors(run)


def test_a_retrained_checkpoint_under_the_same_name_embeds_everything(desk: Desk) -> None:
    """A peer keeps vectors by file name and mines those of the checkpoint before."""
    path = desk.data(100)
    first = desk.mine(path)
    (desk.folder / "weights.txt").write_text("two")
    second = desk.mine(path)
    assert second.manifest["embedding"]["computed"] == 100
    assert desk.calls == 200
    assert first.manifest["model"]["weights"] != second.manifest["model"]["weights"]
    third = desk.mine(path, model={"options": {"version": "2"}})
    assert desk.calls == 100
    assert vectors(third) != vectors(second)


def test_a_function_is_known_by_what_it_does(desk: Desk) -> None:
    """It has no weights to look at: eight rows stand for them, as it begins and now and then."""
    model = {"name": "counting:function"}
    run = desk.mine(desk.data(200), model=model)
    assert run.manifest["embedding"]["embedded"] == 200
    probes, rest = divmod(desk.calls - 200, 8)
    assert 1 <= probes <= 13 and rest == 0  # after a batch, at most, and not of the first eight
    run = desk.mine(desk.data(210), model=model)
    assert (run.manifest["embedding"]["computed"], desk.calls) == (10, 10 + 2 * 8)
    source = desk.folder / "counting.py"
    source.write_text(MODEL.replace("1 + t.count", "2 + t.count"))
    del sys.modules["counting"]
    shutil.rmtree(desk.folder / "__pycache__", ignore_errors=True)
    run = desk.mine(desk.data(210), model=model)
    assert run.manifest["embedding"]["computed"] == 210


def test_a_prompt_is_part_of_what_was_embedded(desk: Desk) -> None:
    path = desk.data(50)
    plain = desk.mine(path)
    prompted = desk.mine(path, model={"prompt": "hhh "})
    assert desk.calls == 100
    assert vectors(plain) != vectors(prompted)


def test_equal_contents_are_embedded_once(desk: Desk) -> None:
    texts = [f"text {n % 40}" for n in range(200)]
    path = desk.folder / "same.parquet"
    pq.write_table(pa.table({"text": texts, "label": [n % 40 % 4 for n in range(200)]}), path)
    run = desk.mine(path)
    facts = run.manifest["embedding"]
    assert (facts["rows"], facts["computed"], facts["embedded"], desk.calls) == (200, 200, 40, 40)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("at", [1, 200, 990])
def test_a_killed_embedding_goes_on_where_it_stopped(at: int, desk: Desk) -> None:
    """Killed by SIGKILL in the model; the model then sees what is left, and one batch more."""
    path = desk.data(1000)
    died = desk.spawn(path, f"model.options.die={at}")
    died.communicate()
    assert died.returncode == -signal.SIGKILL
    before = desk.calls
    run = desk.mine(path, mining={"margin": 0.2}, model={"options": {"die": 0}})
    rest = desk.calls
    assert rest <= 1000 - before + 16 and before >= at
    assert vectors(run) == vectors(desk.mine(path, "fresh", mining={"margin": 0.2}))


@pytest.mark.slow
def test_two_runs_at_once_share_a_cache(desk: Desk) -> None:
    path = desk.data(600)
    runs = [desk.spawn(path, "cache.path=shared", out=name) for name in ("a", "b")]
    for one in runs:
        _, err = one.communicate(timeout=120)
        assert one.returncode == 0, err
    assert 600 <= desk.calls <= 1200
    first, second = (miner.open_run(desk.folder / name / "latest") for name in ("a", "b"))
    assert vectors(first) == vectors(second)
    third = desk.mine(path, "c", cache={"path": "shared"})
    assert third.manifest["embedding"]["reused"] == 600
    assert desk.calls == 0


def test_the_cache_can_be_named_by_the_environment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_CACHE", str(desk.folder / "everywhere"))
    path = desk.data(40)
    desk.mine(path, "a")
    desk.mine(path, "b")
    assert desk.calls == 40
    assert not (desk.folder / "a" / ".cache").exists()


def test_a_damaged_vector_is_embedded_again(desk: Desk) -> None:
    path = desk.data(64)
    run = desk.mine(path)
    expected = vectors(run)
    (segment,) = (desk.folder / "out" / ".cache").glob("*/segment-00.vectors")
    content = bytearray(segment.read_bytes())
    content[40] ^= 1
    segment.write_bytes(content)
    shutil.rmtree(desk.folder / "out" / ".store")
    desk.calls  # noqa: B018  the counter starts anew
    again = desk.mine(path, mining={"margin": 0.3})
    assert vectors(again) == expected
    assert desk.calls == 1


def other_vectors(desk: Desk) -> None:
    """Let the model give other vectors, but say that it has the same weights; forget the old."""
    source = desk.folder / "counting.py"
    source.write_text(MODEL.replace("1 + t.count", "2 + t.count"))
    del sys.modules["counting"]
    shutil.rmtree(desk.folder / "__pycache__", ignore_errors=True)
    for name in (".store", ".cache"):
        shutil.rmtree(desk.folder / "out" / name)


def test_verify_knows_a_store_that_was_made_again_with_other_vectors(desk: Desk) -> None:
    path = desk.data(60)
    first = desk.mine(path)
    other_vectors(desk)
    second = desk.mine(path, mining={"margin": 0.2})
    assert second.manifest["store"] == first.manifest["store"]
    (problem,) = miner.verify_run(first).problems
    assert "was made again with other vectors" in problem
    assert miner.verify_run(second).problems == []


def test_an_unfinished_run_is_not_continued_on_other_vectors(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = desk.data(60)
    with monkeypatch.context() as patched, pytest.raises(Crash):
        at_rename("work/write-00001-hard.bin", crash, patch=patched.setattr)
        desk.mine(path, engine={"workers": 1})  # a second thread would go on writing
    other_vectors(desk)
    run = desk.mine(path)
    (said,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "store with other vectors; the unfinished run is made again" in said
    fresh = desk.mine(path, "fresh")
    assert payload(run.path) == payload(fresh.path)


def test_torn_ends_are_cut_off(tmp_path: Path) -> None:
    digests = np.frombuffer(np.random.default_rng(0).bytes(16 * 6), dtype="V16")
    rows = np.arange(24, dtype=np.float32).reshape(6, 4)
    with open_generation(tmp_path, {"model": "m"}) as generation:
        generation.append(digests[:4], rows[:4])
        folder = generation.folder
    for name, extra in (("vectors", b"abc"), ("keys", b"x" * 30)):
        with (folder / f"segment-00.{name}").open("ab") as file:
            file.write(extra)
    with open_generation(tmp_path, {"model": "m"}) as generation:
        assert (generation.find(digests)[:, 0] >= 0).tolist() == [True] * 4 + [False] * 2
        generation.append(digests[4:], rows[4:])
        generation.refresh()
        found, whole = generation.read(digests, generation.find(digests))
    assert whole.all()
    np.testing.assert_array_equal(found, rows)


def test_the_room_is_bounded(desk: Desk, cli: Callable[..., Result]) -> None:
    path = desk.data(100)
    for number in range(4):
        (desk.folder / "weights.txt").write_text(f"w{number}")
        desk.mine(path, cache={"max_size": "1KB"})
    out = desk.folder / "out"
    kinds = [one.kind for one in list_kept(out / ".cache", out / ".store")]
    assert sorted(kinds) == ["cache", "store"]  # those of the last run
    listed = cli("cache", out)
    assert listed.code == 0 and "counting:Counting" in listed.out
    assert "2 removed" in cli("prune", out, "--vectors", "0").out
    assert "0 B are kept" in cli("cache", out).out
    assert list_kept(out / ".cache", out / ".store") == []
    run = desk.mine(path, mining={"margin": 0.4})
    assert run.manifest["embedding"]["computed"] == 100


def test_what_is_in_use_is_not_pruned(desk: Desk, cli: Callable[..., Result]) -> None:
    desk.mine(desk.data(50))
    (described,) = (desk.folder / "out" / ".cache").glob("*/model.json")
    held = json.loads(described.read_text())
    name = held.pop("id")
    with open_generation(described.parent.parent, held, name) as generation:
        assert generation.folder == described.parent
        assert cli("prune", desk.folder / "out", "--vectors", "0").code == 0
        assert described.exists()
    cli("prune", desk.folder / "out", "--vectors", "0")
    assert not described.exists()


def test_cache_errors_are_plain(desk: Desk, cli: Callable[..., Result]) -> None:
    for command in ("cache", "runs"):  # a folder that is named must be there
        said = cli(command, "nowhere")
        assert said.code == 2 and "nowhere: no such folder" in said.err and not said.out
        assert cli(command).code == 0  # the default one may not be there yet
        assert not Path("mined").exists()
    desk.mine(desk.data(50))
    assert cli("prune", "out", "--vectors", "much").code == 2
    said = cli("cache", "out", "--prune", "1GiB")
    assert said.code == 2 and "type `mine prune out --vectors 1GiB`" in said.err
    with lock_output(Path("out")):
        result = cli("prune", "out", "--vectors", "0")
    assert result.code == LockError.exit_code


class Hungry(miner.Model):
    """A model that has no room for more than three texts."""

    calls: list[int]

    def __init__(self, most: int = 3) -> None:
        self.most = most
        Hungry.calls = []

    def embed(self, batch: Sequence[str]) -> np.ndarray:
        Hungry.calls.append(len(batch))
        if len(batch) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return np.array([[len(t), t.count("a") + 1.0] for t in batch], dtype=np.float32)

    def weights(self) -> str:
        return "none"


def test_batches_shrink_when_memory_runs_out(desk: Desk) -> None:
    path = desk.data(60)
    run = desk.mine(path, model={"name": "tests.embedding.test_store:Hungry"})
    assert run.manifest["embedding"]["batch_size"] == 2
    assert run.manifest["embedding"]["computed"] == 60
    assert sum(Hungry.calls[:1]) == 8 and max(Hungry.calls[8:]) <= 4
    with pytest.raises(EngineError, match=r"row \d+.*no memory even for this row"):
        options = {"most": 0}
        desk.mine(path, model={"name": "tests.embedding.test_store:Hungry", "options": options})


def test_a_broken_model_is_found_before_the_data_is_read(desk: Desk) -> None:
    path = desk.data(50)
    source = (desk.folder / "counting.py").read_text()
    (desk.folder / "counting.py").write_text(source.replace("1 + t.count(c)", "float('nan')"))
    stages: list[str] = []
    with pytest.raises(DataError, match=r"row 0: the vector holds NaN"):
        miner.run_job(
            miner.parse_job(desk.job(path)),
            progress=lambda stage, done, total: stages.append(stage),
        )
    assert stages == []


def test_blank_texts_stop_a_run_or_are_counted(desk: Desk) -> None:
    texts = ["abc", "  ", "cab", None, "bed", "deb", ""]
    path = desk.folder / "blank.parquet"
    table = {"id": list("uvwxyz!"), "text": texts, "label": [0, 0, 0, 1, 1, 1, 0]}
    pq.write_table(pa.table(table), path)
    with pytest.raises(DataError, match=r"row 1 \(id 'v'\).*empty text.*on_error"):
        desk.mine(path)
    run = desk.mine(path, dataset={"on_error": "skip"})
    assert run.manifest["dataset"]["skipped"]["unreadable"] == 3
    assert run.census()["anchor_id"].to_pylist() == ["u", "w", "y", "z"]


def test_where_and_anchors_choose_rows(desk: Desk) -> None:
    rng = np.random.default_rng(2)
    rows = 80
    splits = rng.choice(["train", "test"], rows).tolist()
    years = rng.integers(2000, 2010, rows).tolist()
    table = {
        "text": ["".join(rng.choice(list("abcdef"), 9)) for _ in range(rows)],
        "label": rng.integers(0, 5, rows).tolist(),
        "split": splits,
        "year": years,
    }
    path = desk.folder / "chosen.parquet"
    pq.write_table(pa.table(table), path)
    chosen = {"where": "split = 'train'", "anchors": "year >= 2005"}
    run = desk.mine(path, dataset=chosen, select={"max_triplets": 1_000_000})
    train = [n for n in range(rows) if splits[n] == "train"]
    anchors = [n for n in train if years[n] >= 2005]
    census = run.census().to_pydict()
    assert census["anchor_id"] == anchors  # ids are the rows of the file
    for anchor, positives, negatives in zip(
        anchors, census["positives"], census["negatives"], strict=True
    ):
        same = [n for n in train if table["label"][n] == table["label"][anchor] and n != anchor]
        assert (positives, negatives) == (len(same), len(train) - len(same) - 1)
    facts = run.manifest["dataset"]
    assert facts["skipped"]["filtered"] == rows - len(train)
    assert (facts["items"], facts["anchors"]) == (len(train), len(anchors))
    whole = desk.mine(path, dataset={"where": "split = 'train'"}, select={"max_triplets": 10**6})
    picked = [census["hard"][n] for n in range(len(anchors))]
    every = dict(
        zip(
            whole.census()["anchor_id"].to_pylist(), whole.census()["hard"].to_pylist(), strict=True
        )
    )
    assert picked == [every[anchor] for anchor in anchors]
    ids = set(run.triplets("hard").to_table()["anchor_id"].to_pylist())
    assert ids <= set(anchors)
    assert miner.verify_run(run, full=True).problems == []


def test_a_table_of_pairs(desk: Desk) -> None:
    table = {
        "anchor": ["aa", "aa", "bb", "cc", "aa"],
        "positive": ["ab", "ac", "bd", "cd", "ab"],
        "split": ["x", "x", "x", "x", "y"],
    }
    path = desk.folder / "pairs.parquet"
    pq.write_table(pa.table(table), path)
    run = desk.mine(path, mining={"margin": 3.0, "normalize": False})
    facts = run.manifest["dataset"]
    assert (facts["queries"], facts["corpus"], facts["links"]) == (3, 4, 4)
    assert run.census()["anchor_id"].to_pylist() == [0, 2, 3]
    assert run.census()["positives"].to_pylist() == [2, 1, 1]
    few = desk.mine(path, dataset={"where": "split = 'y' or anchor = 'bb'"})
    assert (few.manifest["dataset"]["queries"], few.manifest["dataset"]["links"]) == (2, 2)
    assert few.census()["anchor_id"].to_pylist() == [2, 4]


def test_lists_of_labels(desk: Desk) -> None:
    table = {
        "text": ["ab", "abc", "bcd", "cde", "def", "e"],
        "label": [["x"], ["x", "y"], ["y"], ["z"], ["z", "x"], []],
    }
    path = desk.folder / "lists.parquet"
    pq.write_table(pa.table(table), path)
    run = desk.mine(path)
    assert run.manifest["dataset"]["skipped"]["unlabelled"] == 1
    assert run.manifest["dataset"]["classes"] == 3
    census = run.census()
    assert census["positives"].to_pylist() == [2, 3, 1, 1, 3]
    assert census["negatives"].to_pylist() == [2, 1, 3, 3, 1]


def test_a_process_maps_the_vectors_once(desk: Desk) -> None:
    """Each mapping of a file counts its pages again as memory of the process."""
    miner.mine(desk.job(desk.data(40)))
    folder = next(path.parent for path in desk.folder.rglob("vectors-0.f32"))
    one, other = (open_store(folder) for _ in range(2))
    assert one and other and np.shares_memory(one.vectors(0), other.vectors(0))
    before = one.vectors(0)
    whole = (folder / "vectors-0.f32").read_bytes()
    (folder / "new").write_bytes(whole[::-1])
    (folder / "new").rename(folder / "vectors-0.f32")
    assert not np.shares_memory(before, other.vectors(0))
    assert other.vectors(0).tobytes() == whole[::-1]

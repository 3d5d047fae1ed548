"""`engine.device`: the same bytes on each device, what a machine without a GPU says, many GPUs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.census.device import devices
from miner.census.device.devices import Device, open_device
from miner.embedding.models.base import Model
from miner.embedding.models.load import load_model, placed
from miner.errors import UsageError
from miner.selection.strategies.base import STRATEGIES
from tests.conftest import ROOT, Result, write_vectors
from tests.durable import Crash, at_rename, crash
from tests.operating import end, start
from tests.pipeline.engines.data import payload, write_pairs

TORCH = "torch:cpu"
"""PyTorch's own CPU device: the code of a GPU, on any machine."""

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
SELECTIONS: list[dict[str, Any]] = [
    *({"strategy": name} for name in STRATEGIES.names()),
    {"max_triplets": 100},
    {"strategy": "hardest", "options": {"k": 3}, "relative_margin": 0.05, "suspects": True},
    {"strategy": "uniform", "max_score": 0.4, "per_negative": 5},
    {"strategy": "semi-hard", "skip_nearest": 2, "ranks": [0, 40]},
    {"denoise": True},
]


def name_of(select: dict[str, Any]) -> str:
    return "-".join(str(select.get("strategy", key)) for key in select)


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, Any]:
    """Vectors in five classes, with ties within and across them."""
    rows = np.random.default_rng(3).standard_normal((150, 6)).astype(np.float32)
    rows[140:] = rows[:10]
    data = write_vectors(tmp_path / "rows.parquet", rows, [f"c{n % 5}" for n in range(150)])
    return {"path": str(data)}


def mined(dataset: dict[str, Any], out: Path, device: str, **sections: Any) -> miner.Run:
    engine = {"device": device, "workers": 2} | sections.pop("engine", {})
    return miner.mine(
        {"dataset": dataset, "output": {"path": str(out)}, "engine": engine, **sections}
    )


@needs_torch
@pytest.mark.sampled(6)
@pytest.mark.parametrize("select", SELECTIONS, ids=name_of)
@pytest.mark.parametrize("pairs", [False, True], ids=["items", "pairs"])
def test_the_same_bytes_on_each_device(
    pairs: bool, select: dict[str, Any], labelled: dict[str, Any], tmp_path: Path
) -> None:
    """Shards, the census and the tables; the mean loss may differ in its last digit."""
    if pairs and select.get("denoise"):
        pytest.skip("pairs have no labels")
    dataset: dict[str, Any] = write_pairs(tmp_path) if pairs else labelled
    cpu, torch = (
        mined(dataset, tmp_path / device.replace(":", "-"), device, select=select)
        for device in ("cpu", TORCH)
    )
    assert payload(cpu) == payload(torch)
    counted = [dict(run.manifest["census"]) for run in (cpu, torch)]
    assert counted[0].pop("mean_loss") == pytest.approx(counted[1].pop("mean_loss"), rel=1e-6)
    assert counted[0] == counted[1]
    assert (cpu.manifest["device"], torch.manifest["device"]) == ("cpu", TORCH)
    assert not miner.verify_run(torch, full=True).problems


@needs_torch
def test_vectors_in_memory_are_selected_on_a_device() -> None:
    rows = np.random.default_rng(7).standard_normal((200, 9)).astype(np.float32)
    codes = np.arange(200) % 12
    cpu = miner.select(rows, codes, margin=0.3, device="cpu")
    assert cpu.num_rows > 500
    assert cpu.equals(miner.select(rows, codes, margin=0.3, device=TORCH))
    torch = pytest.importorskip("torch")
    with torch.autocast("cpu"):  # of a training loop: it would multiply in bfloat16
        assert cpu.equals(miner.select(rows, codes, margin=0.3, device=TORCH))
    with pytest.raises(UsageError, match="is no device"):
        miner.select(rows, codes, device="gpu")


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("job", ["default", "handbook", "support_requests"])
def test_sample_jobs_have_the_same_bytes(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    found = []
    for device in ("cpu", TORCH):
        out = tmp_path / device.replace(":", "-")
        keys = {"output.path": str(out), "engine.device": device}
        found.append(payload(miner.mine(miner.load_job(f"jobs/{job}.toml", keys))))
    assert found[0] == found[1]


@needs_torch
@pytest.mark.filterwarnings(r"ignore:.*\d+ tasks :UserWarning")  # pytest forgets our own filter
@pytest.mark.parametrize("order", [("cpu", TORCH), (TORCH, "cpu")], ids=["to-torch", "to-cpu"])
def test_a_run_that_ended_early_goes_on_with_another_device(
    order: tuple[str, str],
    labelled: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends after a few units are counted, and again while it writes."""
    select = {"strategy": "hardest", "options": {"k": 2}}
    whole = payload(mined(labelled, tmp_path / "whole", "cpu", select=select))
    out = tmp_path / "out"
    for pattern, device in (("work/count-?????.json", order[0]), ("work/write-*.json", order[1])):
        with monkeypatch.context() as patched:
            at_rename(pattern, crash, 3, patch=patched.setattr)
            with pytest.raises(Crash):
                mined(labelled, out, device, select=select)
    last = mined(labelled, out, order[1], select=select)
    assert payload(last) == whole


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("order", [("cpu", TORCH), (TORCH, "cpu")], ids=["to-torch", "to-cpu"])
@pytest.mark.parametrize(
    ("engine", "pattern"),
    [
        ("threads", "work/count-?????.json"),
        ("threads", "part-*"),
        ("processes", "work/count-?????.json"),
        ("processes", "work/write-*.json"),
    ],
)
def test_a_killed_run_goes_on_with_another_device(
    engine: str, pattern: str, order: tuple[str, str], labelled: dict[str, Any], tmp_path: Path
) -> None:
    whole = payload(mined(labelled, tmp_path / "whole", "cpu"))
    dies = f"from tests.durable import at_rename, die\nat_rename({pattern!r}, die, 2)\n"
    main = "from miner.cli.main import main\nmain()\n"
    words = ["run", "--data", labelled["path"], "--out", tmp_path / "out", "--engine", engine]
    first, last = (
        end(start(code, *words, "--set", f"engine.device={device}"))
        for code, device in zip((dies + main, main), order, strict=True)
    )
    assert (first.code, last.code) == (9, 0)
    assert payload(miner.open_run(tmp_path / "out")) == whole


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "'gpu' is no device; it is one of auto, cpu, cuda, or one GPU of several"),
        ("cuda:x", "'cuda:x' is no device"),
        ("", "'' is no device"),
    ],
)
def test_names_that_are_no_device(
    device: str, said: str, labelled: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        mined(labelled, tmp_path / "out", device)


@needs_torch
@pytest.mark.skipif(devices.has_gpu(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there_is_missed_before_any_work(
    device: str, small: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    result = cli("run", "--data", small, "--out", out, "--set", f"engine.device={device}")
    assert result.code == 2 and "sees no GPU here; use 'auto'" in result.err
    assert not out.exists()


def test_a_gpu_without_pytorch(
    labelled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else plain(name)
    )
    with pytest.raises(UsageError, match=r"PyTorch is not installed; .*pip install .*torch"):
        mined(labelled, tmp_path / "out", "cuda")
    assert mined(labelled, tmp_path / "out", "auto").manifest["device"] == "cpu"


class Cuda:
    """Two GPUs, as far as one can play them."""

    free = (8 << 30, 4 << 30)

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 2

    @classmethod
    def mem_get_info(cls, number: int) -> tuple[int, int]:
        return cls.free[number], 16 << 30

    @staticmethod
    def get_device_name(device: Any) -> str:
        return "Played GPU"


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with two GPUs, and no process that counts on one of them."""
    played = types.SimpleNamespace(cuda=Cuda, __version__="2.13.0", device=str)
    driver = tmp_path / "driver"
    driver.touch()
    monkeypatch.setattr(devices, "_torch", lambda name: played)
    monkeypatch.setattr(devices, "_DRIVERS", (driver,))
    monkeypatch.setattr(devices, "_CLAIMS", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield
    for handle in devices._CLAIMS.values():
        os.close(handle)


def test_auto_takes_a_gpu_for_much_work_only(gpus: None) -> None:
    assert devices.device_name("auto", 1e11) == "cpu"
    assert devices.device_name("auto", 1e13) == "cuda"
    assert devices.describe_device("cuda:1") == "cuda:1 (Played GPU)"
    assert devices.find_gpu() == "Played GPU"
    with pytest.raises(UsageError, match="sees only 2 here"):
        devices.device_name("cuda:2", 1)


def test_processes_share_gpus_and_their_memory(gpus: None, tmp_path: Path) -> None:
    """A process takes a GPU that no other has; half of its memory is for rows."""
    alone = open_device("cuda:1", 0)
    assert alone == Device("cuda:1", int(0.8 * (4 << 30) / 2), int(0.8 * (4 << 30) / 2))
    threads = open_device("cuda:1", 0, threads=4)
    assert threads.bytes == alone.bytes // 4 and threads.room == alone.room
    code = (
        "import fcntl, os, sys\n"
        "handle = os.open(sys.argv[1], os.O_CREAT | os.O_RDONLY)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "input()\n"
    )
    taken = tmp_path / f"mine-{os.getuid()}-gpu-0-0"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(taken)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        here = open_device("cuda", 0, processes=4)
        assert here.name == "cuda:1" and here.room == int(0.8 * (4 << 30) / 2 / 2)
        assert open_device("cuda", 0, processes=4).name == "cuda:1"
        other.communicate("\n")


class Placed(Model):
    """Says where it was put."""

    kinds = frozenset({"text"})
    seen: list[str | None] = []  # noqa: RUF012

    def __init__(self, device: str | None = None) -> None:
        self.seen.append(device)

    def embed(self, batch: Any) -> np.ndarray:
        return np.ones((len(batch), 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("device", "options", "wanted"),
    [
        ("auto", {}, None),
        ("cpu", {}, "cpu"),
        (TORCH, {}, "cpu"),
        ("cuda:1", {}, "cuda:1"),
        ("cuda:1", {"device": "cpu"}, "cpu"),
    ],
)
def test_models_run_on_the_device_of_the_engine(
    device: str, options: dict[str, str], wanted: str | None
) -> None:
    """It is in no key: the options that identify the model are those of the job."""
    Placed.seen.clear()
    name = f"{__name__}:Placed"
    loaded = load_model(name, "text", options, devices.model_device(device))
    assert Placed.seen == [wanted]
    assert loaded.options == options
    assert load_model("pixels", "image", {}, "cuda").name == "pixels"  # it takes no device
    assert placed(type(zip()), {}, "cuda") == {}  # nor has it a signature


def test_a_plan_and_a_doctor_name_the_device(
    gpus: None, small: Path, cli: Callable[..., Result]
) -> None:
    assert "gpu       Played GPU" in cli("doctor").out
    planned = cli("plan", "--data", small, "--set", "engine.device=cuda").out
    assert "device    cuda; the time below is that of the CPU" in planned
    assert "device" not in cli("plan", "--data", small).out  # too small for a GPU

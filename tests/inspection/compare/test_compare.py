"""What `mine compare` says of two runs is what their rows say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.inspection.compare.facts import compare_runs
from miner.runs.run import Run
from tests.conftest import Result, write_vectors
from tests.inspection.report.test_page import Page, check_safe

LABELS = [f"<c{n % 4}>" for n in range(48)]


def run(tmp_path: Path, name: str, spread: float, **select: object) -> Run:
    """Mine vectors that lie about the corners of a square, the looser the larger the spread."""
    rng = np.random.default_rng(11)
    corners = np.eye(4)[np.arange(48) % 4]
    vectors = (corners + spread * rng.standard_normal((48, 4))).astype(np.float32)
    data = tmp_path / name
    data.mkdir(exist_ok=True)
    path = write_vectors(data / "rows.parquet", vectors, list(LABELS))
    keys = {"max_triplets": 10**6, **select}
    return miner.mine(
        {"dataset": {"path": str(path)}, "select": keys, "output": {"path": str(data / "out")}}
    )


def triplets(one: Run) -> dict[tuple[str, str, str], str]:
    """Every written triplet with its class."""
    found = {}
    for name in ("hard", "semi_hard"):
        for row in one.triplets(name).to_table().to_pylist():
            found[row["anchor_id"], row["positive_id"], row["negative_id"]] = name
    return found


def test_sets_are_held_against_each_other(tmp_path: Path) -> None:
    a, b = run(tmp_path, "a", 0.5), run(tmp_path, "b", 0.3)
    sets = compare_runs(a, b).sets
    before, after = triplets(a), triplets(b)
    both = before.keys() & after.keys()
    assert sets is not None and before and after
    assert sets.kept == sum(before[one] == after[one] for one in both)
    assert sets.changed["hard to semi_hard"] == sum(
        (before[one], after[one]) == ("hard", "semi_hard") for one in both
    )
    assert sets.new == len(after.keys() - before.keys())
    assert sets.gone == len(before.keys() - after.keys())


def test_samples_are_classified_by_the_other_vectors(tmp_path: Path) -> None:
    a, b = run(tmp_path, "a", 0.5, max_triplets=500), run(tmp_path, "b", 0.3)
    compared = compare_runs(a, b)
    assert compared.sets is None and "two samples cannot be compared" in compared.why_no_sets
    moved = {(one.direction, one.name): one for one in compared.moves}
    truth, written = triplets(b), triplets(a)  # b wrote all: what is not there is easy
    for name in ("hard", "semi_hard"):
        mine = [one for one, kind in written.items() if kind == name]
        found = moved["AB", name]
        assert found.looked == len(mine) == 500
        for kind in ("hard", "semi_hard", "easy"):
            assert found.classes[kind] == sum(truth.get(one, "easy") == kind for one in mine)


def test_anchors_and_confusions_are_those_of_the_tables(tmp_path: Path) -> None:
    a, b = run(tmp_path, "a", 0.5), run(tmp_path, "b", 0.3)
    compared = compare_runs(a, b)
    shares = []
    for one in (a, b):
        rows = one.census().to_pylist()
        shares.append({r["anchor_id"]: r["hard"] / (r["positives"] * r["negatives"]) for r in rows})
    anchors = compared.anchors
    assert anchors is not None and anchors.common == 48
    assert anchors.fewer == sum(shares[1][one] < shares[0][one] for one in shares[0])
    assert anchors.more == sum(shares[1][one] > shares[0][one] for one in shares[0])
    best = max(shares[0], key=lambda one: shares[0][one] - shares[1][one])
    assert anchors.better[0].before == shares[0][best]
    change = [abs(row["change"]) for row in compared.confusions]
    assert change == sorted(change, reverse=True) and len(change) == 10


@pytest.mark.parametrize(
    ("spreads", "outcome"),
    [((0.5, 0.3), "better"), ((0.3, 0.5), "worse"), ((0.4, 0.4), "same")],
)
def test_the_verdict(tmp_path: Path, spreads: tuple[float, float], outcome: str) -> None:
    """Of the same bytes: one data set, which the second model spoils."""
    rows = np.eye(4)[np.arange(48) % 4] + 1e-3 * np.arange(48)[:, None]  # no two alike
    data = write_vectors(tmp_path / "rows.parquet", rows.astype(np.float32), list(LABELS))
    runs = []
    for number, spread in enumerate(spreads):
        (tmp_path / f"noisy_{outcome}_{number}.py").write_text(
            "import numpy as np\n"
            "def embed(rows):\n"
            f"    noise = np.random.default_rng(5).standard_normal((256, 4)) * {spread}\n"
            "    return (np.asarray(rows) + noise[: len(rows)]).astype(np.float32)\n"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(tmp_path))
            runs.append(
                miner.mine(
                    {
                        "dataset": {"path": str(data)},
                        "model": {"name": f"noisy_{outcome}_{number}:embed"},
                        "output": {"path": str(tmp_path / f"out{number}")},
                    }
                )
            )
    compared = compare_runs(*runs)
    assert compared.same_data
    assert compared.verdict.outcome == outcome
    assert len(compared.verdict.reasons) == 3


def test_what_cannot_be_judged_is_said(tmp_path: Path, cli: Callable[..., Result]) -> None:
    a, b = run(tmp_path, "a", 0.5), run(tmp_path, "b", 0.3)
    done = cli("compare", a.path, b.path)
    assert done.code == 0
    assert "It is unknown which run is better" in done.out
    assert "The runs read different data" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines() if "/" not in line)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Rows with two columns for each role, and a run that takes the first ones."""
    folder = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((40, 4)).astype(np.float32)
    more: dict[str, list[object]] = {
        "sku": [f"i{39 - n}" for n in range(40)],  # the ids of other rows
        "other": list(rng.standard_normal((40, 4)).astype(np.float32)),
        "kind": [f"k{n % 3}" for n in range(40)],
        "session": [n // 10 for n in range(40)],
    }
    path = write_vectors(folder / "rows.parquet", vectors, [f"c{n % 4}" for n in range(40)], **more)
    return path, miner.mine(differing(path, folder / "out", {}))


def differing(path: Path, out: Path, overrides: dict[str, object]) -> miner.Job:
    """The job of `base`, with some keys set."""
    dataset = {"path": str(path), "id": "id", "content": "embedding"}
    output = {"path": str(out), "report": False}
    return miner.parse_job({"dataset": dataset, "output": output}, overrides)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("dataset.id", "sku", ""),
        ("dataset.on_error", "skip", ""),
        ("dataset.label", "kind", 'dataset.label differs, so the triplets differ: "label"'),
        ("dataset.content", "other", "dataset.content differs, so"),
        ("dataset.group", "session", "dataset.group differs, so"),
        ("dataset.where", "session < 3", "dataset.where differs, so"),
        ("dataset.anchors", "session < 3", "dataset.anchors differs, so"),
        ("mining.margin", 0.3, "The margin differs: 0.2 in A, 0.3 in B."),
        ("mining.metric", "cosine", "The metric differs"),
        ("mining.normalize", False, "One run scaled its vectors"),
        ("mining.hubs", 7, ""),
        ("index.save", True, ""),
        ("select.strategy", "semi-hard", ""),
        ("select.seed", 3, ""),
        ("select.max_score", 0.9, ""),
        ("select.per_negative", 3, ""),
    ],
)
def test_each_difference_alone_is_named(
    key: str,
    value: object,
    reason: str,
    base: tuple[Path, Run],
    tmp_path: Path,
    cli: Callable[..., Result],
) -> None:
    path, a = base
    b = miner.mine(differing(path, tmp_path / "b", {key: value}))
    facts = json.loads(cli("compare", a.path, b.path, "--json").out)
    assert [one["name"] for one in facts["settings"]] == [key]
    assert facts["settings"][0]["a"] != facts["settings"][0]["b"]
    assert facts["same_data"]
    if reason:
        (said,) = facts["verdict"]["reasons"]
        assert facts["verdict"]["outcome"] == "unknown" and reason in said
    else:
        assert facts["verdict"]["outcome"] == "same"
    assert (facts["anchors"] is None) == (facts["triplets"] is None and key == "dataset.id")
    assert key in cli("compare", a.path, b.path).out


def test_ids_that_differ_are_said(tmp_path: Path, small: Path, cli: Callable[..., Result]) -> None:
    a = run(tmp_path, "a", 0.5)
    vectors = np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)
    np.save(tmp_path / "v.label.npy", np.arange(12) % 2)
    b = miner.mine(
        {"dataset": {"path": str(tmp_path / "v.npy")}, "output": {"path": str(tmp_path / "o")}}
    )
    done = cli("compare", a.path, b.path)
    assert done.code == 0 and "the runs have no anchor in common" in done.out


def test_facts_and_page(tmp_path: Path, cli: Callable[..., Result]) -> None:
    a, b = run(tmp_path, "a", 0.5), run(tmp_path, "b", 0.3)
    target = tmp_path / "moved.html"
    done = cli("compare", a.path, b.path, "--output", target, "--json")
    facts = json.loads(done.out)
    assert done.code == 0 and facts["same_data"] is False
    assert [row["counts"][0] for row in facts["shares"]] == [
        a.manifest["census"][name] for name in ("hard", "semi_hard", "easy")
    ]
    html = target.read_text(encoding="utf-8")
    parsed = Page(html)
    assert parsed.open == []
    check_safe(html, parsed)
    assert f"{facts['triplets']['new']:,}" in parsed.text and "<c1>" in parsed.text
    assert cli("compare", a.path, b.path, "--output", tmp_path).code == 2

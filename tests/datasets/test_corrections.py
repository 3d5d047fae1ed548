"""Decisions of a person on labels and pairs: written for a spreadsheet, read back, applied."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.errors import DataError, UsageError
from tests.conftest import Result
from tests.datasets.test_formats import TEXT_MODEL, Row, Truth, stored, text_rows, truth
from tests.datasets.test_formats import write as write_rows
from tests.datasets.test_pairs import corpus, files, links, queries, titled

PLACED = {"name": "tests.datasets.test_corrections:placed"}
STRATEGIES = ("all", "uniform", "semi-hard", "hardest", "batch-hard", "easy-positive", "warp")
NOTHING = dict.fromkeys(
    ("relabelled", "dropped", "positives", "negatives", "ignored"), 0
) | dict.fromkeys(("unchanged", "undecided", "left_out", "unknown"), 0)
AWKWARD = (
    *("007", "1e5", "2024-01-02", "=1+1", "-x", "+y", "@z", "'quoted", "''two", "TRUE", "MARCH1"),
    *("12345678901234567890", "1/2", "a;b", 'say "no"', "two\nlines", "drop", " spaced ", "10:30"),
    *("0.5", "$5", "(5)", "plain", "r324", "Dec 24", "ä,b", "50%"),
)


def placed(texts: Sequence[str]) -> np.ndarray:
    """Embed a text as the numbers at its end."""
    return np.array([[float(n) for n in text.rpartition("@")[2].split(",")] for text in texts])


def items(names: Sequence[str] = ("late", "lost", "007")) -> list[Row]:
    """Three tight classes with awkward ids and texts; one row of each lies in the next class."""
    rng, rows = np.random.default_rng(3), []
    for n, name in enumerate(AWKWARD):
        angle = 2.1 * ((n + (n < 3)) % 3) + 0.3 * rng.standard_normal()
        text = f"{name} says @{np.cos(angle):.6f},{np.sin(angle):.6f}"
        rows.append({"id": name, "text": text, "label": names[n % 3]})
    return rows


def mined(path: Path, corrections: Path | None = None, **more: Any) -> miner.Run:
    dataset = {"path": str(path), **more.pop("dataset", {})}
    if corrections is not None:
        dataset["corrections"] = str(corrections)
    out = {"path": str(path.parent / "out")}
    return miner.mine({"model": TEXT_MODEL, "output": out, **more, "dataset": dataset})


def decided(path: Path, rows: Sequence[Sequence[str]], *names: str) -> Path:
    """Write decisions: of an item (id, decision), or of a pair (id, other_id, decision)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(names or ("id", "other_id", "decision"))
        table.writerows(row if names or len(row) == 3 else (row[0], "", row[1]) for row in rows)
    return path


def same(run: miner.Run, expected: Truth, constraints: int) -> None:
    """Compare a run with the truth."""
    assert run.census().to_pylist() == expected.census
    for name, wanted in expected.triplets.items():
        rows = run.triplets(name).to_table().to_pylist()
        found = {(r["anchor_id"], r["positive_id"], r["negative_id"]) for r in rows}
        assert len(found) == len(rows) and found == wanted.keys()
    assert run.manifest["dataset"]["hidden"] == {**expected.hidden, "constraints": constraints}


def shards(run: miner.Run) -> dict[str, str]:
    return {shard["path"]: shard["sha256"] for shard in run.manifest["shards"]}


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_ignored_pairs_by_three_loops(seed: int, tmp_path: Path) -> None:
    rng, rows = random.Random(seed), text_rows()
    labels = [0, 1, 2, "drop"]
    chosen = {row["id"]: rng.choice(labels) for row in rng.sample(rows, 7)}
    drawn = zip(rng.sample(rows, 12), rows, strict=False)
    pairs = {frozenset((a["id"], b["id"])) for a, b in drawn}
    pairs = {pair for pair in pairs if len(pair) == 2}
    now = [{**row, "label": chosen.get(row["id"], row["label"])} for row in rows]
    now = [{**row, "label": None if row["label"] == "drop" else row["label"]} for row in now]
    members = [row for row in stored(now) if row["label"] is not None]
    texts = {(row["label"], row["text"]) for row in members}
    constraints = 0

    def relation(a: Row, r: Row) -> str:
        nonlocal constraints
        if a is r:
            return "itself"
        ignored = frozenset((a["id"], r["id"])) in pairs
        if r["label"] == a["label"]:
            constraints += ignored
            return "ignored" if ignored else "positive"
        if (a["label"], r["text"]) in texts:
            return "duplicates"
        if a["group"] == r["group"]:
            return "group"
        constraints += ignored
        return "ignored" if ignored else "negative"

    table = [(name, str(label)) for name, label in chosen.items()]
    table += [(*sorted(pair, key=str), "Ignore ") for pair in sorted(pairs, key=sorted)]
    rng.shuffle(table)
    data = write_rows(tmp_path / "data.parquet", rows)
    run = mined(data, decided(tmp_path / "c.csv", table), dataset={"group": "group"})
    same(run, truth(members, members, relation), constraints)
    counts = run.manifest["dataset"]["corrections"]
    before = {row["id"]: row["label"] for row in rows}
    kept = sum(before[name] == label for name, label in chosen.items())
    kept += sum(before[name] is None and label == "drop" for name, label in chosen.items())
    assert counts["unchanged"] == kept and sum(counts.values()) == len(table)
    assert counts["relabelled"] + counts["dropped"] == 7 - kept
    assert miner.verify_run(run, full=True).problems == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_bytes_are_those_of_corrected_data(strategy: str, tmp_path: Path) -> None:
    """Other labels and dropped rows; a cap, so that draws decide."""
    rows = text_rows()
    chosen = {"003": 2, "007": 0, "012": 1}
    after = [{**row, "label": chosen.get(row["id"], row["label"])} for row in rows[:-2]]
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
    table = [(name, str(label)) for name, label in chosen.items()]
    table += [(row["id"], "drop") for row in rows[-2:]]
    select = {"select": {"strategy": strategy, "max_triplets": 40}}
    data = write_rows(tmp_path / "before" / "d.parquet", rows)
    mined(data, **select)
    run = mined(data, decided(tmp_path / "c.csv", table), **select)
    assert run.manifest["embedding"]["embedded"] == 0
    wanted = mined(write_rows(tmp_path / "after" / "d.parquet", after), **select)
    assert {name: run.triplets(name).to_table().to_pylist() for name in ("hard", "semi_hard")} == {
        name: wanted.triplets(name).to_table().to_pylist() for name in ("hard", "semi_hard")
    }
    assert run.census().equals(wanted.census())
    assert run.manifest["census"]["valid"] == wanted.manifest["census"]["valid"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_strategy_writes_an_ignored_pair(strategy: str, tmp_path: Path) -> None:
    rows = text_rows()
    pairs = [(a["id"], b["id"]) for n, a in enumerate(rows) for b in rows[n + 1 :: 3]]
    data = write_rows(tmp_path / "d.parquet", rows)
    table = decided(tmp_path / "c.csv", [(*pair, "ignore") for pair in pairs])
    cut = {"strategy": strategy, "max_triplets": 150}
    run = mined(data, table, select=cut, dataset={"anchors": "id < '018'"})
    hidden = {frozenset(pair) for pair in pairs}
    written = 0
    for name in ("hard", "semi_hard"):
        for row in run.triplets(name).to_table().to_pylist():
            written += 1
            for role in ("positive_id", "negative_id"):
                assert frozenset((row["anchor_id"], row[role])) not in hidden
    assert written
    assert miner.verify_run(run, full=True).problems == []


def pairs_run(folder: Path, linked: list[Any], table: Path | None = None, **more: Any) -> miner.Run:
    folder.mkdir(exist_ok=True)
    dataset = {"corrections": str(table)} if table else {}
    select = {"strategy": "hardest", "options": {"k": 3}}
    job = {"model": TEXT_MODEL, "output": {"path": str(folder / "out")}, "select": select}
    named = write_pairs_of(folder, linked)
    return miner.mine({**job, "dataset": {**named, **dataset, **more}})


def write_pairs_of(folder: Path, linked: list[Any]) -> dict[str, Any]:
    return {**files(folder, "csv", queries(), titled(corpus()), linked)}


@pytest.mark.parametrize("below", ["negative", "prefer", "ignore"])
def test_links_follow_the_decisions(below: str, tmp_path: Path) -> None:
    """As if the links said so; a decision replaces what they say on a pair."""
    said = {(query, document): score for query, document, score in links()}
    named = [pair for pair, score in said.items() if score > 0]
    judged = [pair for pair, score in said.items() if score <= 0]
    table = [
        (*named[0], "negative"),
        ("q1", "d15", "positive"),
        ("007", "d16", "positive"),
        (*judged[0], "positive"),
        ("q0", "d11", "negative"),
        (*named[-1], "positive"),
    ]
    after = dict(said)
    words = {"positive": 1, "negative": 0}
    after |= {(query, document): words[word] for query, document, word in table}
    run = pairs_run(tmp_path / "a", links(), decided(tmp_path / "c.csv", table), judged_below=below)
    changed = [(*pair, score) for pair, score in after.items()]
    wanted = pairs_run(tmp_path / "b", changed, judged_below=below)
    counts = run.manifest["dataset"]["corrections"]
    assert counts == {**NOTHING, "positives": 3, "negatives": 2, "unchanged": 1}
    assert run.manifest["dataset"]["links"] == wanted.manifest["dataset"]["links"]
    if below == "ignore":  # a low score of a link is ignored; a person's negative is a negative
        assert run.census()["negatives"].to_pylist() != wanted.census()["negatives"].to_pylist()
    else:
        assert run.census().equals(wanted.census())
        assert run.triplets("hard").to_table().to_pylist() == (
            wanted.triplets("hard").to_table().to_pylist()
        )


def test_ignored_documents_are_neither(tmp_path: Path) -> None:
    base = pairs_run(tmp_path / "a", links())
    linked = next((q, d) for q, d, score in links() if score > 0)
    table = [("q5", "d17", "ignore"), ("q5", "d17", "ignore"), (*linked, "ignore")]
    run = pairs_run(tmp_path / "a", links(), decided(tmp_path / "c.csv", table))
    counts = [{row["anchor_id"]: row for row in one.census().to_pylist()} for one in (base, run)]
    assert counts[1]["q5"]["negatives"] == counts[0]["q5"]["negatives"] - 1
    assert counts[1][linked[0]]["positives"] == counts[0][linked[0]]["positives"] - 1
    assert run.manifest["dataset"]["corrections"] == {**NOTHING, "ignored": 2, "unchanged": 1}
    rows = [*run.triplets("hard").to_table().to_pylist()]
    rows += run.triplets("semi_hard").to_table().to_pylist()
    assert rows and not any(
        (row["anchor_id"], row[role]) in {("q5", "d17"), linked}
        for row in rows
        for role in ("positive_id", "negative_id")
    )
    assert miner.verify_run(run, full=True).problems == []


def written(folder: Path, names: Sequence[str] = ("late", "lost", "007"), **dataset: Any) -> Path:
    """Mine `items` with suspects; return the folder of the review."""
    data = write_rows(folder / "d.parquet", items(names))
    select = {"relative_margin": 0.3, "suspects": True}
    run = mined(data, model=PLACED, select=select, mining={"metric": "cosine"}, dataset=dataset)
    return Path(miner.export_review(run, out=folder / "review")["path"])


def cells(folder: Path) -> list[dict[str, str]]:
    with (folder / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def as_a_spreadsheet(cell: str) -> str:
    """What a spreadsheet makes of a cell."""
    assert not cell.startswith(("=", "+", "@", "\t", "\r")), "a formula"
    assert not (cell.startswith("-") and not re.fullmatch(r"-[\d.]+", cell)), "a formula"
    text = cell.strip()
    if re.fullmatch(r"-?[\d.,]+(e\d+)?", text, re.IGNORECASE):
        return f"{float(text.replace(',', '')):.10g}"
    if re.fullmatch(r"[($€]?\d[\d./:-]*[%)]?", text) or re.fullmatch(
        r"(?i)(mar|dec)\w* ?\d+", text
    ):
        return "45000"
    return text.upper() if text.lower() in ("true", "false") else cell


def test_the_way_through_a_spreadsheet(tmp_path: Path) -> None:
    """Another separator, order and encoding, columns and rows removed, and cells reinterpreted."""
    folder = written(tmp_path)
    rows = cells(folder)
    noise = [row for row in rows if row["kind"] == "label"]
    pairs = [row for row in rows if row["kind"] == "pair"]
    assert len(noise) >= 3 and len(pairs) > 20
    assert [float(row["distance"]) for row in pairs] == sorted(float(r["distance"]) for r in pairs)
    assert len({frozenset((row["id"], row["other_id"])) for row in pairs}) == len(pairs)
    said = {row["id"]: row["label"] for row in items()}
    known = {name.removeprefix("'"): name for row in rows for name in (row["id"], row["other_id"])}
    assert {name for name in known if name} <= said.keys()
    for row in pairs:
        assert row["label"].removeprefix("'") == said[row["id"].removeprefix("'")]
    for row in noise:
        row["decision"] = row["suggested"]
    for row in pairs[::2]:
        row["decision"] = "ignore"
    kept = [{name: as_a_spreadsheet(cell) for name, cell in row.items()} for row in noise + pairs]
    random.Random(1).shuffle(kept)
    names = ["decision", "other_text", "text", "label", "id", "other_id"]
    path = tmp_path / "back.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, names, delimiter=";", extrasaction="ignore")
        table.writeheader()
        table.writerows(kept[2:])
        file.write(";" * 5 + "\r\n")
    left = kept[2:]
    run = mined(tmp_path / "d.parquet", path, model=PLACED, mining={"metric": "cosine"})
    counts = run.manifest["dataset"]["corrections"]
    relabelled = sum(row["kind"] == "label" for row in left)
    assert counts == {
        **NOTHING,
        "relabelled": relabelled,
        "ignored": sum(row["decision"] == "ignore" for row in left),
        "undecided": sum(not row["decision"] for row in left),
    }
    assert run.manifest["embedding"]["embedded"] == 0


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_formats_and_integer_ids(kind: str, tmp_path: Path) -> None:
    rows = [{**row, "id": n, "label": n % 3} for n, row in enumerate(text_rows())]
    table = [
        {"id": 3.0, "other_id": None, "decision": "1"},
        {"id": 4.0, "other_id": 8.0, "decision": "ignore"},
        {"id": 5.0, "other_id": None, "decision": None},
        {"id": 6.0, "other_id": None, "decision": "0.0"},
    ]
    path = write_rows(tmp_path / f"c.{kind}", table)
    run = mined(write_rows(tmp_path / "d.parquet", rows), path)
    counts = run.manifest["dataset"]["corrections"]
    wanted = {"relabelled": 1, "ignored": 1, "undecided": 1, "unchanged": 1}
    assert counts == {**NOTHING, **wanted}


LONE = ("id", "decision")
MISTAKES: list[tuple[Any, tuple[str, ...], str]] = [
    ([("7", "late")], LONE, r"row 2 \(7\): '7' is not an id of .*d.parquet; .*007 to 7"),
    ([("007", "latte")], LONE, r"row 2 \(007\): no row has the label 'latte'.*did you mean 'late'"),
    ([("007", "ignore")], LONE, r"'ignore' is for pairs; fill in other_id"),
    ([("007", "late"), ("'007", "lost")], LONE, r"row 2 .*'late', .*row 3 .*'lost'; keep one"),
    ([("", "late")], LONE, "row 2 has a decision and no id"),
    ([("007", "late")], ("item", "decision"), "has no column 'id'"),
    ([("007", "late")], ("id", "verdict"), "has no column 'decision'"),
    ([("007", "1e5", "yes")], (), r"row 2 \(007, 1e5\): the decision 'yes' is none of positive"),
    ([("007", "007", "ignore")], (), "a row and itself are no pair"),
    ([("007", "1e5", "positive")], (), "have different labels, so they are no positive pair"),
    ([("007", "'=1+1", "negative")], (), "share a label, so they are no negative pair"),
    (
        [("007", "1e5", "ignore"), ("1e5", "007", "negative")],
        (),
        r"row 2 \(007, 1e5\) has the decision 'ignore', .*row 3 \(1e5, 007\) has 'negative'",
    ),
    ([("pair", "007", "", "ignore")], ("kind", "id", "other_id", "decision"), "has no other_id"),
    ([("both", "007", "late")], ("kind", "id", "decision"), "'both' is neither label nor pair"),
    (
        [("007", "lost", "007")],
        ("id", "decision", "label"),
        "was '007' at the review and is 'late'",
    ),
    ([("007", "lost", "x")], ("id", "decision", "text"), "its text is not the one in"),
]


@pytest.mark.parametrize(("rows", "names", "message"), MISTAKES, ids=[m[2][-20:] for m in MISTAKES])
def test_mistakes(
    rows: Any,
    names: tuple[str, ...],
    message: str,
    tmp_path: Path,
    cli: Callable[..., Result],
) -> None:
    data = write_rows(tmp_path / "d.parquet", items())
    table = decided(tmp_path / "c.csv", rows, *names)
    key = f"dataset.corrections={table}"
    model = f"model.name={PLACED['name']}"
    out = tmp_path / "out"
    failed = cli("run", "--data", data, "--out", out, "--set", model, "--set", key, "--quiet")
    assert failed.code == 3, failed.err
    assert failed.err.count("\n") == 1
    assert re.search(message, failed.err), failed.err
    assert str(table) in failed.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        ("id,decision\nGrüße,ä\n".encode("latin-1"), "is not UTF-8; save it as CSV in UTF-8"),
        ("id,decision\n007,late\n".encode("utf-16"), "is not UTF-8"),
        (b"id,decision\n007,late,more\n", "Expected 2 columns, got 3"),
    ],
)
def test_files_that_cannot_be_read(
    content: bytes | None, message: str, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    table = tmp_path / "c.csv"
    if content is not None:
        table.write_bytes(content)
    data = write_rows(tmp_path / "d.parquet", items())
    key, model = f"dataset.corrections={table}", f"model.name={PLACED['name']}"
    failed = cli("run", "--data", data, "--out", tmp_path / "o", "--set", model, "--set", key)
    last = failed.err.splitlines()[-1]
    assert failed.code == 3 and last.startswith("mine: error: "), failed.err
    assert message in last and "c.csv" in last
    assert "dataset.encoding" not in failed.err


def test_several_files_and_rows_that_are_gone(tmp_path: Path, cli: Callable[..., Result]) -> None:
    """A folder of tables; rows left out by a condition, and unknown ids on request."""
    data, folder = write_rows(tmp_path / "d.parquet", items()), tmp_path / "tables"
    folder.mkdir()
    decided(folder / "one.csv", [("007", "lost"), ("1e5", "drop")])
    decided(folder / "two.csv", [("nobody", "late"), ("007", "lost"), ("1/2", "a;b", "ignore")])
    more = {"on_error": "skip", "where": "id <> '1/2'"}
    run = mined(data, folder, model=PLACED, dataset=more)
    wanted = {"relabelled": 1, "dropped": 1, "unknown": 1, "unchanged": 1, "left_out": 1}
    assert run.manifest["dataset"]["corrections"] == {**NOTHING, **wanted}
    files = {Path(file["path"]).name: file for file in run.manifest["dataset"]["files"]}
    assert files.keys() == {"d.parquet", "one.csv", "two.csv"}
    shown = cli("show", run.path)
    assert "corrected 1 relabelled, 1 dropped" in shown.out
    assert "1 unchanged, 1 of rows left out, 1 of unknown ids" in shown.out
    decided(folder / "two.csv", [("1e5", "late")])
    with pytest.raises(DataError, match=r"one.csv, row 3 .*'drop', .*two.csv, row 2"):
        mined(data, folder, model=PLACED)


def test_an_edited_table_makes_a_new_run(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.parquet", items())
    plain = mined(data, model=PLACED)
    table = decided(tmp_path / "c.csv", [("007", ""), ("1e5", "")])
    first = mined(data, table, model=PLACED)
    assert first.run_id != plain.run_id and first.manifest["census"] == {
        **plain.manifest["census"],
        "reused": first.manifest["census"]["reused"],
    }
    warned = [one["name"] for one in first.manifest["warnings"]]
    assert "corrections" in warned
    assert mined(data, table, model=PLACED).run_id == first.run_id
    decided(table, [("007", "lost"), ("1e5", "")])
    second = mined(data, table, model=PLACED)
    assert second.run_id != first.run_id and second.manifest["embedding"]["computed"] == 0
    assert "corrections" not in [one["name"] for one in second.manifest["warnings"]]


def test_lists_of_labels_and_labels_that_are_drop(tmp_path: Path) -> None:
    rows = [
        {**row, "label": [row["label"], "all" if n < 9 else row["label"]]}
        for n, row in enumerate(items())
    ]
    data = write_rows(tmp_path / "d.parquet", rows)
    table = decided(tmp_path / "c.csv", [("plain", "drop"), ("007", "TRUE", "ignore")])
    run = mined(data, table, model=PLACED)
    assert run.manifest["dataset"]["corrections"] == {**NOTHING, "dropped": 1, "ignored": 1}
    assert run.manifest["dataset"]["hidden"]["constraints"] == 2
    decided(table, [("007", "lost")])
    with pytest.raises(DataError, match="lists of labels"):
        mined(data, table, model=PLACED)
    (tmp_path / "b").mkdir()
    data = write_rows(tmp_path / "b" / "d.parquet", items(("drop", "lost", "late")))
    decided(table, [("1e5", "'drop"), ("plain", "drop")])
    run = mined(data, table, model=PLACED)
    assert run.manifest["dataset"]["corrections"] == {**NOTHING, "relabelled": 1, "dropped": 1}


def test_labels_of_links_are_refused(tmp_path: Path) -> None:
    table = decided(tmp_path / "c.csv", [("q0", "d1")])
    with pytest.raises(DataError, match="is on a label, but these data have links"):
        pairs_run(tmp_path / "a", links(), table)


def test_what_argilla_exports_becomes_decisions(tmp_path: Path) -> None:
    """The lines of the page on false negatives, on records with answers."""
    page = Path(miner.__file__).parent / "docs" / "false-negatives.md"
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if "responses" in block
    )
    folder = written(tmp_path)
    records = json.loads((folder / "argilla-labels" / "records.json").read_bytes())
    for record in records:
        answer = record["suggestions"]["decision"]["value"]
        record["responses"] = {"decision": [{"value": answer, "user_id": "u"}]}
    made = tmp_path / "reviewed"
    made.mkdir()
    (made / "records.json").write_text(json.dumps(records))
    code = code.replace('"reviewed/', f'"{made}/').replace(
        '"corrections', f'"{tmp_path}/corrections'
    )
    exec(compile(code, str(page), "exec"), {})
    run = mined(
        tmp_path / "d.parquet",
        tmp_path / "corrections.csv",
        model=PLACED,
        mining={"metric": "cosine"},
    )
    assert run.manifest["dataset"]["corrections"] == {**NOTHING, "relabelled": len(records)}


def test_a_run_without_suspects_has_no_review(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.parquet", items())
    run = mined(data, model=PLACED, mining={"neighbours": 0})
    with pytest.raises(UsageError, match=r"no suspects to review.*select.suspects = true"):
        miner.export_review(run)


def test_no_export_replaces_a_review(tmp_path: Path, cli: Callable[..., Result]) -> None:
    folder = written(tmp_path)
    for more in (["--format", "review"], ["--format", "ids", "--force"]):
        failed = cli("export", tmp_path / "out" / "latest", "--out", folder, *more)
        assert failed.code == 2 and "perhaps with decisions" in failed.err
    assert (folder / "review.csv").exists()
    failed = cli("export", tmp_path / "out" / "latest", "--format", "review", "--force")
    assert failed.code == 2 and "--force has no meaning for a review" in failed.err


def test_reviews_of_links_and_of_images_without_texts(tmp_path: Path) -> None:
    """Links offer positive; where there are no texts, ids are shown."""
    named = write_pairs_of(tmp_path, links())
    job = {
        "model": TEXT_MODEL,
        "output": {"path": str(tmp_path / "out"), "content": False},
        "select": {"max_score": 0.0, "suspects": True},
        "mining": {"metric": "cosine"},
        "dataset": named,
    }
    facts = miner.export_review(miner.mine(job), negatives=2)
    assert facts["content"] == "ids" and facts["labels"] == 0 and facts["pairs"]
    assert facts["decisions"] == ["positive", "negative", "ignore"]
    rows = cells(Path(facts["path"]))
    by_query: dict[str, int] = {}
    for row in rows:
        by_query[row["id"]] = by_query.get(row["id"], 0) + 1
        assert row["text"] == row["other_text"] == row["label"] == ""
    assert max(by_query.values()) == 2
    records = json.loads((Path(facts["path"]) / "argilla-pairs" / "records.json").read_bytes())
    assert [one["fields"]["text"] for one in records] == [row["id"] for row in rows]

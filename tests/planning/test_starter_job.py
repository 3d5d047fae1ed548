"""`mine init` on many kinds of files: inferred roles, printed text, and jobs that run."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import miner
from tests.conftest import Result

Cli = Callable[..., Result]
ROWS = 40
WORDS = ("red", "green", "blue", "slow", "fast", "late", "lost", "bill")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(rows: int = ROWS) -> list[str]:
    rng = np.random.default_rng(6)
    return [" ".join(rng.choice(WORDS, 4)) + f" {row}" for row in range(rows)]


def vectors() -> list[list[float]]:
    return np.random.default_rng(5).standard_normal((ROWS, 4)).round(3).tolist()


def kinds(count: int = 4) -> list[str]:
    return [f"kind {row % count}" for row in range(ROWS)]


def save(name: str, **columns: Any) -> str:
    """Write a table in the format that the name has."""
    table = pa.table({key.replace("__", " "): values for key, values in columns.items()})
    if name.endswith(".csv"):
        pyarrow.csv.write_csv(table, name)
    elif name.endswith(".jsonl"):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        pq.write_table(table, name)
    return name


def plain() -> str:
    return save("a.csv", ticket=texts(), Topic=kinds(), seen=list(range(ROWS)))


def by_values() -> str:
    """Without usual names, the longest column is the text, and repeated values are labels."""
    return save("b.csv", what=texts(), mood=kinds(3), code=[f"c{n}" for n in range(ROWS)])


def weird_names() -> str:
    names = {'say "what"\n\t#x': texts(), "Art = [1]": kinds(), "id": [7 * n for n in range(ROWS)]}
    pq.write_table(pa.table(names), "c.parquet")
    return "c.parquet"


def lists_of_labels() -> str:
    tags = [[f"t{row % 3}", f"t{row % 5}"] for row in range(ROWS)]
    return save("d.jsonl", body=texts(), tags=tags, _id=[f"r{n}" for n in range(ROWS)])


def embeddings() -> str:
    emb = pa.array(vectors(), pa.list_(pa.float32()))
    return save("e.parquet", key=list(range(ROWS)), emb=emb, cls=[row % 4 for row in range(ROWS)])


def written_embeddings() -> str:
    return save("f.csv", vec=[json.dumps(row) for row in vectors()], label=kinds())


def sorted_by_label() -> str:
    """The first rows, as many as a reader's batch, share one label."""
    labels = ["one"] * 4200 + ["two"] * 40
    many = np.random.default_rng(1).standard_normal((4240, 3))
    return save("g.parquet", x=pa.array(many.tolist(), pa.list_(pa.float32())), mark=labels)


def fractions() -> str:
    """In a CSV, numbers are neither texts nor labels."""
    prices = [f"{row % 3}.5" for row in range(ROWS)]
    return save("h.csv", price=prices, long=["7" * 99] * ROWS, note=texts(), color=kinds())


def questions() -> str:
    return save("i.csv", question=texts(), answer=texts(2 * ROWS)[ROWS:])


def apart() -> str:
    Path("j").mkdir()
    save("j/queries.csv", id=[f"q{n}" for n in range(6)], text=texts(6))
    save("j/corpus.csv", id=[f"d{n}" for n in range(20)], text=texts(20))
    save("j/qrels.csv", query_id=[f"q{n}" for n in range(6)], corpus_id=[f"d{n}" for n in range(6)])
    return "j"


def arrays() -> str:
    np.save("k.npy", np.array(vectors(), dtype=np.float32))
    np.save("k.label.npy", np.arange(ROWS) % 5)
    return "k.npy"


def pictures() -> str:
    images = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(2)
    for row in range(12):
        folder = Path("l") / f"class{row % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        images.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(
            folder / f"{row}.png"
        )
    return "l"


def described() -> str:
    """As emojibase has it: a blank `text`, and in `label` what no two rows have in common."""
    tags = [[f"tag {row % 3}", f"tag {row % 5}"] for row in range(ROWS)]
    return save("m.jsonl", text=[""] * ROWS, label=texts(), hexcode=codes(), tags=tags)


def places() -> str:
    """As airportsdata has it: codes that are mostly blank, dates, numbers, and some names blank."""
    names = [text if row % 9 else "" for row, text in enumerate(texts())]
    iata = [f"I{row}" if row % 2 else "" for row in range(ROWS)]
    days = [f"2024-01-{1 + row % 3:02}" for row in range(ROWS)]
    floors = [str(row % 4) for row in range(ROWS)]
    return save(
        "n.csv", icao=codes(), iata=iata, airport=names, day=days, floor=floors, area=kinds()
    )


def codes() -> list[str]:
    return [f"C{row:03}" for row in range(ROWS)]


SHAPES: list[tuple[Callable[[], str], str, dict[str, str]]] = [
    (plain, "wordllama", {"content": "ticket", "label": "Topic", "id": "seen"}),
    (by_values, "wordllama", {"content": "what", "label": "mood", "id": "code"}),
    (weird_names, "wordllama", {"content": 'say "what"\n\t#x', "label": "Art = [1]", "id": "id"}),
    (lists_of_labels, "wordllama", {"content": "body", "label": "tags", "id": "_id"}),
    (embeddings, "precomputed", {"content": "emb", "label": "cls", "id": "key"}),
    (written_embeddings, "precomputed", {"content": "vec", "label": "label"}),
    (sorted_by_label, "precomputed", {"content": "x", "label": "mark"}),
    (fractions, "wordllama", {"content": "note", "label": "color"}),
    (questions, "wordllama", {"pair_anchor": "question", "pair_positive": "answer"}),
    (apart, "wordllama", {"queries": "j/queries.csv", "corpus": "j/corpus.csv"}),
    (arrays, "precomputed", {"content": "embedding", "label": "label"}),
    (described, "wordllama", {"content": "label", "label": "tags", "id": "hexcode"}),
    (
        places,
        "wordllama",
        {"content": "airport", "label": "area", "id": "icao", "on_error": "skip"},
    ),
    (pictures, "pixels", {"content": "image", "label": "label", "id": "id"}),
]


@pytest.mark.parametrize(
    ("make", "model", "wanted"), SHAPES, ids=lambda one: getattr(one, "__name__", "")
)
def test_what_is_guessed_runs_at_once(
    make: Callable[[], str], model: str, wanted: dict[str, str], cli: Cli
) -> None:
    data = make()
    done = cli("init", data)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 79
    assert done.out.startswith("wrote jobs/default.toml\n")
    assert done.out.endswith("next: mine plan\nthen: mine run\n")
    text = Path("jobs/default.toml").read_text()
    job = tomllib.loads(text)
    assert job["model"]["name"] == model
    found = {key: value for key, value in job["dataset"].items() if key != "path"}
    assert found == wanted | ({"links": "j/qrels.csv"} if make is apart else {})
    if "label" in wanted:
        assert "values in" in next(line for line in text.splitlines() if line.startswith("label"))
        assert f"label     {wanted['label']}: " in done.out
    few = ["--set", "dataset.anchors=mark = 'two'"] if make is sorted_by_label else []
    few += ["--set", "gates.min_rows=0"]  # all triplets of some are easy
    done = cli("run", "--json", "--max-triplets", 50, *few)  # else 4,200 x 4,200 pairs
    assert done.code == 0, done.err
    manifest = json.loads(done.out)
    assert manifest["model"]["id"] == model and manifest["census"]["valid"] > 0


def test_what_is_named_is_not_guessed(cli: Cli) -> None:
    data = save(
        "a.csv", text=texts(), other=texts(), label=kinds(), mood=kinds(3), n=list(range(ROWS))
    )
    options = ("--label", "mood", "--content", "other", "--id", "n", "--job", "a job.toml")
    done = cli("init", data, *options)
    assert done.out.endswith("next: mine plan 'a job.toml'\nthen: mine run 'a job.toml'\n")
    dataset = tomllib.loads(Path("a job.toml").read_text())["dataset"]
    assert dataset == {"path": data, "id": "n", "content": "other", "label": "mood"}
    wrong = cli("init", data, "--label", "mod")
    assert (wrong.code, wrong.out) == (3, "") and not Path("jobs").exists()
    assert "no column 'mod' (--label): did you mean 'mood'?" in wrong.err


def test_other_labels_groups_and_splits_are_told(cli: Cli) -> None:
    columns = {"mood": kinds(3), "place": kinds(5), "split": ["train", "test"] * (ROWS // 2)}
    data = save("a.csv", text=texts(), **columns, document_id=[n // 4 for n in range(ROWS)])
    done = cli("init", data)
    assert "or one of: place (name it with --label)" in done.out
    text = Path("jobs/default.toml").read_text()
    assert '# group = "document_id"' in text and "see 'split'" in text
    assert "label could also be: place" in text


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"text": texts(), "n": list(range(ROWS))}, ["no column that looks like a label", "--label"]),
    ({"a": list(range(ROWS)), "label": kinds()}, ["no column that can be embedded", "--content"]),
    (
        {"id": [row // 2 for row in range(ROWS)], "text": texts(), "label": kinds()},
        ["column 'id'", "unique", "--id"],
    ),
    ({"photo": [f"x/{n}.jpg" for n in range(ROWS)], "label": kinds()}, ["call the column image"]),
]


@pytest.mark.parametrize(("columns", "words"), REFUSED, ids=lambda one: next(iter(one)))
def test_what_cannot_be_guessed_is_told(
    columns: dict[str, Any], words: list[str], cli: Cli
) -> None:
    done = cli("init", save("a.csv", **columns))
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    for word in words:
        assert word in done.err
    assert not Path("jobs").exists()


def test_vectors_without_labels_say_where_they_belong(cli: Cli) -> None:
    np.save("v.npy", np.array(vectors()))
    done = cli("init", "v.npy")
    assert done.code == 3 and "v.label.npy" in done.err


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"sku": "S{n:04d}"}, "sku"),
        ({"code": "{n}"}, "code"),
        ({"views": "{n}", "code": "x-{n}"}, "code"),
        ({"uid": "u{n}", "code": "x-{n}"}, "uid"),
        ({"title": "t{n}"}, None),  # content by its name
        ({"price": "{n}.5"}, None),
        ({"remark": "seen {n} times"}, None),
        ({"shelf": "{half}"}, None),  # not unique
    ],
)
def test_a_unique_column_of_codes_is_the_id(
    columns: dict[str, str], chosen: str | None, tmp_path: Path, cli: Cli
) -> None:
    path = tmp_path / "goods.csv"
    lines = [",".join(["text", "label", *columns])]
    for n in range(20):
        more = [column.format(n=n, half=n // 2) for column in columns.values()]
        lines.append(",".join([f"some words on good {n}", f"l{n % 4}", *more]))
    path.write_text("\n".join(lines) + "\n")
    job = tmp_path / "job.toml"
    assert cli("init", path, "--job", job).code == 0
    assert tomllib.loads(job.read_text())["dataset"].get("id") == chosen
    assert cli("run", job, "--out", tmp_path / "out", "--quiet").code == 0


@pytest.mark.parametrize("data", ["goods.csv", "goods/*.csv", "goods/deep.parquet"])
def test_a_relative_path_is_said_with_the_folder_it_was_searched_in(
    data: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f'[dataset]\npath = "{data}"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    missing = cli("run", job)
    assert missing.code == 3 and f"{data}" in missing.err and f" in {elsewhere}" in missing.err
    whole = cli("run", job, "--data", tmp_path / data)
    assert whole.code == 3 and f" in {elsewhere}" not in whole.err


def test_a_job_points_to_the_schema_beside_it(cli: Cli, home: Path) -> None:
    assert cli("init", plain(), "--job", home / "jobs/tickets.toml").code == 0
    first = (home / "jobs/tickets.toml").read_text().splitlines()[0]
    assert first == "#:schema ./.mine.schema.json"
    schema = home / "jobs/.mine.schema.json"
    assert json.loads(schema.read_text()) == miner.job_schema()
    schema.write_text('{\n  "title": "A job of mine", "properties": {}}')  # of an older version
    assert cli("init", "a.csv", "--job", home / "jobs/tickets.toml", "--force").code == 0
    assert json.loads(schema.read_text()) == miner.job_schema()


def test_another_file_of_that_name_is_kept(cli: Cli, home: Path) -> None:
    (home / ".mine.schema.json").write_text('{"title": "mine alone"}')
    done = cli("init", plain(), "--job", home / "job.toml")
    assert done.code == 2 and ".mine.schema.json" in done.err
    assert not (home / "job.toml").exists()
    assert (home / ".mine.schema.json").read_text() == '{"title": "mine alone"}'


def test_a_job_that_is_printed_has_no_schema(home: Path) -> None:
    command = [sys.executable, "-m", "miner", "init", plain(), "--job", "/dev/stdout"]
    for target in (None, "printed.toml"):
        with Path(target or "piped").open("w") as file:
            subprocess.run(command, check=True, stdout=file, stderr=subprocess.DEVNULL)
        assert Path(target or "piped").read_text().startswith("# A job for `mine`")
    assert not list(home.glob(".mine*")) and not Path("/dev/.mine.schema.json").exists()

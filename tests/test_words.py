"""The sentences of the package are plain: words of its former idiom do not come back."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

IDIOM = re.compile(
    r"\bbesides?\b|\b(told|tells)\b|\bso many\b|\bof what\b|\bstands?\b(?!ard)"
    r"|\b(hangs?|hung) on\b|\bnobody\b|\bwhoever\b|\b(is|are|was|were) there\b(?! (a|an|any|no)\b)"
    r"|\b(goes|go|gone|went) on\b|\bby turns\b|\bin vain\b|\bas it is\b|\bnot at all\b",
    re.IGNORECASE,
)
"""Plain words instead: in addition to, says, n, continues, depends on, no process, exists."""
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "miner/docs").glob("*.md")]
MODULES = sorted((ROOT / "miner").rglob("*.py"))


def sentences(module: Path) -> Iterator[tuple[int, str]]:
    """Comments and texts of a module with the lines where they begin."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    with tokenize.open(module) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in kinds:
                yield token.start[0], token.string


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda p: p.name)
def test_modules_have_plain_sentences(folder: Path) -> None:
    found = [
        f"{module.relative_to(ROOT)}:{line}: {match[0]}"
        for module in sorted(folder.glob("*.py"))
        for line, text in sentences(module)
        for match in IDIOM.finditer(" ".join(text.split()))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_pages_have_plain_sentences(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```|`[^`]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert IDIOM.findall(prose) == []

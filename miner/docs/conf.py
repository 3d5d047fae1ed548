"""How `make docs` renders the pages of this folder, the command line and the Python API."""

from __future__ import annotations

import json
from pathlib import Path

from sphinx.application import Sphinx

import miner

project = "mine"
version = release = miner.__version__
copyright = "the authors of mine; Apache License 2.0"
html_title = f"mine {release}"
html_theme = "alabaster"
html_theme_options = {"description": "An offline triplet miner", "page_width": "70em"}
html_show_sphinx = False

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser", "sphinx_click"]
exclude_patterns = ["*.py"]

myst_heading_anchors = 4
"""Headings are linked as on the pages of a forge: by their words."""

default_role = "code"
"""Docstrings put names in single backticks, of parameters too: they are shown as they are."""

autodoc_member_order = "bysource"
autodoc_typehints = "none"
"""The docstrings have the types, with shapes, dtypes and units; annotations lack these."""
autodoc_mock_imports = ["torch"]
"""Gigabytes that only `miner.torch` imports."""

numpydoc_show_class_members = False
numpydoc_validation_checks = {"PR01", "PR02", "PR03", "PR10", "RT01", "RT03"}
"""Parameters without a description, unknown ones, or another order, and functions that do not
describe what they return, are warnings, so errors of `make docs`."""
numpydoc_validation_overrides = {
    "PR01": [r"Attributes\n\s*-{10}"],  # a record's fields, which are what makes it
    "RT01": [r"^\s*(Return|Whether)\b"],  # the summary says what is returned
    "RT03": [r"Returns\n\s*-{7}\n\s*(Run|Job|Path|int|[Nn]one)\b"],  # nothing to add to the type
}
numpydoc_validation_exclude = {r"^miner\.job_sections\.", r"^miner\.Job$"}
"""The keys of the job file: their page describes them, one by one."""


def to_the_front_door(app: Sphinx, name: str, source: list[str]) -> None:
    """Let links to the README of the repository lead to its page here."""
    source[0] = source[0].replace("](../../README.md", "](readme.md")


def list_the_keys(app: Sphinx, name: str, source: list[str]) -> None:
    """Add a table of the keys of each section to the page of the job file."""
    if name != "job-file":
        return
    lines = ["", "## Every key", ""]
    for section, facts in miner.job_schema()["properties"].items():
        lines += [
            f"### `[{section}]`",
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        for key, one in facts["properties"].items():
            kinds = one.get("enum") or [one.get("type", "table")]
            default = json.dumps(one["default"]) if "default" in one else ""
            kind = ", ".join(f"`{value}`" if "enum" in one else str(value) for value in kinds)
            meaning = one["description"].replace("|", "\\|")
            lines.append(f"| `{key}` | {kind} | {default and f'`{default}`'} | {meaning} |")
        lines.append("")
    source[0] += "\n".join(lines)


def publish_schema(app: Sphinx, error: Exception | None) -> None:
    """Write the JSON Schema of the job file into the site."""
    if error is None:
        text = json.dumps(miner.job_schema(), indent=2)
        Path(app.outdir, "job.schema.json").write_text(text + "\n")


def setup(app: Sphinx) -> None:
    """Register the functions of this file with Sphinx."""
    app.connect("source-read", to_the_front_door)
    app.connect("source-read", list_the_keys)
    app.connect("build-finished", publish_schema)

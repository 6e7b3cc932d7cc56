"""The documents, and what stands in them: blocks of code, commands, links."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.test_layers import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("bench/*.md"), *(ROOT / "docs").rglob("*.md")])
DOCUMENTS = [path for path in DOCUMENTS if "_build" not in path.parts]
FENCE = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}[^\n]*\n|\n)+)")


class Block(NamedTuple):
    """A block of code: what stands behind its fence ("" if it is indented), and its text."""

    info: str
    text: str


def name_of(path: Path) -> str:
    """Return a document's path in the repository."""
    return str(path.relative_to(ROOT))


def prose_of(path: Path) -> str:
    """Return a document without its blocks of code."""
    return FENCE.sub("", path.read_text("utf-8"))


def blocks_of(path: Path) -> list[Block]:
    """Return the blocks of code of a document: first the fenced ones, then those that are indented."""
    text = path.read_text("utf-8")
    fenced = [Block(info.strip(), content) for info, content in FENCE.findall(text)]
    indented = [
        Block("", re.sub(r"^ {4}", "", found, flags=re.MULTILINE)) for found in INDENTED.findall(prose_of(path))
    ]
    return fenced + [block for block in indented if block.text.strip()]


def code_blocks(document: str, info: str) -> list[str]:
    """Return the fenced blocks of a document whose fence says this, or begins so."""
    text = (ROOT / document).read_text("utf-8")
    return [content for found, content in FENCE.findall(text) if f"{found.strip()} ".startswith(f"{info} ")]

"""Every link of the documents leads to a file, and to a heading of it."""

import re
import unicodedata

import pytest

from tests.documents import DOCUMENTS, name_of, prose_of
from tests.test_layers import ROOT

LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def anchor(heading):
    """Return the anchor of a heading, as GitHub and the site make it."""
    text = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).strip().lower()
    kept = (char for char in text if char in "-_ " or unicodedata.category(char)[0] in "LN")
    return "".join(kept).replace(" ", "-")


def anchors(path):
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose_of(path), re.MULTILINE)}


def links(path):
    return [one or other for one, other in LINK.findall(prose_of(path))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for link in links(path):
        target, _, place = link.partition("#")
        if re.match(r"https?://", link):
            continue
        there = (path.parent / target).resolve() if target else path
        assert there.exists() and there.is_relative_to(ROOT), f"{link} leads nowhere"
        assert not place or "from the code" in there.read_text("utf-8") or place in anchors(there), f"no {link}"


def test_every_document_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        pages = [link.partition("#")[0] for link in links(path)]
        pages += re.findall(r"^([\w/-]+)$", path.read_text("utf-8"), re.MULTILINE) if path.name == "index.md" else []
        for page in filter(None, pages):
            there = (path.parent / page).resolve()
            there = there if there.exists() else there.with_name(f"{there.name}.md")
            there = there / "index.md" if there.is_dir() else there
            waiting += [there] if there in DOCUMENTS else []
    listed = {path for path in DOCUMENTS if path.parent.name == "adr"}  # by a pattern, on their index
    of_the_site = {ROOT / "docs" / name for name in ("index.md", "contributing.md", "changes.md", "reference.md")}
    of_the_site |= {path for path in DOCUMENTS if path.parent.name == "commands"}
    assert set(DOCUMENTS) - reached <= listed | of_the_site

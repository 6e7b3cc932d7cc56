"""Unpacking of ttar archives, in which a tree of small files is one readable text.

An entry is ``Path:`` and ``Lines:`` with so many lines after them, or ``Path:`` and ``SymlinkTo:``, or ``Directory:``.
EOF after the last line means that no newline ends it; NULLBYTE is a zero byte; a backslash protects either.

Source: ttar, prometheus/procfs, the comment at its beginning.
"""

import re
from pathlib import Path

MARK = re.compile(r"(\\?)(EOF|NULLBYTE)")


def unpack(archive: Path, directory: Path, under: str) -> None:
    """Write the files, links and directories of an archive whose path begins with one, below a directory."""
    lines = iter(archive.read_text(encoding="utf-8").splitlines())
    for line in lines:
        key, _, value = line.partition(": ")
        if key not in ("Path", "Directory"):
            continue
        entry = directory / value
        wanted = value.startswith(under)
        if key == "Directory":
            if wanted:
                entry.mkdir(parents=True, exist_ok=True)
            continue
        key, _, value = next(lines).partition(": ")
        content = [next(lines) for _ in range(int(value))] if key == "Lines" else []
        if not wanted:
            continue
        entry.parent.mkdir(parents=True, exist_ok=True)
        if key == "SymlinkTo":
            entry.symlink_to(value)
        else:
            entry.write_text("".join(map(unmark, content)), encoding="utf-8")


def unmark(line: str) -> str:
    """Return a line as it stands in the file."""
    meanings = {"EOF": "", "NULLBYTE": "\0"}
    text = MARK.sub(lambda mark: mark[2] if mark[1] else meanings[mark[2]], line)
    return text if line.endswith("EOF") and not line.endswith("\\EOF") else f"{text}\n"

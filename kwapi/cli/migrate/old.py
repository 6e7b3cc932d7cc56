"""The files of the Kwapi of 2013: sections and options as oslo.config read them then, and what is told of each.

A file may repeat an option (MultiStrOpt), and its values are often in quotes. The section of a wattmeter has Python:
``probes`` is a list, ``parameters`` a dictionary.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import iniparser

from kwapi.errors import ConfigError


@dataclass(slots=True)
class OldSection:
    """The options of a section that are not yet taken, each with its values, and the line of each."""

    name: str
    values: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def take(self, key: str, default: str = "") -> str:
        """Return the last value of an option, which is taken with that."""
        return self.values.pop(key, [default])[-1]

    def take_all(self, key: str) -> list[str]:
        """Return all values of an option, which is taken with that."""
        return self.values.pop(key, [])

    def take_python(self, key: str, default: Any) -> Any:
        """Return what an option stands for in Python; ValueError if that is nothing of the kind of the default."""
        text = self.take(key)
        if not text:
            return default
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            value = None
        if not isinstance(value, type(default)):
            raise ValueError(f"is no {type(default).__name__} of Python")
        return value


@dataclass(slots=True)
class Report:
    """What became of what was not simply taken over: by file, line, section and option."""

    lines: list[str] = field(default_factory=list)

    def tell(self, path: Path, section: OldSection, key: str, text: str) -> None:
        """Note what became of an option, of a section if it has no name."""
        line = section.lines.get(key, section.lines.get("", 0))
        self.lines.append(f"{path}:{line}: [{section.name}]{f' {key}' if key else ''}: {text}")

    def say(self, text: str) -> None:
        """Note what belongs to no line."""
        self.lines.append(text)


class _Sections(iniparser.BaseParser):
    def __init__(self) -> None:
        self.sections: dict[str, OldSection] = {}
        self._current = OldSection("")
        self._lines: dict[str, int] = {}

    def new_section(self, section: str) -> None:
        self._current = self.sections.setdefault(section, OldSection(section))
        self._current.lines.setdefault("", self.lineno)

    def _split_key_value(self, line: str) -> tuple[str, list[str]]:
        split: tuple[str, list[str]] = super()._split_key_value(line)
        self._current.lines.setdefault(split[0], self.lineno)
        return split

    def assignment(self, key: str, value: list[str]) -> None:
        self._current.values.setdefault(key, []).append(unquoted("\n".join(value).strip()))


def read_old(path: Path) -> dict[str, OldSection]:
    """Return the sections of a file, by name; raise ConfigError if it cannot be read."""
    parser = _Sections()
    try:
        with path.open(encoding="utf-8") as file:
            parser.parse(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: byte {error.start}") from None
    except iniparser.ParseError as error:  # which shows the line, and that may be a secret
        raise ConfigError(f"{path}:{error.lineno}: {error.msg}") from None
    return parser.sections


def unquoted(text: str) -> str:
    """Return a value without quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def is_true(text: str) -> bool:
    """Return whether a value is one of those that oslo.config takes for true."""
    return text.strip().lower() in ("true", "1", "on", "yes")


def written(options: dict[str, str]) -> Iterator[str]:
    """Yield the line of each option, so that the value is read as it is."""
    for key, value in options.items():
        text = value.replace("$", "$$")
        needs_quotes = text[:1] in ("'", '"') or text != text.strip()
        yield f"{key} = {f'{chr(34)}{text}{chr(34)}' if needs_quotes else text}".rstrip() + "\n"

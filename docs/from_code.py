"""What the documents show of the code, made of it at each build: options, commands, drivers, the API.

A line ``<!-- from the code: NAME ARGUMENT... -->`` gives way to the Markdown that MAKERS has for it. Links
out of docs/ lead to pages that show the same file, or are given as what they name, where there is none.
"""

import io
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from oslo_config import cfg

from kwapi.cli.discover.command import PROTOCOLS
from kwapi.cli.main import COMMANDS
from kwapi.cli.main import main as kwapi
from kwapi.config import parse_arguments
from kwapi.drivers import BUILT_IN, EXTRAS, find_driver
from kwapi.options import OPTIONS, with_secret_files
from kwapi.plugins.api.access import SAMPLE
from kwapi.plugins.api.openapi import document
from kwapi.section_options import MACHINE, WATTMETER
from kwapi.simulator.app import main as simulator

HERE = Path(__file__).parent
MARK = re.compile(r"^<!-- from the code: (.+) -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}


def option(one: cfg.Opt) -> str:
    """Return an option as an entry of a list: name, help, type and default."""
    value = one.default
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    elif isinstance(value, bool):
        value = str(value).lower()
    default = "" if value in (None, "", {}) else f"; by default `{value}`"
    choices = ", ".join(f"`{choice}`" for choice in getattr(one.type, "choices", None) or ())
    kind = f"one of {choices}" if choices else f"*{_plain(str(one.type))}*"
    kind += ", required" * one.required + ", secret" * one.secret
    return f"`{one.name}`\n: {_plain(one.help or '')}\n\n  {kind}{default}\n"


def options(daemon: str) -> str:
    """Return the options of [DEFAULT] of a daemon, and of the sections of api.conf."""
    text = "## [DEFAULT]\n\n" + _list(OPTIONS[daemon])
    if daemon == "api":
        text += "".join(f"\n## [{name}]\n\n{_list(some)}" for name, some in SAMPLE.items())
        text += f"\n## [machine NAME]\n\n{_list(MACHINE)}"
    return text


def wattmeter() -> str:
    """Return the options that every section of drivers.conf has."""
    return _list(WATTMETER)


def drivers() -> str:
    """Return a part for each built-in driver, with what it needs and its options."""
    text = ""
    for name in BUILT_IN:
        extra = f"Needs the extra `kwapi[{EXTRAS[name]}]`.\n\n" if name in EXTRAS else ""
        text += f"### driver = {name}\n\n{extra}{_list(find_driver(name).options)}\n"
    return text


def command(name: str, *words: str) -> str:
    """Return the help of a command as it is printed."""
    runs: Mapping[str, Callable[[list[str]], object]] = {"kwapi": kwapi, "kwapi-simulator": simulator}
    run = runs.get(name) or (lambda argv: parse_arguments(name.removeprefix("kwapi-"), argv))
    shown = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="79"), redirect_stdout(shown), suppress(SystemExit):
        run([*words, "--help"])
    return f"```text\n{shown.getvalue()}```\n"


def subcommands() -> str:
    """Return a part for each subcommand of kwapi, and for each protocol of kwapi discover."""
    parts = [(name,) for name in COMMANDS] + [("discover", protocol) for protocol in PROTOCOLS]
    return "\n".join(f"## kwapi {' '.join(part)}\n\n{command('kwapi', *part)}" for part in sorted(parts))


def api() -> str:
    """Return each path of the API's OpenAPI document with its parameters and answers, and what these consist of."""
    described = document(has_keystone=True)
    return _paths(described["paths"]) + "\n## What the answers consist of\n\n" + _schemas(described["components"])


def file(name: str) -> str:
    """Return a document that stands above docs/."""
    return inside((HERE.parent / name).read_text("utf-8"), HERE.parent, HERE)


MAKERS: Mapping[str, Callable[..., str]] = {
    "options": options,
    "wattmeter": wattmeter,
    "drivers": drivers,
    "command": command,
    "subcommands": subcommands,
    "api": api,
    "file": file,
}


def filled(text: str) -> str:
    """Return a document with all that is to be made of the code."""

    def made(mark: re.Match[str]) -> str:
        name, *arguments = mark[1].split()
        return MAKERS[name](*arguments)

    return MARK.sub(made, text)


def inside(text: str, directory: Path, shown_in: Path) -> str:
    """Return a text of one directory, shown in another of docs/, whose links lead to pages or name what is no page."""

    def led(link: re.Match[str]) -> str:
        path = (directory / link[2]).resolve()
        path = path / "index.md" if path.is_dir() else path
        page = HERE / PAGES.get(os.path.relpath(path, HERE.parent), path)
        if not page.is_relative_to(HERE):
            return link[1]
        return f"[{link[1]}]({os.path.relpath(page, shown_in)}{link[3] or ''})"

    return LINK.sub(led, text)


def setup(app: Any) -> dict[str, Any]:
    """Have each document completed when Sphinx reads it."""

    def complete(app: Any, name: str, source: list[str]) -> None:
        directory = (HERE / name).parent
        source[0] = filled(inside(source[0], directory, directory))

    app.connect("source-read", complete)
    return {"parallel_read_safe": True}


def _list(some: Iterable[cfg.Opt]) -> str:
    return "\n".join(map(option, with_secret_files(some))) or "It has no options of its own.\n"


def _plain(text: str) -> str:
    """Return a text whose characters mean nothing to Markdown."""
    return re.sub(r"([\\`*_<>\[\]$|])", r"\\\1", text)


def _paths(paths: Mapping[str, Any]) -> str:
    text = ""
    for path, methods in paths.items():
        operation = methods["get"]
        text += f"### GET {path}\n\n{operation['summary']}.\n\n"
        if operation["parameters"]:
            rows = [(f"`{each['name']}`", each["in"], each["description"]) for each in operation["parameters"]]
            text += _table(("parameter", "in", "means"), rows)
        rows = [(status, _content(answer), answer["description"]) for status, answer in operation["responses"].items()]
        text += _table(("status", "content", "when"), rows)
    return text


def _content(answer: Mapping[str, Any]) -> str:
    kinds = answer.get("content", {})
    named = {_named(body["schema"]) for body in kinds.values()} - {""}
    return " ".join(named) or ", ".join(f"`{kind}`" for kind in kinds)


def _named(schema: Mapping[str, Any]) -> str:
    reference = schema.get("$ref", "").rpartition("/")[2]
    return f"[{reference}](#{reference.lower()})" if reference else ""


def _schemas(components: Mapping[str, Any]) -> str:
    text = ""
    for name, schema in components["schemas"].items():
        text += f"### {name}\n\n{_plain(schema.get('description', ''))}\n\n"
        rows = [(f"`{key}`", _type(one), one.get("description", "")) for key, one in schema["properties"].items()]
        text += _table(("key", "type", "is"), rows)
    return text


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return _named(schema) or str(schema.get("type", ""))


def _table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n"

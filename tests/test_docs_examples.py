"""The examples of the documents are tried: configurations, programs, log lines, figures."""

import ast
import re
import subprocess
import sys
import threading
import tomllib
import types
from pathlib import Path

import pytest

from kwapi.bus import Publisher
from kwapi.config import Reader, load
from kwapi.drivers import BUILT_IN, find_driver
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import ConfigError, DeviceError
from kwapi.keys import parse_keys, read
from kwapi.measurement import Measurement
from kwapi.options import OPTIONS
from kwapi.plugins.api.access import SAMPLE
from kwapi.plugins.api.app import read_all_sections
from tests.documents import DOCUMENTS, blocks_of, code_blocks, name_of
from tests.messages import message
from tests.test_layers import ROOT
from tests.waiting import eventually

DAEMON = re.compile(r"ini (\w+)\.conf")  # a block without the name of a file is of another program
DRIVER, PLUGIN = "docs/writing-a-driver.md", "docs/writing-a-plugin.md"
TROUBLES, SIZES, OLD = "docs/troubleshooting.md", "docs/sizing.md", "docs/from-2013.md"


def module_of(document):
    """Return the program of a document as a module."""
    (source,) = code_blocks(document, "python")
    module = types.ModuleType("example")
    exec(compile(source, document, "exec"), module.__dict__)  # noqa: S102 -- our own document
    return module


def rows(document):
    """Yield the cells of each row of the tables of a document."""
    for line in (ROOT / document).read_text("utf-8").splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_configurations_are_sound(path, tmp_path):
    for block in blocks_of(path):
        found = DAEMON.fullmatch(block.info)
        assert found or not block.info.startswith("ini ") or "text" in block.info, f"whose file is {block.info}?"
        if not found:
            continue
        daemon = found[1]
        file = tmp_path / f"{daemon}.conf"
        file.write_text(block.text.replace("PASSWORD", "a password of 32 letters and more"))
        if daemon == "drivers":
            reader = Reader("drivers", [file], environ={})
            reader.values("DEFAULT", OPTIONS["drivers"])
            read_wattmeters(reader)
            mistakes = reader.mistakes
        else:
            mistakes = mistakes_of(daemon, file)
        # A block may leave out what it is shown beside: Keystone, or who speaks with root's group.
        assert [line for line in mistakes if "[keystone_authtoken]" not in line and "ipc_owner" not in line] == []


def mistakes_of(daemon, file):
    try:
        load(daemon, [file], sections=read_all_sections if daemon == "api" else lambda reader: ())
    except ConfigError as error:
        return error.mistakes
    return []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_programs_compile_and_tables_are_toml(path):
    for block in blocks_of(path):
        if block.info.startswith("python"):
            compile(block.text, name_of(path), "exec")
        if block.info.startswith("toml"):
            tomllib.loads(block.text)


def test_the_driver_measures(tmp_path):
    path = tmp_path / "watts"
    driver = module_of(DRIVER).Text("meter", {"path": str(path), "probes": ["a", "", "c"], "interval": 1.0})
    path.write_text("1.5\n2\n3\n")
    driver.open()
    assert [(each.probe, each.watts) for each in driver.read()] == [("a", 1.5), ("c", 3.0)]
    for nonsense in (b"much\n", b"nan\n", b"1e400\n", b"caf\xe9\n"):
        path.write_bytes(nonsense)
        with pytest.raises(DeviceError):
            driver.read()
    driver.close()


def test_the_driver_is_a_distribution_whose_entry_point_kwapi_finds(tmp_path):
    """It is installed as the document says, beside and not into this environment."""
    (program,), (project,) = code_blocks(DRIVER, "python"), code_blocks(DRIVER, "toml")[:1]
    (tmp_path / "kwapi_text.py").write_text(program)
    (tmp_path / "pyproject.toml").write_text(project)
    installed = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*command, "--disable-pip-version-check", "--target", installed, tmp_path], check=True, timeout=120)
    (tmp_path / "watts").write_text("150\n")
    section = code_blocks(DRIVER, "ini drivers.conf")[0].replace("/run/watts", f"{tmp_path}/watts")
    (tmp_path / "drivers.conf").write_text(section)
    shown = subprocess.run(
        [Path(sys.executable).with_name("kwapi"), "read", "lab.text", "--config-dir", tmp_path],
        env={"PYTHONPATH": f"{installed}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^web-1 +device +150$", shown.stdout, re.MULTILINE)


def test_the_plugin_tells_what_is_too_much():
    told = []
    budget = module_of(PLUGIN).Budget(500, told.append)
    outlets = {"probes": ["i", "a", "b"], "level": ["inlet", "outlet", "outlet"]}
    budget.add(message("lyon.pdu1", **outlets, w=[300.0, 120.0, 130.0]))
    budget.add(message("lyon.pdu2", probes=["c"], w=[150.0]))
    assert told == []
    budget.add(message("lyon.pdu2", probes=["c"], w=[250.0]))
    budget.add(message("lyon.pdu2", probes=["c"], w=[None]))
    budget.add(message("lyon.pdu2", probes=["c"], w=[260.0]))
    budget.add(message("lyon.pdu2", probes=["c"], w=[90.0]))
    assert told == ["550 W of 500 W: too much", "390 W of 500 W"]


def test_the_plugin_hears_the_bus(tmp_path, capsys):
    """Over the real transport, by the configuration of a kwapi-api."""
    key = tmp_path / "signing.key"
    key.touch(0o600)
    key.write_text("a-signing-key-of-a-test-of-32-bytes\n")
    endpoint = f"ipc://{tmp_path}/bus"
    (tmp_path / "api.conf").write_text(
        f"[DEFAULT]\nstate_dir = {tmp_path}\nprobes_endpoint = {endpoint}\nacl_enabled = false\n"
    )
    publisher = Publisher(endpoint, read(key).keys[0])
    sender = publisher.sender("lyon.pdu1", 1.0)
    stopping = threading.Event()
    arguments = (f"{tmp_path}/api.conf", "lyon", "100")
    heard = threading.Thread(target=module_of(PLUGIN).main, args=arguments, kwargs={"stop": stopping})
    heard.start()
    told = []

    def once():
        sender.publish([Measurement("web-1", watts=118.0)], message().timestamp, 0.0)
        told.append(capsys.readouterr().out)
        return "118 W of 100 W: too much" in "".join(told)

    eventually(once)
    stopping.set()
    heard.join(10)
    publisher.close()
    assert not heard.is_alive()


def patterns():
    """Return a pattern for each text of the code that has some words, and places for values."""
    found = set()
    for path in (ROOT / "kwapi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(re.escape(one.value) if isinstance(one, ast.Constant) else ".*" for one in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = re.sub(r"%(?:\\?\.\d)?[sdgfr]", ".*", re.escape(node.value))
            else:
                continue
            if len(re.findall(r"[a-z]", text)) > 7:
                found.add(text)
    return found


def is_said(line, known):
    """Return whether the code says a line, or a part of it between colons and semicolons: the rest is values."""
    ends = [0, *(found.end() for found in re.finditer(r": |; ", line))]
    starts = [*(found.start() for found in re.finditer(r": |; ", line)), len(line)]
    parts = (line[begin:end] for begin in ends for end in starts if begin < end)
    return any(known.fullmatch(part) for part in parts)


def test_what_the_log_is_said_to_say_it_says():
    known = re.compile("|".join(sorted(patterns(), key=len, reverse=True)))
    cells = [cell for row in rows(TROUBLES) for cell in row[:2]]
    lines = [line for cell in cells for line in re.findall(r"`([^`]+ [^`]+ [^`]+)`", cell)]
    assert len(lines) > 20
    assert [line for line in lines if not is_said(line, known)] == []
    assert not is_said("lyon.pdu1 has gone fishing: it does so on Sundays", known)


def test_the_states_and_reasons_that_are_explained_are_those_of_the_code():
    states = {cells[0] for cells in rows(TROUBLES)} & {"down", "stale", "hung", "starting", "muted", "silent", "up"}
    assert states == {"down", "stale", "hung", "starting", "muted", "silent"}


def test_each_figure_of_sizing_stands_where_it_is_said_to_be_from():
    figures = [cells for cells in rows(SIZES) if cells[-1].endswith(".md")]
    assert len(figures) > 20
    for *_, figure, source in figures:
        text = " ".join((ROOT / source).read_text("utf-8").split())
        assert figure in text, f"{figure} is not in {source}"


def test_the_options_that_old_ones_became_are_there():
    tables = [*OPTIONS.values(), *SAMPLE.values(), *(find_driver(name).options for name in BUILT_IN)]
    known = {option.dest for table in tables for option in table}
    news = [cells[1] for cells in rows(OLD) if not cells[1].startswith("gone")]
    named = {word for cell in news for word in re.findall(r"`([a-z]+_[a-z_]+)`", cell)}
    assert len(named) > 10
    assert named <= known


def test_the_placeholder_of_2013_is_refused():
    with pytest.raises(ConfigError):
        parse_keys("change this or be hacked", "signing.key")

"""Recordings of real PDUs, from an SNMP agent to a subscriber behind a forwarder and to the API: every value exact.

The recordings are not part of the project; KWAPI_RECORDINGS says where they are.
"""

import json
import shutil
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from kwapi.bus import Gate, Subscriber
from kwapi.signing import KeyRing, read_key
from tests.integration.daemons import Site
from tests.integration.recordings import recordings_directory
from tests.integration.snmpsim import serve_recordings
from tests.waiting import eventually

pytestmark = pytest.mark.integration

COLUMNS = {"P": "w", "S": "va", "V": "v", "I": "a", "E": "kwh"}  # quantity of a truth file, column of a message
LEVELS = {"input": "inlet"}
TO_KWH = 1000  # the truth has Wh


class Row(NamedTuple):
    """A row of a device: its level and index, and the values it must give by column."""

    level: str
    index: str
    values: dict[str, float]


class Recording(NamedTuple):
    profile: str | None  # the ``mib`` of the truth file that our profile reads, None where it names none
    outlets: int


RECORDINGS = {
    "eatonpdu_2": Recording("eaton-g3", 24),
    "raritan-pdu_px2": Recording(None, 12),
    "raritan-pdu_px3": Recording(None, 24),
    "apc_ap8853": Recording("apc-rpdu2", 0),
    "apc_ap7900b": Recording("apc-rpdu", 0),
}


def truth_of(path: Path, recording: Recording) -> list[Row]:
    """Return what a truth file says of the columns that a message has."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        column = COLUMNS.get(entry["quantity"])
        if column is None or entry["value"] is None or entry.get("mib") != recording.profile:
            continue
        index = entry["index"] if "mib" in entry else entry["index"].rpartition(".")[0]  # less the sensor's type
        level = LEVELS.get(entry["level"], entry["level"])
        value = entry["value"] / TO_KWH if column == "kwh" else entry["value"]
        rows.setdefault((level, index), {})[column] = value
    return [Row(level, index, values) for (level, index), values in rows.items()]


def probe_name(name: str, row: Row) -> str:
    return f"{name} {row.level} {row.index}"


def section_of(name: str, port: int, rows: list[Row], outlets: int) -> str:
    """Return the section of a recording: outlets in order, the other rows by level and index."""
    by_index = {int(row.index.rpartition(".")[2]): row for row in rows if row.level == "outlet"}
    assert len(by_index) == outlets
    names = [probe_name(name, by_index[number]) for number in sorted(by_index)]
    names += [f"{probe_name(name, row)}@{row.level}.{row.index}" for row in rows if row.level != "outlet"]
    return (
        f"[{name}]\ndriver = snmp\nhost = 127.0.0.1\nport = {port}\ncommunity = {name}\ntimeout = 5\n"
        f"slow_interval = 1\nprobes = {', '.join(names)}\n"
    )


def test_every_value_arrives_exactly(tmp_path):
    directory = recordings_directory() / "snmp"
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    work.mkdir()
    truth = {}
    for name, recording in RECORDINGS.items():
        shutil.copy(directory / f"{name}.snmprec", data)
        truth[name] = truth_of(directory / "truth" / f"{name}.json", recording)
    received: dict[str, dict[str, float]] = {}

    def collect(message):
        for column in (*COLUMNS.values(), "pf", "hz"):
            for probe, value in zip(message.probes, getattr(message, column) or [], strict=False):
                if value is not None:
                    received.setdefault(probe, {})[column] = value

    with serve_recordings(data, work) as port:
        sections = "".join(section_of(name, port, rows, RECORDINGS[name].outlets) for name, rows in truth.items())
        with Site(tmp_path, sections) as site:
            site.start("drivers", "forwarder", "api")
            key = read_key(tmp_path / "state" / "signing.key")
            gate, stop = Gate(KeyRing([key])), threading.Event()
            subscriber = Subscriber([site.forwarded], [""], gate)
            thread = threading.Thread(target=subscriber.run, args=(stop, collect))
            thread.start()
            expected = {probe_name(name, row): row.values for name, rows in truth.items() for row in rows}
            try:
                eventually(lambda: all(set(expected[probe]) <= set(received.get(probe, {})) for probe in expected), 60)
                eventually(lambda: {probe for probe in expected if "w" in expected[probe]} <= set(site.probes()))
                shown = site.probes()
            finally:
                stop.set()
                thread.join()
    assert not gate.rejected
    for probe, values in expected.items():
        assert {column: received[probe][column] for column in values} == pytest.approx(values, rel=1e-12, abs=0)
        # Nothing is sold as a quantity that the device does not measure.
        extra = set(received[probe]) - set(values) - {"pf", "hz"}
        assert not extra, (probe, extra)
        if "w" in values:
            assert shown[probe]["w"] == values["w"]
        else:
            assert probe not in shown
    assert len(expected) >= 24 + 2 + 13 + 25 + 2 + 2

"""Recordings of real PDUs, from an SNMP agent to a subscriber behind a forwarder and to the API: every value exact."""

import threading

import pytest

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.measurement import QUANTITIES
from tests.integration.daemons import Site
from tests.integration.recordings import PROFILES, copy_recordings, load_truth
from tests.integration.snmpsim import serve_recordings
from tests.waiting import eventually

pytestmark = pytest.mark.integration

OUTLETS = {"eatonpdu_2": 24, "raritan-pdu_px2": 12, "raritan-pdu_px3": 24, "apc_ap8853": 0, "apc_ap7900b": 0}
ASKED = {"watts", "volt_amperes", "volts", "amps", "kwh"}


def probe_name(recording, level, index):
    return f"{recording} {level} {index}"


def section_of(recording, port, rows):
    """Return the section of a recording: outlets in order, the other rows by level and index."""
    numbers = {int(index.rpartition(".")[2]): index for level, index in rows if level == "outlet"}
    assert len(numbers) == OUTLETS[recording]
    names = [probe_name(recording, "outlet", numbers[number]) for number in sorted(numbers)]
    others = [(level, index) for level, index in rows if level != "outlet"]
    names += [f"{probe_name(recording, level, index)}@{level}.{index}" for level, index in others]
    return (
        f"[{recording}]\ndriver = snmp\nhost = 127.0.0.1\nport = {port}\ncommunity = {recording}\ntimeout = 3\n"
        f"slow_interval = 1\nprobes = {', '.join(names)}\n"
    )


def test_every_value_arrives_exactly(tmp_path):
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    work.mkdir()
    copy_recordings(data)
    truth = {recording: load_truth(recording) for recording in PROFILES}
    expected = {probe_name(recording, *row): values for recording in truth for row, values in truth[recording].items()}
    received: dict[str, dict[str, float]] = {probe: {} for probe in expected}

    def collect(message):
        for column, attribute in QUANTITIES:
            for probe, value in zip(message.probes, getattr(message, column) or [], strict=False):
                if value is not None:
                    received[probe][attribute] = value

    with serve_recordings(data, work) as port:
        sections = "".join(section_of(recording, port, rows) for recording, rows in truth.items())
        with Site(tmp_path, sections) as site:
            site.start("drivers", "forwarder", "api")
            gate, stop = Gate(KeyFile(tmp_path / "state" / "signing.key")), threading.Event()
            subscriber = Subscriber([site.forwarded], [""], gate)
            thread = threading.Thread(target=subscriber.run, args=(stop, collect))
            thread.start()
            try:
                eventually(lambda: all(values.keys() <= received[probe].keys() for probe, values in expected.items()))
                eventually(lambda: {probe for probe in expected if "watts" in expected[probe]} <= set(site.probes()))
                shown = site.probes()
            finally:
                stop.set()
                thread.join()
    assert not gate.rejected
    for probe, values in expected.items():
        assert {attribute: received[probe][attribute] for attribute in values} == pytest.approx(values, rel=1e-12)
        # Nothing is sold as a quantity that the device does not measure.
        assert received[probe].keys() & ASKED == values.keys() & ASKED, probe
        if "watts" in values:
            assert shown[probe]["w"] == values["watts"]
        else:
            assert probe not in shown

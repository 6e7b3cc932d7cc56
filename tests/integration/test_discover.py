"""``kwapi discover`` against recorded devices and the simulator: the section it writes is one that the drivers read."""

import argparse
import json

import pytest

from kwapi.cli import read
from kwapi.cli.discover import command
from kwapi.drivers.wattmeter import Wattmeter
from tests.drivers.redfish.test_driver import OUTLETS
from tests.drivers.redfish.test_driver import pdu as pdu_resources
from tests.integration.recordings import copy_recordings, load_truth
from tests.integration.redfish_server import PASSWORD, USER, make_certificate, serve_redfish
from tests.integration.snmpsim import serve_recordings
from tests.integration.test_redfish import rackmount

pytestmark = pytest.mark.integration

RECORDED = (
    "eatonpdu_2",
    "raritan-pdu_px3",
    "apc_ap7900b",
    "apc_ap8853",
    "eltek-webpower",
    "hpe-mapdu_pdu3",
    "schleifenbauer_dpm27e",
)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Return the port of an agent that serves recordings."""
    recorded, work = tmp_path_factory.mktemp("recorded"), tmp_path_factory.mktemp("work")
    copy_recordings(recorded, RECORDED)
    with serve_recordings(recorded, work) as port:
        yield port


def run(*argv):
    """Run the command as kwapi does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in argv]))


def wattmeter_of(text, path, extra="") -> Wattmeter:
    """Return the only wattmeter of the text, as kwapi-drivers would have it."""
    path.write_text(text + extra)
    return read.find(text.partition("\n[")[2].partition("]")[0], path)


@pytest.mark.parametrize(
    ("name", "profile", "probes", "watts"),
    [
        (
            "eatonpdu_2",
            "eaton-g3",
            {
                1: "Power strip + s-rw-lab-rack",
                3: "SP Lab EX4650-48y - RU11",
                10: "pdu-outlet-10",
                24: "pdu-outlet-24",  # Outlet A24
            },
            1568,
        ),
        ("raritan-pdu_px3", "raritan-pdu2", {1: "pdu-outlet-1", 2: "DEVICE 8:PS1:Planned"}, 1671),
        ("apc_ap7900b", "apc-rpdu", {1: "pdu"}, 312),
        ("apc_ap8853", "apc-rpdu2", {1: "pdu"}, 1140),
    ],
)
def test_the_section_of_a_recorded_device_is_read_by_the_driver(name, profile, probes, watts, port, tmp_path, capsys):
    assert run("snmp", "--community", name, "--name", "pdu", f"127.0.0.1:{port}") == 0
    printed = capsys.readouterr()
    assert f"(profile {profile})" in printed.out.splitlines()[0]
    assert printed.err == ""
    measured = read.poll(wattmeter_of(printed.out, tmp_path / "drivers.conf"))
    assert {number: measured[number - 1].probe for number in probes} == probes
    assert len({each.probe for each in measured}) == len(measured)
    assert sum(each.watts for each in measured) == watts


def test_the_rows_that_are_left_are_examples_to_be_taken(port, tmp_path, capsys):
    assert run("snmp", "--community", "eatonpdu_2", "--name", "pdu", f"127.0.0.1:{port}") == 0
    text = capsys.readouterr().out
    examples = [line.removeprefix("#   ") for line in text.partition("may be added")[2].splitlines()[1:] if line]
    assert examples == ["pdu-inlet-0-1@inlet.0.1", "pdu-phase-0-1-1@phase.0.1.1"]
    lines = [f"{line}, {', '.join(examples)}" if line.startswith("probes") else line for line in text.splitlines()]
    measured = read.poll(wattmeter_of("\n".join(lines), tmp_path / "drivers.conf"))
    assert {each.probe: each.watts for each in measured[24:]} == {
        "pdu-inlet-0-1": 1584,
        "pdu-phase-0-1-1": 1589,
    }


@pytest.mark.parametrize("name", RECORDED[:4])
def test_json_says_what_the_mib_says(name, port, capsys):
    assert run("snmp", "--json", "--community", name, f"127.0.0.1:{port}") == 0
    rows = {(row["level"], row["index"]): row for row in json.loads(capsys.readouterr().out)["rows"]}
    for place, expected in load_truth(name).items():
        assert {quantity: rows[place][quantity] for quantity in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "label", "count"),  # 24 of the 48 outlets that the first counts have a label
    [("hpe-mapdu_pdu3", "OUTLET 1", 24), ("schleifenbauer_dpm27e", "channel1", 12)],
)
def test_labels_as_the_factory_left_them_are_shown_but_make_no_names(name, label, count, port, tmp_path, capsys):
    assert run("snmp", "--json", "--community", name, f"127.0.0.1:{port}") == 0
    outlets = [row for row in json.loads(capsys.readouterr().out)["rows"] if row["level"] == "outlet"]
    assert outlets[0]["label"] == label
    assert len({row["label"] for row in outlets if row["label"]}) == count
    assert run("snmp", "--community", name, "--name", "pdu", f"127.0.0.1:{port}") == 0
    names = wattmeter_of(capsys.readouterr().out, tmp_path / "drivers.conf").values["probes"]
    assert [name.partition("@")[0] for name in names] == [
        f"pdu-outlet-{number}" for number in range(1, len(outlets) + 1)
    ]


def test_a_device_that_no_profile_knows_is_told(port, capsys):
    assert run("snmp", "--community", "eltek-webpower", f"127.0.0.1:{port}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("127.0.0.1: has the sysObjectID '1.3.6.1.4.1.12148.9', which no profile knows; --profile")


@pytest.mark.parametrize("version", ["1", "2c"])
def test_the_simulated_pdu_is_discovered(version, pdu, tmp_path, capsys):
    assert run("snmp", "--version", version, f"127.0.0.1:{pdu.port}") == 0
    text = capsys.readouterr().out
    assert "(profile eaton-g3)" in text
    measured = read.poll(wattmeter_of(text, tmp_path / "drivers.conf"))
    assert measured
    assert all(each.watts is not None and each.level == "outlet" for each in measured)


def test_a_server_with_redfish_is_discovered(tmp_path, monkeypatch, capsys):
    certificate = make_certificate(tmp_path)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    with serve_redfish(rackmount(), certificate) as server:
        asked = ("redfish", f"127.0.0.1:{server.port}", "--user", USER, "--ca-file", certificate, "--timeout", "10")
        assert run(*asked, "--name", "pdu", "--password-file", tmp_path / "password") == 0
        text = capsys.readouterr().out
        assert PASSWORD not in text
        monkeypatch.setenv("KWAPI_PDU__PASSWORD", PASSWORD)
        (only,) = read.poll(wattmeter_of(text, tmp_path / "drivers.conf", "deadline = 9\n"))
        assert (only.probe, only.watts) == ("pdu", 374)
        monkeypatch.setenv("KWAPI_PASSWORD", PASSWORD)
        assert run(*asked, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        watts = {f"{row['level']}.{row['index']}": row["watts"] for row in found["rows"]}
        assert watts["device.1U"] == 374
        monkeypatch.setenv("KWAPI_PASSWORD", "wrong")
        assert run(*asked, "--json") == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not server.sessions


def test_a_pdu_with_redfish_has_its_outlets_named(tmp_path, monkeypatch, capsys):
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("KWAPI_PASSWORD", PASSWORD)
    monkeypatch.setenv("KWAPI_PDU__PASSWORD", PASSWORD)
    resources = pdu_resources()
    for outlet, label in {"A1": " web-1\t", "A2": "", "A3": "a/b", "B1": None}.items():
        resources[f"{OUTLETS}/{outlet}"]["UserLabel"] = label
    with serve_redfish(resources, certificate) as server:
        asked = ("redfish", f"127.0.0.1:{server.port}", "--user", USER, "--ca-file", certificate, "--timeout", "10")
        assert run(*asked, "--name", "pdu") == 0
        text = capsys.readouterr().out
        assert run(*asked, "--json") == 0
        labels = [row["label"] for row in json.loads(capsys.readouterr().out)["rows"] if row["level"] == "outlet"]
        wattmeter = wattmeter_of(text, tmp_path / "drivers.conf", "deadline = 9\n")
        measured = read.poll(wattmeter)
    fallbacks = [f"pdu-outlet-{number}" for number in (2, 4)]
    assert wattmeter.values["probes"] == ["web-1", fallbacks[0], "a-b", fallbacks[1]]
    assert [(each.probe, each.watts, each.level) for each in measured] == [
        ("web-1", 197.4, "outlet"),
        (fallbacks[0], 0, "outlet"),
    ]
    assert labels == ["web-1", None]
    assert "@inlet.1." in text.partition("may be added")[2]


def test_two_devices_of_one_user_are_discovered(tmp_path, monkeypatch, capsys):
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("KWAPI_PASSWORD", PASSWORD)
    with serve_redfish(rackmount(), certificate) as one, serve_redfish(rackmount(), certificate) as other:
        hosts = [f"127.0.0.1:{server.port}" for server in (one, other)]
        assert run("redfish", "--json", *hosts, "--user", USER, "--ca-file", certificate, "--timeout", "10") == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["port"] for each in found] == [one.port, other.port]

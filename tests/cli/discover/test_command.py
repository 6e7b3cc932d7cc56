import argparse
import json
import socket
import sys

import pytest
from pysnmp.entity import config
from pysnmp.proto.rfc1902 import ObjectIdentifier, OctetString

from kwapi.cli.discover import command
from kwapi.config import Reader
from kwapi.drivers.wattmeter import read_wattmeters
from tests.drivers.snmp_agent import SnmpAgent

RPDU2 = "1.3.6.1.4.1.318.1.1.26"
QUICK = ("--timeout", "2", "--retries", "1")


def run(*argv):
    """Run the command as kwapi does."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in argv]))


def accepted(text, path):
    """Return the wattmeters that kwapi-drivers would have of a text; fail if anything in it is wrong."""
    path.write_text(text)
    reader = Reader("drivers", [path])
    wattmeters = read_wattmeters(reader)
    reader.finish()
    return {each.name: each.values for each in wattmeters}


def apc(outlets, watts=10, users=()):
    """Return an APC PDU, given the labels of its outlets by number."""
    cells = {
        "1.3.6.1.2.1.1.1.0": OctetString("AP8659\r\n[evil]\r\ndriver = dummy"),
        "1.3.6.1.2.1.1.2.0": ObjectIdentifier("1.3.6.1.4.1.318.1.3.4.6"),
        f"{RPDU2}.4.3.1.5.1": 9,
        f"{RPDU2}.4.3.1.16.1": 10,
    }
    for number, label in outlets.items():
        cells |= {f"{RPDU2}.9.4.3.1.7.{number}": watts, f"{RPDU2}.9.4.3.1.3.{number}": OctetString(label)}
    return SnmpAgent(cells, users)


def test_labels_of_the_outlets_become_names_that_the_daemon_accepts(tmp_path, capsys):
    labels = ["'web'", "", "a/b, c@d", "cost: $5", "twin", "twin", b"caf\xe9\n[x]", "caf\u00e9\n[y]".encode()]
    with apc(dict(enumerate(labels, 1))) as agent:
        assert run("snmp", f"127.0.0.1:{agent.port}", *QUICK) == 0
    printed = capsys.readouterr()
    name = f"127-0-0-1-{agent.port}"
    values = accepted(printed.out, tmp_path / "drivers.conf")[name]
    fallbacks = [f"{name}-outlet-{number}" for number in (2, 5, 6)]
    names = ["web", fallbacks[0], "a-b- c-d", "cost: $5", *fallbacks[1:], "café [x]", "café [y]"]
    assert values["probes"] == names
    assert (values["host"], values["port"]) == ("127.0.0.1", agent.port)
    assert f"#   {name}-inlet-1@inlet.1" in printed.out.splitlines()
    assert printed.err == ""


def test_outlets_with_a_hole_in_their_numbers_are_named_with_their_rows(tmp_path, capsys):
    with apc({1: "a", 2: "b", 4: "d"}) as agent:
        assert run("snmp", f"127.0.0.1:{agent.port}", *QUICK) == 0
    (values,) = accepted(capsys.readouterr().out, tmp_path / "drivers.conf").values()
    assert values["probes"] == ["a@outlet.1", "b@outlet.2", "d@outlet.4"]


def test_json_has_a_row_for_each_thing_that_is_measured(capsys):
    with apc({1: "a"}) as agent:
        assert run("snmp", "--json", f"127.0.0.1:{agent.port}", *QUICK) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["host"], found["profile"]) == ("127.0.0.1", "apc-rpdu2")
    unknown = dict.fromkeys(("volts", "amps", "power_factor", "hertz", "kwh"))
    inlet = {"row": "inlet.1", "level": "inlet", "index": "1", "label": None}
    outlet = {"row": "outlet.1", "level": "outlet", "index": "1", "label": "a"}
    assert found["rows"] == [
        {**inlet, "watts": 90.0, "volt_amperes": 100.0, **unknown},
        {**outlet, "watts": 10.0, "volt_amperes": None, **unknown},
    ]


def test_what_cannot_be_true_is_told(capsys):
    with apc({1: "a"}, watts=1000) as agent:
        assert run("snmp", f"127.0.0.1:{agent.port}", *QUICK) == 0
    assert "127.0.0.1: implausible: the 1 probes of level outlet draw 1000 W" in capsys.readouterr().err


def test_two_devices_share_no_name_and_a_silent_one_is_told(tmp_path, capsys):
    with apc({1: "web"}) as one, apc({1: "web"}) as other, socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{port}" for port in (one.port, silent.getsockname()[1], other.port)]
        assert run("snmp", *hosts, "--timeout", "0.5", "--retries", "0") == 1
    printed = capsys.readouterr()
    assert printed.out.count("\n\n# 127.0.0.1: ") == 1
    second = f"127-0-0-1-{other.port}"
    found = accepted(printed.out, tmp_path / "drivers.conf")
    assert {name: values["probes"] for name, values in found.items()} == {
        f"127-0-0-1-{one.port}": ["web"],
        second: [f"{second}-outlet-1"],
    }
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith(f"{hosts[1]}: no answer to 1 request, 0.5 s each, to 1.3.6.1.2.1.1.2.0")
    assert printed.err.endswith("; is the host right, and the community?\n")


def test_a_device_of_no_known_family_is_told_with_the_profiles_there_are(capsys):
    with SnmpAgent({"1.3.6.1.2.1.1.2.0": ObjectIdentifier("1.3.6.1.4.1.99999")}) as agent:
        assert run("snmp", f"127.0.0.1:{agent.port}", *QUICK) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert (
            "the sysObjectID '1.3.6.1.4.1.99999', which no profile knows; --profile takes one of apc-easy,"
            in printed.err
        )
        assert run("snmp", f"127.0.0.1:{agent.port}", "--profile", "ups", *QUICK) == 1
        assert "measures nothing that is known of it" in capsys.readouterr().err


def test_a_secret_comes_from_a_file_or_the_environment_and_is_not_printed(tmp_path, monkeypatch, capsys):
    (tmp_path / "community").write_text("public\n")
    with apc({1: "a"}) as agent:
        assert run("snmp", f"127.0.0.1:{agent.port}", "--community-file", tmp_path / "community", *QUICK) == 0
        assert "\n# fill in the community:\ncommunity =\n" in capsys.readouterr().out
        monkeypatch.setenv("KWAPI_COMMUNITY", "public")
        assert run("snmp", f"127.0.0.1:{agent.port}", *QUICK) == 0
        assert "\n# fill in the community:\ncommunity =\n" in capsys.readouterr().out
        assert run("snmp", f"127.0.0.1:{agent.port}", "--community", "public", *QUICK) == 0
        assert "\ncommunity = public\n" in capsys.readouterr().out


def test_the_keys_of_v3_come_from_files(tmp_path, capsys):
    keys = {"auth": "auth-secret", "priv": "priv-secret"}
    for name, key in keys.items():
        (tmp_path / name).write_text(key)
    user = ("kwapi", config.USM_AUTH_HMAC96_SHA, keys["auth"], config.USM_PRIV_CFB128_AES, keys["priv"])
    files = [word for name in keys for word in (f"--{name}-key-file", tmp_path / name)]
    with apc({1: "a"}, users=[user]) as agent:
        assert run("snmp", f"127.0.0.1:{agent.port}", "--version", "3", "--user", "kwapi", *files, *QUICK) == 0
    printed = capsys.readouterr().out
    assert (
        "\nversion = 3\nuser = kwapi\n# fill in the auth_key:\nauth_key =\n# fill in the priv_key:\npriv_key =\n"
        in printed
    )
    assert not any(key in printed for key in keys.values())


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("snmp", "h", "--version", "3"), "user is empty"),
        (("snmp", "h", "--profile", "nothing"), "'nothing' is unknown"),
        (("snmp", "h", "--community-file", "/nowhere/at all"), "/nowhere/at all: cannot be read"),
        (("redfish", "h", "--user", "u"), "password is missing"),
        (("modbus", "h", "--profile", "nothing"), "'nothing' is unknown"),
        (("modbus", "h", "--profile", "generic"), "registers is empty"),
        (("ipmi", "h", "--user", "u"), "password is empty"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(argv, told, capsys):
    assert run(*argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("ipx", "h"),
        ("snmp",),
        ("snmp", "h:0"),
        ("snmp", "h:99999"),
        ("snmp", "a b"),
        ("snmp", "h", "--version", "4"),
        ("snmp", "h", "--auth-key", "secret of mine"),
        ("redfish", "h", "--user", "u", "--password", "secret of mine"),
        ("modbus", "h", "--unit", "3"),
        ("ipmi", "h", "--password", "secret of mine"),
    ],
)
def test_wrong_use_ends_with_2(argv):
    with pytest.raises(SystemExit) as ended:
        run(*argv)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        *(
            (
                ("modbus", "h", "--units", units),
                f"--units: '{wrong}' is no number from 0 to 255, and no span such as 1-10",
            )
            for units, wrong in (("0-256", "0-256"), ("x", "x"), ("5, 1-x", "1-x"))
        ),
        (("snmp", "h", "--port", "x"), "--port: 'x' is no port from 1 to 65535"),
        (("snmp", "h:65536"), "'65536' is no port from 1 to 65535"),
        (("snmp", "h", "--name", "a/b"), "--name: 'a/b' contains '/'"),
        (("snmp", "h", "--name", "kwapi.x"), "--name: 'kwapi.x' can be no section of a wattmeter"),
        (("snmp", "h", "--name", "default"), "--name: 'default' can be no section of a wattmeter"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_told_in_one_line(argv, told, capsys):
    with pytest.raises(SystemExit) as ended:
        run(*argv)
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, line.endswith(f"{told}; kwapi discover {argv[0]} --help tells more")) == (2, True), line


@pytest.mark.parametrize("driver", ["modbus", "snmp"])
def test_a_mistake_in_a_profile_of_ones_own_is_told(driver, tmp_path, capsys):
    folder = tmp_path / driver
    folder.mkdir()
    (folder / "mine.toml").write_text("[mine")
    assert run(driver, "127.0.0.1:9", "--profile-dir", tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mine.toml: " in line


def test_certificates_that_cannot_be_read_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KWAPI_PASSWORD", "x")
    broken = tmp_path / "ca.pem"
    broken.write_text("nothing")
    assert run("redfish", "127.0.0.1:9", "--user", "u", "--ca-file", broken) == 1
    assert f"127.0.0.1: ca_file {broken}: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("redfish", "127.0.0.1:9", "--user", "u", "--ca-file", "/nowhere.pem")
    assert "--ca-file: /nowhere.pem cannot be read: No such file or directory" in capsys.readouterr().err


def test_an_address_of_version_6_is_told_once(capsys):
    assert run("modbus", "::1") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.count("::1") == 1


def test_a_missing_library_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kwapi.drivers.redfish.driver", None)
    assert run("redfish", "h") == 1
    assert f"; install it: {sys.executable} -m pip install 'httpx" in capsys.readouterr().err

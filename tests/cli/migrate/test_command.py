import re

import pytest

from kwapi.cli.main import main
from kwapi.cli.migrate.history import old_name
from kwapi.cli.migrate.old import read_old, written
from kwapi.config import Reader
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.keys import read
from kwapi.plugins.rrd.archive import file_name
from tests.cli.migrate.old_files import DRIVERS, FILES
from tests.cli.migrate.test_history import make_old


def default_of(path):
    return {key: values[-1] for key, values in read_old(path)["DEFAULT"].values.items()}


@pytest.fixture
def all_of_it(tmp_path, migrate):
    status, said = migrate(**FILES)
    assert status == 0, said
    return tmp_path / "new", said


def test_the_result_passes_the_check(all_of_it, capsys):
    new, _ = all_of_it
    assert main(["check", "--config-dir", str(new)]) == 0
    assert capsys.readouterr().err == ""


def test_wattmeters_are_read_as_before(all_of_it):
    new, _ = all_of_it
    reader = Reader("drivers", [new / "drivers.conf"])
    meters = {one.name: one for one in read_wattmeters(reader)}
    reader.finish()
    options = {
        name: {key: value for key, value in one.values.items() if key in one.values and value != default(one, key)}
        for name, one in meters.items()
    }
    pdu = {"driver": "snmp", "profile": "generic", "unit": "W"}
    v3 = {**pdu, "version": "3", "user": "public"}
    for each in options.values():
        for key in ("interval", "hang_timeout", "maintenance"):
            each.pop(key)
    page = {"driver": "http_json", "url": "http://10.0.0.6/power.json"}
    assert options == {
        "wattsup-1": {"driver": "wattsup", "device": "/dev/ttyUSB1", "probes": ["taurus-1"]},
        "bmc": {
            "driver": "ipmi",
            "host": "10.0.0.2",
            "user": "ops",
            "password": ' pa$$, "w',
            "sensor": ["Power"],
            "probes": ["taurus-2"],
        },
        "pdu": {
            **pdu,
            "version": "1",
            "community": "wattos",
            "host": "10.0.0.3",
            "oid": ["1.3.6.1.4.1.318.1.1.12.1.16"],
            "probes": ["taurus-3", "", "taurus-4"],
        },
        "eaton": {
            **v3,
            "host": "10.0.0.4",
            "oid": ["1.3.6.1.4.1.534.6.6.7.6.5.1.3"],
            "probes": ["taurus-5", "taurus-6"],
        },
        "raritan": {
            **v3,
            "host": "10.0.0.5",
            "oid": ["1.3.6.1.4.1.13742.4.1.2.2.1.7"],
            "probes": ["a-b", "taurus-1-2"],
        },
        "site.1": {**page, "w": "[taurus-7].watt W", "probes": ["lyon.taurus-7"]},
        "site.2": {**page, "w": "[taurus-8].watt W", "probes": ["lyon.taurus-8"]},
        "made-up": {"driver": "dummy", "watts": 80.0, "amplitude": 20.0, "probes": ["x", "y"]},
    }


def default(wattmeter, key):
    return next((option.default for option in wattmeter.driver.options if option.dest == key), {})


def test_options_of_the_daemons_have_their_new_names(all_of_it):
    new, _ = all_of_it
    drivers, forwarder, api, rrd = (default_of(new / f"{name}.conf") for name in FILES)
    place = {"state_dir": str(new / "state")}
    assert drivers == place | {"probes_endpoint": "tcp://127.0.0.1:5555"}
    assert forwarder == place | {
        "probes_endpoint": "tcp://127.0.0.1:5555, tcp://10.0.1.1:5000",
        "forwarder_endpoint": "tcp://127.0.0.1:5556",
        "allow_plaintext": "true",
    }
    assert api == place | {
        "port": "5001",
        "cleaning_interval": "300",
        "probes_endpoint": "tcp://127.0.0.1:5556",
        "acl_enabled": "true",
        "host": "0.0.0.0",  # noqa: S104
    }
    assert rrd == place | {
        "port": "8081",
        "probes_endpoint": "tcp://127.0.0.1:5556",
        "currency": "\u20ac",
        "kwh_price": "0.125",
        "log_level": "warning",
    }
    keystone = read_old(new / "api.conf")["keystone_authtoken"].values
    assert {key: values[-1] for key, values in keystone.items()} == {
        "auth_url": "https://keystone.example.org:35357",
        "username": "kwapi",
        "password": "0ld-keystone",
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }


def test_nothing_is_dropped_without_a_word(all_of_it):
    new, said = all_of_it
    told = {
        (name, section, key)
        for name, section, key in re.findall(r"old/(\w+)\.conf:\d+: \[([^\]]+)\](?: (\w+))?: ", said)
    }
    for name in FILES:
        for section in read_old(new.parent / "old" / f"{name}.conf").values():
            for key, values in section.values.items():
                assert (
                    (name, section.name, key) in told
                    or (name, section.name, "") in told
                    or taken_over(new / f"{name}.conf", key, values)
                ), f"{name}.conf [{section.name}] {key}"


PARTS = {
    "auth_host",
    "auth_port",
    "auth_protocol",
    "driver",
    "probes",
    "parameters",
    "verbose",
}  # of something else now


def taken_over(path, key, values):
    """Return whether what an option said is found in a new file."""
    text = path.read_text()
    return key in PARTS or all(value in text for value in values)


@pytest.mark.parametrize(
    "line",
    [
        "old/drivers.conf:5: [DEFAULT] metering_secret: not taken over",
        "old/drivers.conf:6: [DEFAULT] check_drivers_interval: each wattmeter is watched",
        "old/drivers.conf:33: [raritan] parameters: 'colour' has no counterpart; left out",
        "[raritan]: the probe 'a/b' is called 'a-b' now: 'a/b' contains '/'",
        "[raritan]: the probe 'taurus-1' is called 'taurus-1-2' now: a name stands once; [machine NAME] in api.conf",
        "[site] data_type: every probe measures power",
        "[switch]: not converted, a comment now: there is no driver 'SnmpIn': it counted the bytes of a network",
        "old/forwarder.conf:3: [DEFAULT] probes_endpoint: tcp://10.0.1.1:5000 leaves this machine unencrypted",
        "[DEFAULT] acl_enabled: listens on all addresses (host = 0.0.0.0), as it did",
        "old/api.conf:7: [DEFAULT] policy_file: its rules are not converted",
        "old/api.conf:9: [DEFAULT] watch_probe: 'taurus-3' names probes",
        "[keystone_authtoken] signing_dir: tokens of that kind are gone",
        "old/rrd.conf:12: [DEFAULT] refresh_interval: left at its default, 5: Should be greater than or equal to 1",
        "old/rrd.conf:14: [DEFAULT] frobnicate: an option that is not known; left out",
        "Written: new/drivers.conf, new/forwarder.conf, new/api.conf, new/rrd.conf; 12 probes, 0 of them with their",
    ],
)
def test_what_is_not_taken_over_is_told_by_its_line(migrate, line):
    _, said = migrate(**FILES)
    name = line.split(":")[0] if line.startswith("old/") else ""
    told = [each for each in said.splitlines() if line.partition(": ")[2] in each and name in each]
    assert told or line in said, said


def test_what_nothing_reads_becomes_a_comment(all_of_it):
    new, _ = all_of_it
    text = (new / "drivers.conf").read_text()
    assert "# Not converted: there is no driver 'SnmpIn'" in text
    assert "# [switch]\n# probes = ['s1']\n# driver = SnmpIn\n# parameters = {'ip': '10.0.0.7'" in text


def test_secrets_are_not_told_and_the_key_is_new(all_of_it):
    new, said = all_of_it
    assert "0ld-" not in said
    assert "wattos" not in said
    (key,) = read(new / "state" / "signing.key").keys
    assert b"0ld" not in key.secret
    assert (new / "drivers.conf").stat().st_mode & 0o007 == 0


def test_histories_are_taken_over_under_the_new_names(tmp_path, migrate):
    rrd = tmp_path / "kwapi-rrd"
    rrd.mkdir()
    for probe in ("taurus-1", "a/b"):
        make_old(rrd / old_name(probe))
    make_old(rrd / old_name("stranger"))
    (rrd / old_name("x")).write_text("nothing")
    before = {path: path.read_bytes() for path in rrd.iterdir()}
    status, said = migrate("--rrd", rrd, **FILES)
    assert status == 0
    assert {path: path.read_bytes() for path in rrd.iterdir()} == before
    new = tmp_path / "new" / "state" / "rrd"
    assert sorted(path.name for path in new.iterdir()) == [file_name("a-b"), file_name("taurus-1")]
    assert f"{old_name('stranger')}: is of no probe of drivers.conf; left where it is" in said
    assert f"{old_name('x')}: of the probe 'x', not taken over: " in said
    assert f"{old_name('y')}: of the probe 'y', is not there" in said
    assert f"{old_name('taurus-1')}: of the probe 'taurus-1', is taken over for another" in said
    assert "12 probes, 2 of them with their history" in said


def test_passwords_are_closed_to_others_where_the_file_was_not(tmp_path, migrate):
    path = tmp_path / "new" / "drivers.conf"
    path.parent.mkdir()
    path.write_text("# as a package brings it\n")
    path.chmod(0o644)
    assert migrate(drivers=DRIVERS)[0] == 0
    assert "password = " in path.read_text()
    assert not path.stat().st_mode & 0o007


def test_without_keystone_the_api_answers_this_machine_only(tmp_path, migrate):
    status, said = migrate(api="[DEFAULT]\nacl_enabled = true\n")
    assert status == 0
    assert "[keystone_authtoken] lacks auth_url, username, password, project_name; without Keystone" in said
    assert default_of(tmp_path / "new" / "api.conf")["acl_enabled"] == "false"


@pytest.mark.parametrize("value", ["plain", "a $b", "'quoted'", '"', " blanks ", "#5", ""])
def test_a_value_is_read_as_it_was_written(tmp_path, value):
    (tmp_path / "drivers.conf").write_text("[DEFAULT]\n[w]\ndriver = ipmi\n" + "".join(written({"password": value})))
    reader = Reader("drivers", [tmp_path / "drivers.conf"], {})
    read_wattmeters(reader)
    assert reader.conf.w.password == value

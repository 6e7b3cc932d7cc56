import pytest

from kwapi.cli.main import main
from tests.cli.migrate.old_files import DRIVERS, FILES


def test_nothing_that_is_there_is_overwritten(tmp_path, migrate):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "rrd.conf").write_text("[DEFAULT]\nport = 1\n")
    (tmp_path / "new" / "api.conf").write_text("# as a package brings it\n[DEFAULT]\n")
    status, said = migrate(**FILES)
    assert (status, said) == (2, "new/rrd.conf: is there already; give another directory, or move it away\n")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["api.conf", "rrd.conf"]
    (tmp_path / "new" / "rrd.conf").unlink()
    assert migrate()[0] == 0
    assert (tmp_path / "new" / "api.conf").read_text().startswith("# as a package brings it\n[DEFAULT]\nstate_dir = ")


def test_the_same_directory_is_refused(tmp_path, migrate, capsys):
    migrate(drivers=DRIVERS)
    assert main(["migrate", str(tmp_path / "old"), str(tmp_path / "old")]) == 2
    assert "drivers.conf: is there already" in capsys.readouterr().err
    assert (tmp_path / "old" / "drivers.conf").read_text() == DRIVERS


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "there is none of drivers.conf, forwarder.conf, api.conf, rrd.conf"),
        ({"api": "[DEFAULT]\nsecret word\n"}, "api.conf:2: No ':' or '=' found in assignment\n"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path, migrate, files, told):
    status, said = migrate(**files)
    assert status == 2
    assert told in said
    assert "secret word" not in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("driver = Ipmi\nprobes = ['a']\nparameters = {'host': 'x'", "probes or parameters is no dict of Python"),
        ("driver = Ipmi\nprobes = a, b\n", "probes or parameters is no list of Python"),
        ("driver = Ipmi\nprobes = []\n", "it names no probe"),
        ("driver = Ipmi\nprobes = ['a']\n", "parameters lack 'host'"),
        ("driver = Snmp\nprobes = ['a']\nparameters = {'ip': 'x'}\n", "parameters lack 'oid'"),
        ("driver = Snmp\nprobes = ['a']\nparameters = {'protocol': 'v2'}\n", "there is no version 'v2' of SNMP"),
        ("driver = Shell\nprobes = ['a']\n", "there is no driver 'Shell'"),
        ("probes = ['a']\n", "there is no driver ''"),
    ],
)
def test_a_section_that_makes_no_sense_is_a_comment(tmp_path, migrate, section, told):
    status, said = migrate(drivers=f"[DEFAULT]\n[w]\n{section}")
    assert status == 0
    assert f"old/drivers.conf:2: [w]: not converted, a comment now: {told}" in said
    assert f"# Not converted: {told}" in (tmp_path / "new" / "drivers.conf").read_text()


def test_what_was_left_out_is_told_also_where_the_result_has_a_mistake(migrate):
    bmc = "[bmc]\ndriver = Ipmi\nprobes = ['a']\nparameters = {'host': 'x', 'username': 'u', 'size': 1}\n"
    status, said = migrate(drivers=bmc)
    assert status == 2
    assert "old/drivers.conf:4: [bmc] parameters: 'size' has no counterpart; left out\n" in said
    assert "Written: new/drivers.conf; 1 probes" in said
    assert "[bmc] password: is empty" in said

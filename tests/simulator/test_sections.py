"""What is written for those who read a farm, and what of it stays when the farm is started again."""

import os
import signal
from stat import S_IMODE

import pytest

from kwapi.config import Reader
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.errors import ConfigError
from kwapi.simulator.description import KINDS, Plan
from kwapi.simulator.sections import directory_beside, with_ports
from tests.simulator.farms import run
from tests.simulator.test_app import simulator

EVERY_KIND = "".join(f'[[wattmeter]]\nname = "{kind}"\nkind = "{kind}"\n' for kind in KINDS)
OWN = "[DEFAULT]\nlog_level = debug\n\n[mine]\ndriver = dummy\nprobes = mine\n"


def write(path, plans):
    """Let a farm of these plans write a drivers.conf."""

    async def nothing(site):
        pass

    path.parent.mkdir(exist_ok=True)
    run(nothing, with_ports(plans, path), path.parent)


def wattmeters(path):
    """Return the values of each section, as kwapi-drivers has them."""
    reader = Reader("drivers", [path], environ={})
    found = {each.name: each.values for each in read_wattmeters(reader)}
    reader.finish()
    return found


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_farm_that_is_started_again_is_where_it_was(ending, tmp_path):
    description, path = tmp_path / "farm.toml", tmp_path / "drivers.conf"
    description.write_text(EVERY_KIND)
    path.write_text(OWN)
    texts = []
    for _ in range(2):
        with simulator(str(description), "--write-config", str(path)) as process:
            assert process.stdout.readline().startswith(f"{len(KINDS)} wattmeters answer")
            texts.append(path.read_text())
            assert list(wattmeters(path)) == ["mine", *KINDS]
            process.send_signal(ending)
            process.wait()
    assert texts[0] == texts[1]


def test_what_was_not_written_for_a_farm_is_kept(tmp_path):
    path = tmp_path / "drivers.conf"
    path.write_text(OWN)
    write(path, [Plan("a", "http"), Plan("b", "http")])
    before = wattmeters(path)
    path.write_text(path.read_text() + "[later]\ndriver = dummy\nprobes = later\n")
    write(path, [Plan("b", "http"), Plan("c", "http")])
    text = path.read_text()
    assert text.startswith(OWN)
    after = wattmeters(path)
    assert list(after) == ["mine", "b", "c", "later"]
    assert after["b"]["url"] == before["b"]["url"]


def test_a_port_of_the_description_is_nobody_elses(tmp_path):
    path = tmp_path / "drivers.conf"
    write(path, [Plan("a", "snmp"), Plan("b", "snmp")])
    ports = {name: values["port"] for name, values in wattmeters(path).items()}
    first, second = with_ports([Plan("a", "snmp"), Plan("b", "snmp", port=ports["a"])], path)
    assert (first.port, second.port) == (0, ports["a"])


def test_a_section_that_somebody_else_wrote_is_not_replaced(tmp_path):
    path = tmp_path / "drivers.conf"
    path.write_text(OWN)
    with pytest.raises(ConfigError, match=r"\[Mine\] is not of kwapi-simulator's"):
        with_ports([Plan("Mine", "http")], path)
    assert path.read_text() == OWN


def test_what_an_owner_made_of_a_port_is_no_port(tmp_path):
    path = tmp_path / "drivers.conf"
    write(path, [Plan("a", "http"), Plan("b", "snmp")])
    path.write_text(path.read_text().replace("127.0.0.1:", "127.0.0.1:x").replace("port = ", "port = x"))
    assert [plan.port for plan in with_ports([Plan("a", "http"), Plan("b", "snmp")], path)] == [0, 0]


def test_two_simulators_do_not_write_one_file(tmp_path):
    path = tmp_path / "drivers.conf"
    with directory_beside(path) as directory:
        (directory / "file").touch()
        with pytest.raises(ConfigError, match="another kwapi-simulator"), directory_beside(path):
            pass
        assert os.listdir(directory) == ["file"]
    assert not directory.exists()


def test_the_file_stays_whose_it_is(tmp_path):
    path = tmp_path / "drivers.conf"
    write(path, [Plan("a", "http")])
    assert S_IMODE(path.stat().st_mode) == 0o600  # it has secrets
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 7)  # of the group of kwapi-drivers
    before = path.stat()
    write(path, [Plan("b", "http")])
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert list(wattmeters(path)) == ["b"]


def test_a_directory_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="nowhere/drivers.conf.farm: No such file"):
        with directory_beside(tmp_path / "nowhere" / "drivers.conf"):
            pass


def test_a_bmc_is_polled_as_often_as_its_driver_does_it(tmp_path):
    description, path = tmp_path / "farm.toml", tmp_path / "drivers.conf"
    description.write_text('[[wattmeter]]\nname = "bmc"\nkind = "ipmi"\n')
    with simulator(str(description), "--write-config", str(path)) as process:
        process.stdout.readline()
        assert "interval = 5.0\n" in path.read_text()
        process.terminate()
        process.wait()

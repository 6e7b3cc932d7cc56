from functools import partial

import pytest

from kwapi.config import Reader, load
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.environment import unknown_variables, variable
from kwapi.plugins.api.machines import read_machines

SECTION = "[Lyon.PDU 1]\ndriver = snmp\nhost = 127.0.0.1\nprobes = a\n"
MACHINES = "[DEFAULT]\nacl_enabled = false\n[machine web-1]\nprobes = a, b\n"


@pytest.fixture
def configurations(tmp_path):
    (tmp_path / "drivers.conf").write_text(SECTION)
    (tmp_path / "api.conf").write_text(MACHINES)
    reader = Reader("drivers", [tmp_path / "drivers.conf"], {})
    read_wattmeters(reader)
    return {"drivers": reader.finish(), "api": load("api", [tmp_path / "api.conf"], sections=read_machines)}


def told(configurations, *names):
    return list(unknown_variables(configurations, dict.fromkeys((*names, "HOME", "KWAPI"), "x")))


def only(configurations, *daemons):
    return partial(told, {daemon: configurations[daemon] for daemon in daemons})


def test_a_name_is_that_of_section_and_option():
    assert (variable("port"), variable("password", "Lyon.PDU 1")) == ("KWAPI_PORT", "KWAPI_LYON_PDU_1__PASSWORD")


def test_options_of_all_daemons_are_known(configurations):
    names = ("KWAPI_PORT", "KWAPI_KWH_PRICE", "KWAPI_FORWARDER_ENDPOINT", "KWAPI_DEFAULT_STATE_DIR")
    names += ("KWAPI_RECORDINGS", "KWAPI_DEB")  # of the tests
    names += ("KWAPI_LYON_PDU_1__COMMUNITY", "KWAPI_MACHINE_WEB_1__PROBES")
    assert told(configurations, *names) == []


def test_a_name_that_is_not_known_is_told_with_the_nearest(configurations):
    assert told(configurations, "KWAPI_PROT", "KWAPI_LYON_PDU_1__COMUNITY", "KWAPI_NICE_PDU__INTERVAL") == [
        "KWAPI_LYON_PDU_1__COMUNITY in the environment is no option; did you mean KWAPI_LYON_PDU_1__COMMUNITY?",
        "KWAPI_NICE_PDU__INTERVAL in the environment is no option; did you mean KWAPI_LYON_PDU_1__INTERVAL?",
        "KWAPI_PROT in the environment is no option; did you mean KWAPI_PORT?",
    ]
    assert told(configurations, "KWAPI_QQQQQQQQQQQQ") == ["KWAPI_QQQQQQQQQQQQ in the environment is no option"]


def test_what_may_be_a_section_of_another_daemon_is_not_told(configurations):
    assert only(configurations, "drivers")("KWAPI_KEYSTONE_AUTHTOKEN__PASSWORD", "KWAPI_MACHINE_X__PROBES") == []
    assert only(configurations, "api")("KWAPI_ANY_PDU__PASSWORD") == []
    assert only(configurations, "api")("KWAPI_KEYSTONE_AUTHTOKEN__PASWORD")
    assert only(configurations, "drivers")("KWAPI_ANY_PDU__PASSWORD")

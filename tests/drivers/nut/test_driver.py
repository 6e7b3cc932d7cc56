"""Names of a section and what they measure, against a small upsd."""

import pytest

from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.nut.upsd import RACK, WHOLE, Upsd, make, read


def test_names_are_the_whole_device_and_its_outlets_and_an_empty_one_skips_one():
    with Upsd() as server:
        assert read(server, ["rack", "web1", "", "db1"]) == [
            WHOLE,
            Measurement("web1", watts=162.0, level="outlet"),
            Measurement("db1", watts=7.0, level="outlet"),
        ]
        assert read(server, ["", "", "web2"]) == [Measurement("web2", watts=68.0, level="outlet")]
    assert server.requests[:2] == ["LIST UPS", "LIST VAR rack"]


def test_one_connection_serves_all_polls():
    with Upsd() as server:
        driver = make(server.port, ups="rack")
        driver.open()
        for _ in range(3):
            assert driver.read() == [WHOLE]
            assert driver.answered_at is not None
        driver.close()
        driver.close()
    assert server.connections == 1
    assert server.requests == ["LIST VAR rack"] * 4


def test_a_name_may_say_which_variables_it_means():
    variables = {"device.type": "ats", "outlet.group.1.realpower": "1701", "outlet.group.1.current": "7.70"}
    with Upsd(variables) as server:
        driver = make(server.port, ["ats@outlet.group.1"])
        assert driver.probe_names() == ["ats"]
        driver.open()
        assert driver.read() == [Measurement("ats", watts=1701.0, amps=7.7, level="bank")]
        driver.close()


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (list("abcde"), "more names than outlets: 'e' is left over; rack on .* has outlet.1, outlet.2, outlet.10"),
        (["a@outlet.3"], "'a@outlet.3' matches no variable; rack on .* has outlet.1, "),
        (["a", "b@output"], "'b@output' measures what 'a' does, and would be counted twice"),
        (["a", "b", "c@outlet.1"], "'c@outlet.1' measures what 'b' does"),
        (["a@ups", "b@output"], "'b@output' measures what 'a' does"),
    ],
)
def test_a_name_without_a_place_is_an_error_that_lists_the_outlets(probes, message):
    with Upsd() as server, pytest.raises(DeviceError, match=message):
        read(server, probes)


def test_a_ups_that_tells_no_watts_is_an_error_that_says_what_it_tells():
    variables = {"ups.load": "10", "ups.realpower.nominal": "2700", "ups.status": "OL"}
    with Upsd(variables) as server:
        with pytest.raises(DeviceError, match="tells no watts; it has ups.load, ups.realpower.nominal"):
            read(server)
        assert read(server, estimate=True) == [Measurement("rack", watts=270.0)]


def test_a_ups_that_is_not_there_or_one_of_several_is_told():
    with Upsd() as server:
        with pytest.raises(DeviceError, match="LIST VAR cellar: UNKNOWN-UPS"):
            read(server, ups="cellar")
        server.answers["LIST UPS"] = b'BEGIN LIST UPS\nUPS a ""\nUPS b ""\nEND LIST UPS\n'
        with pytest.raises(DeviceError, match=r"has a, b; set ups in its section"):
            read(server)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, None),
        ({"probes": ["a@outlet.group.2", "b@output.L1", "c@ups", ""]}, None),
        ({"ups": "two words"}, ("ups", "contains what may not stand in a request")),
        ({"user": "a\nLOGIN rack"}, ("user", "contains what may not stand in a request")),
        ({"login": True}, ("login", "needs a user")),
        ({"password": "x"}, ("user", "is empty, but there is a password")),
        ({"ca_file": "/x"}, ("ca_file", "is for tls = true only")),
        ({"probes": ["a@outlet"]}, ("probes", "'a@outlet': 'outlet' is none of outlet.1, ")),
        ({"probes": ["@ups"]}, ("probes", "'@ups' names variables, but not the probe")),
    ],
)
def test_mistakes_of_a_section_are_told(options, problem):
    found = list(make(**options).problems())
    if problem is None:
        assert found == []
    else:
        assert any(name == problem[0] and text.startswith(problem[1]) for name, text in found), found


def test_an_energy_register_that_was_reset_is_told_as_it_is():
    with Upsd(RACK | {"experimental.output.energy": "504299"}) as server:
        driver = make(server.port, ups="rack")
        driver.open()
        assert driver.read()[0].kwh == 504.299
        server.variables["experimental.output.energy"] = "0"
        assert driver.read()[0].kwh == 0.0
        driver.close()

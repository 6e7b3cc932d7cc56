import argparse

import pytest

from kwapi.cli.discover.arguments import make_parser, parse, parse_address, read_values
from kwapi.drivers import find_driver


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("pdu1.lyon.example", {"host": "pdu1.lyon.example"}),
        ("pdu1:1161", {"host": "pdu1", "port": 1161}),
        ("2001:db8::1", {"host": "2001:db8::1"}),
        ("[2001:db8::1]:1161", {"host": "2001:db8::1", "port": 1161}),
    ],
)
def test_an_address_may_have_a_port(address, expected):
    assert parse_address(find_driver("snmp"), address) == expected


@pytest.mark.parametrize("name", ["ipmi", "modbus"])
def test_a_driver_that_reads_devices_of_this_machine_takes_their_paths(name):
    assert parse_address(find_driver(name), "/dev/ttyUSB0") == {"device": "/dev/ttyUSB0"}
    with pytest.raises(argparse.ArgumentTypeError):
        parse_address(find_driver("snmp"), "/dev/ttyUSB0")


def test_one_port_is_for_all_hosts_that_have_none():
    given = parse("modbus", find_driver("modbus"), [], ["a", "b:503", "/dev/ttyUSB0", "--port", "1502"])
    assert given.addresses == [{"host": "a", "port": 1502}, {"host": "b", "port": 503}, {"device": "/dev/ttyUSB0"}]


def test_a_value_of_0_is_a_value():
    driver = find_driver("snmp")
    given = make_parser("snmp", driver, ["retries", "timeout"]).parse_args(["h", "--retries", "0"])
    values, shown = read_values(driver, ["retries", "timeout"], given)
    assert (values["retries"], values["timeout"], shown) == (0, 1.0, {"retries": 0})

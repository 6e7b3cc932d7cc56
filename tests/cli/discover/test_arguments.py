import argparse

import pytest

from kwapi.cli.discover.arguments import parse_address
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

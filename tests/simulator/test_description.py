"""What a description of a farm may say, and what is said of its mistakes."""

import pytest

from kwapi.errors import ConfigError
from kwapi.simulator.description import KINDS, Plan, Scheduled, parse_wrap, read_description
from kwapi.simulator.device import Fault
from kwapi.simulator.load import MICROJOULES_PER_WH

WH = MICROJOULES_PER_WH


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "farm.toml"
        path.write_text(text)
        return read_description(path)

    return read


def test_entry_says_everything(read):
    (plan,) = read(
        """
        [[wattmeter]]
        name = "lyon.pdu"
        kind = "snmp"
        outlets = 4
        load = "web day"
        seed = 7
        port = 10161
        start_wh = -20
        wrap = "16 bit"
        interval = 2
        options = {slow_interval = 5}
        [[wattmeter.fault]]
        kind = "slow"
        at = 30
        for = 20
        seconds = 3
        [[wattmeter.fault]]
        kind = "reboot"
        at = 1
        """
    )
    assert plan == Plan(
        name="lyon.pdu",
        kind="snmp",
        outlets=4,
        load="web day",
        seed=7,
        port=10161,
        start=(2**16 - 20) * WH,
        wrap=2**16 * WH,
        interval=2,
        options={"slow_interval": 5},
        faults=(Scheduled(Fault("slow", 3), 30, 20), Scheduled(Fault("reboot"), 1, 5)),
    )


def test_several_are_numbered_and_each_is_another(read):
    plans = read(
        '[[wattmeter]]\nname = "a"\nkind = "http"\n[[wattmeter]]\nname = "b"\nkind = "http"\ncount = 3\nport = 9'
    )
    assert [(plan.name, plan.seed, plan.port) for plan in plans] == [
        ("a", 0, 0),
        ("b1", 1, 9),
        ("b2", 2, 10),
        ("b3", 3, 11),
    ]


@pytest.mark.parametrize(
    ("text", "wh"),
    [
        ("16 bit", 2**16),
        ("24 bit", 2**24),
        ("32 bit", 2**32),
        ("99999.9 kWh", 10**8),
        ("9999.99 kWh", 10**7),
        ("999999 kWh", 10**9),
    ],
)
def test_register_wraps_after_its_largest_reading(text, wh):
    assert parse_wrap(text, WH) == wh * WH


def test_bits_count_the_units_of_the_kind():
    assert parse_wrap("16 bit", KINDS["http"].microjoules) == 65_536 * WH // 1000


@pytest.mark.parametrize(
    ("lines", "mistake"),
    [
        ("colour = 3", "colour: unknown key"),
        ('kind = "dummy"', "kind: 'dummy' is none of snmp, "),
        ('name = "a/b"', "name: 'a/b' contains '/'"),
        ("name = 3", "name: 3 is no text"),
        ("count = 0", "count: 0 is not a whole number from 1 to 10000"),
        ("count = true", "count: True is not a whole number"),
        ("outlets = 5", "outlets: http has 4 at most"),
        ('load = "full"', "load: 'full' is none of idle, "),
        ('interval = "1"', "interval: '1' is no number"),
        ("port = 70000", "port: 70000 is not a whole number"),
        ('wrap = "12 bit"', "wrap: '12 bit' is none of 16 bit, "),
        ('wrap = "9912.9 kWh"', "wrap: '9912.9 kWh' is none of"),
        ('wrap = "-9 kWh"', "wrap: '-9 kWh' is none of"),
        ("start_wh = -1", "start_wh: is negative, and there is no wrap"),
        ("options = 3", "options: 3 is no table"),
        ("fault = 3", "fault: 3 is no list of tables"),
        ('fault = [{kind = "fire", at = 1}]', "fault: 'fire' is none of silent, "),
        ('fault = [{kind = "silent"}]', "fault: at: None is no number"),
        ('fault = [{kind = "silent", at = 1, off = 3}]', "fault: off: unknown key"),
        ('fault = [{kind = "silent", at = 1, for = "x"}]', "fault: for: 'x' is no number"),
        ('fault = [{kind = "silent", at = 1, for = -1}]', "fault: for: -1 is negative"),
        ('fault = [{kind = "slow", at = 1}]', "fault: slow needs seconds"),
        ('fault = [{kind = "slow", at = 1, seconds = -1}]', "fault: seconds: -1 is negative"),
        ('fault = [{kind = "silent", at = 1, seconds = 3}]', "fault: silent takes no seconds"),
    ],
)
def test_mistake_is_told_with_its_place(read, lines, mistake):
    given = {line.partition(" =")[0] for line in lines.splitlines()}
    usual = [line for line in ('name = "a"', 'kind = "http"') if line.partition(" =")[0] not in given]
    with pytest.raises(ConfigError) as error:
        read("\n".join(["[[wattmeter]]", *usual, lines]))
    assert len(error.value.mistakes) == 1
    assert f"farm.toml: wattmeter 1: {mistake}" in error.value.mistakes[0]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "there is no [[wattmeter]]"),
        ("[wattmeter]\n", "there is no [[wattmeter]]"),
        ("wattmeter = [3]", "wattmeter 1: must be a table"),
        ("[[", "(at end of document)"),
        ('[[wattmeter]]\nname = "a"', "wattmeter 1: lacks kind"),
        ('rack = 3\n[[wattmeter]]\nname = "a"\nkind = "http"', "rack: unknown key"),
        (
            '[[wattmeter]]\nname = "a1"\nkind = "http"\n[[wattmeter]]\nname = "a"\nkind = "http"\ncount = 2',
            "a1 is listed",
        ),
    ],
)
def test_file_that_is_no_description_is_refused(read, text, mistake):
    with pytest.raises(ConfigError, match="farm.toml") as error:
        read(text)
    assert mistake in str(error.value)


def test_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="none.toml: cannot be read: No such file"):
        read_description(tmp_path / "none.toml")

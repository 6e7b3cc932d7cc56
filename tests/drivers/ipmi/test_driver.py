import pytest

from kwapi.drivers.ipmi.client import Target
from kwapi.drivers.ipmi.driver import Ipmi
from kwapi.drivers.ipmi.records import Identity, parse_identity
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.clock import Clock
from tests.drivers.ipmi.sensors import ON, POWER, Sdr, supplies
from tests.integration.bmc import power_reading
from tests.integration.ipmi_sim import sensor_record

DEFAULTS = {option.dest: option.default for option in Ipmi.options} | {"interval": 1.0, "probes": ["server"]}
LAN = {"host": "127.0.0.1", "user": "user", "password": "secret"}


class Bmc:
    """A client of one BMC, whose answers are by command or a function of netfn, command, payload and lun."""

    def __init__(self, answers, clock=None, takes=0.0):
        self.answers = answers
        self.asked = []
        self.clock = clock
        self.takes = takes
        self.joined = set()

    def join(self, target, reader):
        self.target = target
        self.joined.add(reader)

    def readers(self, target):
        return len(self.joined)

    def ask(self, target, netfn, command, payload, *, lun, seconds):
        assert seconds > 0
        self.asked.append((netfn, command))
        if self.clock:
            self.clock.now += self.takes
        answer = self.answers(netfn, command, payload, lun) if callable(self.answers) else self.answers[netfn, command]
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(watts, **values):
    octets = bytes.fromhex(power_reading(watts, **values))
    return octets[0], octets[1:]


def make(answers, clock=None, takes=0.0, shared=None, wattmeter="server", **options):
    clock = clock or Clock()
    shared = shared or Bmc(answers, clock, takes)
    values = {**DEFAULTS, **LAN, "min_interval": 0.0, **options}
    driver = Ipmi(wattmeter, values, shared, wall_clock=clock, monotonic_clock=clock)
    driver.open()
    return driver, shared


def watts(driver):
    return [measurement.watts for measurement in driver.read()]


def test_the_power_is_dcmis():
    driver, _ = make({POWER: answer(234)})
    assert driver.read() == [Measurement("server", watts=234)]


def test_an_inactive_measurement_counts_if_it_has_watts():
    driver, bmc = make({POWER: answer(0, active=False)})
    assert driver.read() == []
    bmc.answers = {POWER: answer(319, active=False)}
    assert watts(driver) == [319]
    bmc.answers = {POWER: answer(0)}
    assert watts(driver) == [0]


def test_a_reading_that_the_bmc_repeats_is_no_measurement():
    driver, bmc = make({POWER: answer(234, timestamp=1_700_000_000)})
    assert watts(driver) == [234]
    assert watts(driver) == []
    bmc.answers = {POWER: answer(234, timestamp=1_700_000_010)}
    assert watts(driver) == [234]


def test_a_timestamp_that_stands_still_while_watts_change_says_nothing():
    driver, bmc = make({POWER: answer(234, timestamp=7)})
    seen = [watts(driver)]
    for power in (235, 235, 235):
        bmc.answers = {POWER: answer(power, timestamp=7)}
        seen.append(watts(driver))
    assert seen == [[234], [235], [235], [235]]


@pytest.mark.parametrize("timestamp", [0, 0xFFFFFFFF])
def test_without_a_timestamp_nothing_is_a_repetition(timestamp):
    driver, _ = make({POWER: answer(234, timestamp=timestamp)})
    assert [watts(driver) for _ in range(3)] == [[234]] * 3


def test_a_bmc_is_asked_no_more_often_than_its_interval_says():
    clock = Clock()
    driver, bmc = make({POWER: answer(234)}, clock, min_interval=5.0)
    seen = []
    for _ in range(11):
        seen.append(len(driver.read()))
        clock.now += 0.999
    assert seen == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] and len(bmc.asked) == 3


def test_a_late_reading_does_not_cost_the_next_one():
    clock = Clock()
    driver, _ = make({POWER: answer(234)}, clock, min_interval=5.0)
    start, seen = clock.now, []
    for second in (0, 5, 10.8, 15, 20.5, 25, 29, 30):
        clock.now = start + second
        seen.append(len(driver.read()))
    assert seen == [1, 1, 1, 1, 1, 1, 0, 1]


def test_readings_that_are_always_a_little_early_are_not_more_than_allowed():
    clock = Clock()
    driver, bmc = make({POWER: answer(234)}, clock, min_interval=5.0)
    for _ in range(1000):
        driver.read()
        clock.now += 0.3
    assert len(bmc.asked) <= 61  # in 300 s


def test_two_wattmeters_of_one_bmc_share_its_interval():
    clock = Clock()
    first, bmc = make({POWER: answer(234)}, clock, min_interval=5.0)
    second, _ = make({}, clock, min_interval=5.0, shared=bmc, wattmeter="other")
    for _ in range(60):
        first.read()
        second.read()
        clock.now += 1
    assert len(bmc.asked) == 12


def test_after_a_failure_there_is_no_wait():
    clock = Clock()
    driver, bmc = make({POWER: answer(234)}, clock, min_interval=5.0)
    driver.read()
    clock.now += 5
    bmc.answers = {POWER: (0xC0, b"")}
    with pytest.raises(DeviceError, match=r"127.0.0.1:623 answered Get Power Reading with code 0xc0"):
        driver.read()
    driver.close()
    bmc.answers = {POWER: answer(235)}
    driver.open()
    assert watts(driver) == [235]


def test_without_dcmi_the_sensor_of_the_machine_is_read():
    driver, bmc = make(Sdr(supplies(), {4: (0, b"\x64" + ON)}))
    assert watts(driver) == [160]
    assert bmc.asked.count(POWER) == 1
    assert watts(driver) == [160]
    assert bmc.asked.count(POWER) == 1 and bmc.asked[-1] == (0x04, 0x2D)


def test_named_sensors_are_summed_and_dcmi_is_not_asked():
    driver, bmc = make(Sdr(supplies(), {1: (0, b"\x28" + ON), 2: (0, b"\x37" + ON)}), sensor=["PS* Input"])
    assert watts(driver) == [160 + 107]
    assert POWER not in bmc.asked


def test_a_sum_leaves_out_what_is_not_there_but_lacks_nothing_that_is():
    sdr = Sdr(supplies(), {1: (0, b"\x28" + ON), 2: (0xCB, b"")})
    driver, _ = make(sdr, sensor=["PS1 Input", "PS2 Input"])
    assert watts(driver) == [160]
    sdr.readings[2] = 0, b"\0\x20\0"
    assert watts(driver) == []
    sdr.readings = {1: (0xCB, b""), 2: (0xCB, b"")}
    assert watts(driver) == []
    sdr.readings[1] = 0xCE, b""
    with pytest.raises(DeviceError, match="for sensor 'PS1 Input' with code 0xce"):
        driver.read()


def test_a_long_list_of_sensors_takes_more_than_one_poll():
    clock = Clock()
    records = [sensor_record(f"Temp {number}", number, unit=1) for number in range(1, 20)] + supplies()
    driver, _ = make(Sdr(records, {4: (0, b"\x64" + ON)}), clock, takes=0.1)
    seen = []
    while not any(seen):
        start = clock.now
        seen.append(driver.read())
        assert clock.now - start < driver.timeout
    assert len(seen) == 3 and seen[-1] == [Measurement("server", watts=160)]


def test_answers_that_take_too_long_together_are_a_device_error():
    driver, _ = make(Sdr(supplies(), {1: (0, b"\x28" + ON), 2: (0, b"\x37" + ON)}), sensor=["PS*"])
    driver.read()
    driver.shared.takes = 6.0
    with pytest.raises(DeviceError, match="127.0.0.1:623 took longer than 5 s"):
        driver.read()


def test_too_low_a_privilege_is_refused_credentials():
    driver, _ = make({POWER: (0xD4, b"")})
    with pytest.raises(CredentialsRefused, match=r"127.0.0.1:623 wants more than privilege = user for 0x2c 0x02"):
        driver.read()


def test_a_name_without_an_address_is_a_device_error():
    driver, _ = make({})
    driver.host = "bmc.invalid"
    with pytest.raises(DeviceError, match="bmc.invalid: "):
        driver.open()


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({}, []),
        ({"host": None, "device": "/dev/ipmi0", "user": "", "password": ""}, []),
        ({"kg": "0x" + "a1" * 20}, []),
        ({"host": None}, ["host or device is needed, and not both"]),
        ({"device": "/dev/ipmi0"}, ["host or device is needed, and not both"]),
        ({"probes": []}, ["probes must be one name: a BMC measures one machine"]),
        ({"probes": ["a", "b"]}, ["probes must be one name: a BMC measures one machine"]),
        (
            {"user": "", "password": ""},
            [f"{each} is empty, and a BMC on the network needs one" for each in ("user", "password")],
        ),
        ({"user": "é" * 9}, ["user is longer than 16 bytes, which is all that IPMI takes"]),
        ({"password": "p" * 21}, ["password is longer than 20 bytes, which is all that IPMI takes"]),
        ({"kg": "0xxyz"}, ["kg is not hexadecimal, as its 0x says"]),
        ({"kg": "k" * 21}, ["kg is longer than 20 bytes, which is all that IPMI takes"]),
        ({"kg": "0x" + "a1" * 21}, ["kg is longer than 20 bytes, which is all that IPMI takes"]),
    ],
)
def test_problems_that_types_cannot_see_are_told(options, problems):
    driver = Ipmi("server", {**DEFAULTS, **LAN, **options})
    assert [" ".join(problem) for problem in driver.problems()] == problems


def test_secrets_stay_out_of_sight():
    target = Target("bmc", "127.0.0.1", 623, "user", "s3cret", "k3y")
    assert not any(secret in f"{target} {target!r}" for secret in ("s3cret", "k3y"))
    assert {option.dest for option in Ipmi.options if option.secret} == {"password", "kg"}


def test_what_a_bmc_says_it_is():
    answer = bytes.fromhex("20 81 89 02 02 df 4ff1f2 0001 00000000")  # in the bits beyond 20 is no number
    assert parse_identity(answer) == Identity(maker=0x2F14F, product=0x0100, firmware="9.02", version="2.0")
    with pytest.raises(DeviceError, match="malformed device id"):
        parse_identity(answer[:10])

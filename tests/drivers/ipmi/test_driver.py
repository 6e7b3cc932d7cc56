import pytest

from kwapi.drivers.ipmi.client import Target
from kwapi.drivers.ipmi.driver import Ipmi
from kwapi.drivers.ipmi.records import (
    choose_sensors,
    may_be_watts,
    parse_name,
    parse_power_reading,
    parse_sensor,
    parse_sensor_reading,
)
from kwapi.drivers.ipmi.repository import Repository
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.integration.bmc import power_reading
from tests.integration.ipmi_sim import sensor_record

DEFAULTS = {option.dest: option.default for option in Ipmi.options} | {"interval": 1.0, "probes": ["server"]}
LAN = {"host": "127.0.0.1", "user": "user", "password": "secret"}
POWER = (0x2C, 0x02)
INVALID_COMMAND = (0xC1, b"")
ON = b"\xc0\0\0"  # a reading's flags: scanning


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Bmc:
    """A client of one BMC, whose answers are by command or a function of netfn, command, payload and lun."""

    def __init__(self, answers, clock=None, takes=0.0):
        self.answers = answers
        self.asked = []
        self.clock = clock
        self.takes = takes
        self.joined = set()

    def join(self, target, reader):
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


class Sdr:
    """A BMC's records and readings of its sensors, by number."""

    def __init__(self, records, readings=(), largest=255):
        self.records = records
        self.readings = dict(readings)
        self.largest = largest
        self.changes = 0
        self.losses = 0
        self.reservation = 0

    def __call__(self, netfn, command, payload, lun=0):
        if netfn == 0x04:
            return self.readings[payload[0]]
        if (netfn, command) == POWER:
            return INVALID_COMMAND
        if command == 0x20:
            return 0, b"\x51" + len(self.records).to_bytes(2, "little") + bytes([0, 0, self.changes])
        if command == 0x22:
            self.reservation += 1
            return 0, self.reservation.to_bytes(2, "little")
        if self.losses or payload[:2] != self.reservation.to_bytes(2, "little"):
            self.losses -= 1
            return 0xC5, b""
        place, offset, size = int.from_bytes(payload[2:4], "little"), payload[4], payload[5]
        assert offset + size <= len(self.records[place])
        if size > self.largest:
            return 0xCA, b""
        following = place + 1 if place + 1 < len(self.records) else 0xFFFF
        return 0, following.to_bytes(2, "little") + self.records[place][offset : offset + size]


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


def supplies():
    return [
        sensor_record("PS1 Input", 1, entity=10, m=4),
        sensor_record("PS2 Input", 2, entity=10, m=2, b=-3),
        sensor_record("Inlet Temp", 3, unit=1),
        sensor_record("System Level", 4, m=15, result_exponent=-1, b=1, b_exponent=2),
    ]


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        ("dc 29 01 1c 01 3d 01 29 01 2b 2e 54 56 10 27 00 00 40", (297, 284, 317, 297, 1448357419, 10.0, True)),
        ("dc e2 00 00 00 8a 02 ec 00 00 00 00 00 30 d9 0c a0 40", (226, 0, 650, 236, 0, 2685196.592, True)),
        ("dc 3f 01 3f 01 3f 01 3f 01 07 00 00 00 00 00 00 00 00", (319, 319, 319, 319, 7, 0.0, False)),
        (
            "dc ff ff 00 00 ff ff ff ff ff ff ff ff ff ff ff ff ff 01",
            (65535, 0, 65535, 65535, 2**32 - 1, 4294967.295, True),
        ),
    ],
)
def test_a_power_reading_has_watts_their_statistics_and_the_state(octets, expected):
    reading = parse_power_reading(bytes.fromhex(octets))
    assert (reading.watts, reading.minimum, reading.maximum, reading.average) == expected[:4]
    assert (reading.timestamp, reading.seconds, reading.active) == expected[4:]
    assert reading.is_measured


@pytest.mark.parametrize("octets", ["", "dc", "dc" + "00" * 16, "dd" + "00" * 17])
def test_a_power_reading_that_is_cut_or_of_another_group_is_a_device_error(octets):
    with pytest.raises(DeviceError, match="malformed DCMI power reading"):
        parse_power_reading(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("type_and_length", "octets", "name"),
    [
        (0xC9, b"PS1 Input", "PS1 Input"),
        (0xC4, b"PS1 \xb5W", "PS1"),
        (0xC3, b"\xb5W\0", "µW"),
        (0x03, "µW".encode(), "µW"),
        (0x42, b"\x12\xc3", "12.3"),
        (0x83, b"\x29\xdc\xa6", "IPMI"),  # the example of 43.15
        (0x84, b"\x29\xdc\xa6\x29", "IPMII"),
        (0xC0, b"", ""),
    ],
)
def test_names_are_in_four_codes(type_and_length, octets, name):
    assert parse_name(type_and_length, octets) == name


@pytest.mark.parametrize(
    ("values", "raw", "expected"),
    [
        ({"m": 4}, 40, 160),
        ({"m": 2, "b": -3}, 55, 107),
        ({"m": 15, "b": 1, "b_exponent": 2, "result_exponent": -1}, 100, 160),
        ({"m": -1, "b": 511}, 255, 256),
        ({"m": 1, "form": 2}, 0xFE, -2),
        ({"m": 1, "form": 1}, 0xFE, -1),
        ({"m": 7, "result_exponent": -3}, 1, 0.007),
    ],
)
def test_a_sensor_makes_watts_of_its_raw_reading(values, raw, expected):
    sensor = parse_sensor(sensor_record("Power", 7, **values))
    assert (sensor.name, sensor.number, sensor.lun, sensor.entity) == ("Power", 7, 0, 7)
    assert parse_sensor_reading(sensor, bytes([raw]) + ON) == expected


@pytest.mark.parametrize("flags", [b"\x00\0\0", b"\xe0\0\0", b"\x20"])
def test_a_sensor_that_is_not_scanned_has_no_reading(flags):
    assert parse_sensor_reading(parse_sensor(sensor_record("Power", 7)), b"\x10" + flags) is None


@pytest.mark.parametrize("values", [{"unit": 1}, {"unit": 9}, {"form": 3}, {"linearization": 7}, {"owner": 0x2C}])
def test_records_of_anything_but_plain_watts_are_left_out(values):
    assert parse_sensor(sensor_record("Power", 7, **values)) is None


def test_watts_per_something_are_no_watts():
    record = bytearray(sensor_record("Energy", 7))
    record[20] |= 0b100  # times the second unit
    assert not may_be_watts(record)


def test_malformed_records_and_readings_are_device_errors():
    with pytest.raises(DeviceError, match="malformed sensor record"):
        parse_sensor(sensor_record("Power", 7)[:40])
    with pytest.raises(DeviceError, match="malformed reading of sensor 'Power'"):
        parse_sensor_reading(parse_sensor(sensor_record("Power", 7)), b"\x10")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], ["System Level"]),
        (["PS1 Input"], ["PS1 Input"]),
        (["PS? Input"], ["PS1 Input", "PS2 Input"]),
        (["PS1*", "PS1 Input", "System Level"], ["PS1 Input", "System Level"]),
    ],
)
def test_sensors_are_chosen_by_name_or_because_there_is_no_other(patterns, names):
    sensors = [sensor for record in supplies() if (sensor := parse_sensor(record))]
    assert [sensor.name for sensor in choose_sensors(sensors, patterns)] == names


def test_a_choice_that_is_not_clear_lists_the_sensors():
    sensors = [sensor for record in supplies() if (sensor := parse_sensor(record))]
    with pytest.raises(LookupError, match="'PS3' of watts: there are 'PS1 Input', 'PS2 Input', 'System Level'"):
        choose_sensors(sensors, ["PS1*", "PS3"])
    with pytest.raises(LookupError, match="not clear which.*there are 'PS1 Input', 'PS2 Input'; set sensor"):
        choose_sensors(sensors[:2], [])
    with pytest.raises(LookupError, match="there are none"):
        choose_sensors([], [])
    with pytest.raises(LookupError, match="not clear"):
        choose_sensors([parse_sensor(sensor_record("CPU", 9, entity=3))], [])


def test_the_only_power_supply_gives_the_machines_power():
    supply, processor = (parse_sensor(sensor_record("x", 9, entity=entity)) for entity in (10, 3))
    assert choose_sensors([supply, processor], []) == [supply]


def test_a_listing_goes_on_where_it_stopped_and_is_kept():
    sdr = Sdr(supplies())
    asked = []

    def ask(*request):
        asked.append(request)
        return sdr(*request)

    repository = Repository("bmc", ask)
    repository.refresh()
    times = iter([True, True, False])
    repository.go_on(lambda: next(times))
    assert [sensor.number for sensor in repository.sensors] == [1, 2] and not repository.is_complete
    repository.refresh()
    repository.go_on(lambda: True)
    assert [sensor.number for sensor in repository.sensors] == [1, 2, 4] and repository.is_complete
    asked.clear()
    repository.refresh()
    repository.go_on(lambda: True)
    assert [request[:2] for request in asked] == [(0x0A, 0x20)]
    sdr.changes += 1
    repository.refresh()
    assert not repository.is_complete and repository.sensors == []


def test_a_lost_reservation_is_made_again():
    sdr = Sdr(supplies())
    sdr.losses = 3
    repository = Repository("bmc", sdr)
    repository.go_on(lambda: True)
    assert [sensor.number for sensor in repository.sensors] == [1, 2, 4]


@pytest.mark.parametrize("command", [0x20, 0x22, 0x23])
def test_a_bmc_that_takes_back_every_reservation_is_a_device_error(command):
    sdr = Sdr(supplies())
    repository = Repository("bmc", lambda *request: (0xC5, b"") if request[1] == command else sdr(*request))
    times = iter([True, True, False])
    with pytest.raises(DeviceError, match="bmc answered .* with code 0xc5|bmc gave none of its sensor records"):
        repository.refresh()
        repository.go_on(lambda: next(times))


def test_a_sensor_that_is_listed_twice_is_one():
    repository = Repository("bmc", Sdr([*supplies(), *supplies()]))
    repository.go_on(lambda: True)
    assert [sensor.number for sensor in repository.sensors] == [1, 2, 4]


def test_only_records_of_watts_are_read_to_their_end():
    pieces = []
    sdr = Sdr([*supplies(), b"\5\0\x51\x02\x03abc"], largest=20)  # the last is no full record

    def ask(netfn, command, payload):
        if command == 0x23:
            pieces.append((int.from_bytes(payload[2:4], "little"), *payload[4:]))
        return sdr(netfn, command, payload)

    Repository("bmc", ask).go_on(lambda: True)
    assert [piece for piece in pieces if piece[0] == 2] == [(2, 0, 5), (2, 5, 20)]
    assert [piece for piece in pieces if piece[0] == 4] == [(4, 0, 5)]
    assert [piece for piece in pieces if piece[0] == 0] == [(0, 0, 5), (0, 5, 20), (0, 25, 20), (0, 45, 12)]


@pytest.mark.parametrize(
    ("following", "octets", "message"),
    [
        (0, b"\0\0\x51\x02\0", "follows itself"),
        (1, b"\0\0\x51", "malformed sensor record"),
    ],
)
def test_records_without_an_end_are_a_device_error(following, octets, message):
    def ask(netfn, command, payload):
        return 0, (following.to_bytes(2, "little") + octets if command == 0x23 else b"\1\0")

    with pytest.raises(DeviceError, match=f"bmc: .*{message}"):
        Repository("bmc", ask).go_on(lambda: True)


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
            [f"{each} is empty, and a BMC on the network wants one" for each in ("user", "password")],
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

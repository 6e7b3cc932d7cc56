import pytest

from kwapi.drivers.names import Names
from kwapi.drivers.snmp.driver import SYS_OBJECT_ID, SYS_UP_TIME, Snmp, split_oids
from kwapi.drivers.snmp.profile import load
from kwapi.drivers.snmp.rows import find_rows, list_rows, parse_probe
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.clock import Clock

EATON, RARITAN = "1.3.6.1.4.1.534.6.6.7", "1.3.6.1.4.1.13742.6"
RPDU, RPDU2 = "1.3.6.1.4.1.318.1.1.12", "1.3.6.1.4.1.318.1.1.26"
DEFAULTS = {option.dest: option.default for option in Snmp.options} | {"host": "pdu", "interval": 1.0}
NAMES = Names(lambda host: ["192.0.2.1"])


class Agent:
    """An agent whose cells are values by OID; notes what it is asked, and takes a second if it has a clock."""

    clock = None
    silent = ()  # prefixes of OIDs that it does not answer to

    def __init__(self, cells):
        self.cells = dict(cells)
        self.asked = []

    def get(self, oids):
        return {oid: self.cells[oid] for oid in oids if oid in self.cells}

    def columns(self, oids):
        self.asked.append(list(oids))
        if self.clock:
            self.clock.now += 1
        if any(oid.startswith(tuple(self.silent)) for oid in oids):
            raise DeviceError("no answer")
        return {
            oid: {
                tuple(map(int, cell.removeprefix(f"{oid}.").split("."))): value
                for cell, value in self.cells.items()
                if cell.startswith(f"{oid}.")
            }
            for oid in oids
        }


class Client:
    def __init__(self, agent):
        self.only = agent

    def agent(self, target):
        return self.only


def column(oid, values):
    """Return cells of a column, given its values by index."""
    return {f"{oid}.{index}": value for index, value in values.items()}


def make(probes, cells, clock=None, **options):
    agent = Agent(cells)
    clock = clock or Clock()
    values = {**DEFAULTS, "probes": probes, **options}
    driver = Snmp("rack.pdu", values, Client(agent), names=NAMES, wall_clock=clock, monotonic_clock=clock)
    return driver, agent


def opened(probes, cells, clock=None, **options):
    driver, agent = make(probes, cells, clock, **options)
    driver.open()
    return driver, agent


def eaton(outlets=("0.1", "0.2", "0.3")):
    return {
        SYS_OBJECT_ID: EATON,
        **column(f"{EATON}.3.5.1.4", {"0.1": 300}),
        **column(f"{EATON}.3.5.1.5", {"0.1": 123_000}),
        **column(f"{EATON}.3.4.1.4", {"0.1.1": 100, "0.1.2": 200}),
        **column(f"{EATON}.6.5.1.3", {outlet: 10 + number for number, outlet in enumerate(outlets)}),
        **column(f"{EATON}.6.5.1.4", {outlet: 1000 + number for number, outlet in enumerate(outlets)}),
    }


def watts(measurements):
    return {each.probe: each.watts for each in measurements}


def test_names_are_the_outlets_in_numerical_order_and_an_empty_one_skips_one():
    driver, _ = opened(["a", "", "c"], eaton())
    assert driver.probe_names() == ["a", "c"]
    assert driver.read() == [
        Measurement("a", watts=10, kwh=1.0, kwh_wrap=4294967.296, level="outlet"),
        Measurement("c", watts=12, kwh=1.002, kwh_wrap=4294967.296, level="outlet"),
    ]


def test_the_tenth_outlet_comes_after_the_ninth():
    names = [f"server-{number}" for number in range(1, 13)]
    driver, _ = opened(names, eaton([f"0.{number}" for number in range(1, 13)]))
    assert watts(driver.read()) == {name: 10 + place for place, name in enumerate(names)}


def test_names_do_not_slip_past_an_outlet_that_is_missing():
    with pytest.raises(DeviceError, match=r"outlets are missing between 0\.2 and 0\.4"):
        opened(["a", "b", "c"], eaton(("0.1", "0.2", "0.4", "0.5")))
    driver, _ = opened(["a", "b", "d@outlet.4"], eaton(("0.1", "0.2", "0.4", "0.5")))
    assert watts(driver.read()) == {"a": 10, "b": 11, "d": 12}


def test_names_do_not_slip_past_a_first_outlet_that_is_missing():
    with pytest.raises(DeviceError, match=r"outlets are missing before 0\.2; pdu has"):
        opened(["a", "b"], eaton(("0.2", "0.3")))
    with pytest.raises(DeviceError, match=r"outlets are missing before 1\.3"):  # of the second strip
        opened(["a", "b", "c"], eaton(("0.1", "0.2", "1.3")))
    driver, _ = opened(["b@outlet.2"], eaton(("0.2", "0.3")))
    assert watts(driver.read()) == {"b": 10}


def test_where_numbers_begin_elsewhere_the_first_outlet_is_the_first_there_is():
    driver, _ = opened(["a"], rnx())
    assert watts(driver.read()) == {"a": 60, "a@export": 0}


def test_generic_does_not_go_on_without_one_of_its_oids():
    with pytest.raises(DeviceError, match=r"has nothing at 1\.3\.5\.0"):
        opened(["a", "b"], {"1.3.4.0": 50}, profile="generic", oid=["1.3.5.0", "1.3.4.0"])


def test_names_take_rows_by_index_beside_those_in_order():
    driver, _ = opened(["rack@inlet", "l2@phase.1.2", "last@outlet.3", "a"], eaton())
    assert driver.probe_names() == ["rack", "l2", "last", "a"]
    assert watts(driver.read()) == {"rack": 300, "l2": 200, "last": 12, "a": 10}
    assert {each.probe: each.level for each in driver.read()}["l2"] == "phase"


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (
            ["a", "b", "c", "d"],
            "more names than outlets: 'd' is left over; pdu has inlet.0.1, phase.0.1.1, phase.0.1.2",
        ),
        (["a@outlet.4"], r"'a@outlet.4' matches none of the rows; pdu has .*outlet.0.1, outlet.0.2, outlet.0.3"),
        (["a@phase"], "'a@phase' matches 2 of the rows"),
        (["a@bank.1"], "matches none"),
        (["a", "b@outlet.1"], "'b@outlet.1' and 'a' name the same row"),
    ],
)
def test_a_name_without_a_row_of_its_own_is_a_device_error_that_lists_the_rows(probes, message):
    with pytest.raises(DeviceError, match=message):
        opened(probes, eaton())


def test_an_end_of_an_index_must_be_unique_in_a_chain_of_devices():
    chain = eaton(("0.1", "0.2", "1.1"))
    with pytest.raises(DeviceError, match="matches 2 of the rows"):
        opened(["a@outlet.1"], chain)
    driver, _ = opened(["a@outlet.1.1", "b@outlet.2"], chain)
    assert watts(driver.read()) == {"a": 12, "b": 11}


def test_a_cell_missing_at_the_start_shifts_nothing():
    cells = eaton()
    del cells[f"{EATON}.6.5.1.3.0.1"]
    driver, agent = opened(["a", "b"], cells)
    assert watts(driver.read()) == {"a": None, "b": 11}
    agent.cells[f"{EATON}.6.5.1.3.0.1"] = 10
    assert watts(driver.read()) == {"a": 10, "b": 11}


def test_a_row_that_vanishes_is_left_out_and_nothing_else():
    driver, agent = opened(["a", "b", "c"], eaton())
    for oid in [oid for oid in agent.cells if oid.endswith(".0.2")]:
        del agent.cells[oid]
    assert watts(driver.read()) == {"a": 10, "c": 12}


def test_slow_columns_are_read_once_in_their_interval_and_never_repeated():
    clock = Clock()
    driver, agent = opened(["a"], eaton(), clock, slow_interval=60.0)
    assert [each.kwh for each in driver.read()] == [1.0]
    clock.now += 59
    assert [(each.kwh, each.kwh_wrap) for each in driver.read()] == [(None, None)]
    clock.now += 1
    assert [each.kwh for each in driver.read()] == [1.0]


@pytest.mark.parametrize("early", [0.0, 0.01, -0.01])
def test_slow_columns_that_are_due_are_not_put_off_by_a_poll_that_comes_early(early):
    clock = Clock()
    driver, _ = opened(["a"], eaton(), clock, slow_interval=10.0, interval=10.0)
    driver.read()
    clock.now += 10 - early
    assert [each.kwh for each in driver.read()] == [1.0]


def test_power_that_was_read_is_published_though_the_other_columns_time_out(caplog):
    caplog.set_level("INFO")
    clock = Clock()
    driver, agent = opened(["a", "b"], eaton() | column(f"{EATON}.6.4.1.3", {"0.1": 500}), clock)
    agent.silent = [f"{EATON}.6.4"]
    for _ in range(3):
        assert driver.read() == [
            Measurement("a", watts=10, level="outlet"),
            Measurement("b", watts=11, level="outlet"),
        ]
        clock.now += 10
    agent.silent = []
    assert [(each.watts, each.amps) for each in driver.read()] == [(10, 0.5), (11, None)]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "rack.pdu answers in part: no answer"),
        ("INFO", "rack.pdu answers in full after 30 s"),
    ]


def test_slow_columns_that_time_out_are_told_once_though_the_others_answer_between(caplog):
    clock = Clock()
    driver, agent = opened(["a"], eaton() | column(f"{EATON}.6.4.1.3", {"0.1": 500}), clock)
    agent.silent = [f"{EATON}.6.5.1.4"]
    for _ in range(25):
        driver.read()
        clock.now += 1
    assert len(caplog.records) == 1


def test_columns_that_time_out_are_not_waited_for_at_each_poll():
    clock = Clock()
    driver, agent = opened(["a"], eaton() | column(f"{EATON}.6.4.1.3", {"0.1": 500}), clock, slow_interval=10.0)
    agent.silent = [f"{EATON}.6.4"]
    agent.asked.clear()
    for _ in range(20):
        driver.read()
        clock.now += 1
    assert len(agent.asked) == 20 + 3  # at first, the others alone, and when the slow ones are due again
    agent.silent = []
    assert [each.amps for each in driver.read()] == [0.5]
    assert [each.amps for each in driver.read()] == [0.5]


def test_without_power_a_time_out_is_the_devices_failure():
    driver, agent = opened(["a"], eaton())
    del agent.cells[f"{EATON}.6.5.1.3.0.1"]
    agent.silent = [f"{EATON}.6.5.1.4"]
    with pytest.raises(DeviceError, match="no answer"):
        driver.read()


def test_power_is_read_first_and_its_time_taken():
    clock = Clock()
    driver, agent = opened(["a", "rack@inlet"], eaton(), clock)
    agent.asked.clear()
    agent.clock = clock
    driver.read()
    assert agent.asked[0] == [f"{EATON}.6.5.1.3", f"{EATON}.3.5.1.4"]
    assert len(agent.asked) == 2
    assert driver.answered_at == (1_800_000_001.0, 1_800_000_001.0)
    assert clock.now == 1_800_000_002.0


def test_amperes_that_tell_whether_no_watts_are_true_are_read_with_them():
    driver, agent = opened(["a@output"], {f"{UPS_OUTPUT}.3.1": 145, f"{UPS_OUTPUT}.4.1": 0}, profile="ups")
    agent.silent = [f"{UPS_OUTPUT}.2"]
    assert driver.read() == [Measurement("a", amps=14.5, level="device")]


def test_only_columns_of_named_levels_are_polled():
    driver, agent = opened(["rack@inlet"], eaton())
    agent.asked.clear()
    driver.read()
    assert not any(f"{EATON}.6." in oid for oids in agent.asked for oid in oids)


def test_an_answer_without_any_value_is_a_device_error():
    driver, agent = opened(["a"], eaton())
    agent.cells.clear()
    with pytest.raises(DeviceError, match="without a usable value"):
        driver.read()


def test_an_unknown_device_is_told_by_its_object_id():
    with pytest.raises(DeviceError, match="1.3.6.1.4.1.8072"):
        opened(["a"], {SYS_OBJECT_ID: "1.3.6.1.4.1.8072.3.2.10"})
    with pytest.raises(DeviceError, match="sysObjectID None"):
        opened(["a"], {})


UPS_OUTPUT, PLANET = "1.3.6.1.2.1.33.1.4.4.1", "1.3.6.1.4.1.10456.3.3"


@pytest.mark.parametrize("named", [{SYS_OBJECT_ID: "1.3.6.1.4.1.8072.3.2.10"}, {}])
@pytest.mark.parametrize("power", [f"{UPS_OUTPUT}.4.1", f"{PLANET}.2.1.6.1"])
def test_a_device_that_does_not_say_what_it_is_is_known_by_what_it_has(named, power):
    driver, agent = opened(["a@output" if power.startswith(UPS_OUTPUT) else "a@inlet"], {**named, power: 200})
    assert watts(driver.read()) == {"a": 200}
    assert agent.asked[0] == [profile.known_by for profile in load().values() if profile.known_by]


def test_what_a_device_says_it_is_goes_before_what_it_has():
    driver, agent = opened(["a"], {**eaton(), f"{UPS_OUTPUT}.4.1": 200})
    assert watts(driver.read()) == {"a": 10}
    assert not any(f"{UPS_OUTPUT}.4" in oids for oids in agent.asked)


def test_a_profile_may_be_named():
    cells = eaton()
    del cells[SYS_OBJECT_ID]
    driver, _ = opened(["a"], cells, profile="eaton-g3")
    assert watts(driver.read()) == {"a": 10}


RITTAL = "1.3.6.1.4.1.2606.7.4.2.2.1"


def rittal(up_time, *names):
    """Return a Rittal PDU's list of variables, each worth 100 times its number in the list."""
    cells = {SYS_OBJECT_ID: "1.3.6.1.4.1.2606.7", f"{SYS_UP_TIME}.0": up_time}
    for number, name in enumerate(names, 1):
        row = {"3": f"Phase {name}.Power.Active.Value", "7": 0, "11": 100 * number}
        cells |= {f"{RITTAL}.{place}.2.{number}": value for place, value in row.items()}
    return cells


def test_a_device_that_restarts_has_its_rows_looked_up_anew():
    clock = Clock()
    driver, agent = opened(["a@phase.2.1"], rittal(5000, "L1", "L2"), clock, slow_interval=10.0)
    assert watts(driver.read()) == {"a": 100}
    agent.cells = rittal(90, "L3", "L1", "L2")  # it found another meter, and counts its variables anew
    clock.now += 10
    with pytest.raises(DeviceError, match="pdu has restarted"):
        driver.read()
    driver.open()
    assert watts(driver.read()) == {"a": 200}


def test_a_device_without_an_up_time_is_believed_to_run():
    clock = Clock()
    cells = {oid: value for oid, value in rittal(0, "L1").items() if oid != f"{SYS_UP_TIME}.0"}
    driver, _ = opened(["a@phase.2.1"], cells, clock, slow_interval=0.0)
    assert [watts(driver.read()), watts(driver.read())] == [{"a": 100}, {"a": 100}]


def raritan(available=1, digits=None):
    cells = {SYS_OBJECT_ID: RARITAN}
    for outlet in (1, 2):
        sensors = {1: (500, 3), 5: (1234, 1), 6: (1300, 1), 8: (5_000_000, 0), 14: (1, 0)}
        for sensor, (raw, digit) in sensors.items():
            cells[f"{RARITAN}.5.4.3.1.4.1.{outlet}.{sensor}"] = raw
            cells[f"{RARITAN}.5.4.3.1.2.1.{outlet}.{sensor}"] = available
            cells[f"{RARITAN}.3.5.4.1.7.1.{outlet}.{sensor}"] = digit if digits is None else digits
    return cells


def test_sensors_of_one_column_are_split_and_scaled_by_the_devices_own_digits():
    driver, agent = opened(["a", "b"], raritan())
    agent.asked.clear()
    first, _ = driver.read()
    assert first == Measurement(
        "a", watts=123.4, volt_amperes=130.0, amps=0.5, kwh=5000.0, kwh_wrap=4294967.296, level="outlet"
    )
    assert agent.asked == [[f"{RARITAN}.5.4.3.1.4", f"{RARITAN}.5.4.3.1.2"], [SYS_UP_TIME]]


def test_a_sensor_must_be_available_where_the_device_tells():
    driver, agent = opened(["a", "b"], raritan())
    agent.cells[f"{RARITAN}.5.4.3.1.2.1.1.5"] = 2
    assert watts(driver.read()) == {"a": None, "b": 123.4}


def test_a_device_that_does_not_tell_availability_is_believed():
    cells = {oid: value for oid, value in raritan().items() if not oid.startswith(f"{RARITAN}.5.4.3.1.2.")}
    driver, _ = opened(["a"], cells)
    assert watts(driver.read()) == {"a": 123.4}


@pytest.mark.parametrize("digits", ["none", -1, 99])
def test_a_value_of_unknown_scale_is_no_value(digits):
    driver, _ = opened(["a"], raritan(digits=digits))
    with pytest.raises(DeviceError, match="without a usable value"):
        driver.read()


def test_a_register_wraps_where_its_digits_put_it():
    driver, _ = opened(["a"], raritan(digits=1))
    (only,) = driver.read()
    assert (only.kwh, only.kwh_wrap) == (500.0, 429496.7296)


def apc(power):
    return {
        SYS_OBJECT_ID: "1.3.6.1.4.1.318.1.3.4.6",
        **column(f"{RPDU2}.4.3.1.5", {"1": power}),
        **column(f"{RPDU2}.4.3.1.9", {"1": 35128}),
        **column(f"{RPDU2}.6.3.1.5", {"1": 49}),
        f"{RPDU}.1.15.0": 230,
        f"{RPDU}.1.16.0": 312,
        **column(f"{RPDU}.2.3.1.1.2", {"1": 49, "2": 2, "3": 47}),
        **column(f"{RPDU}.2.3.1.1.5", {"1": 0, "2": 1, "3": 2}),
    }


def test_an_apc_with_the_new_tree_is_read_by_it():
    driver, _ = opened(["rack@inlet", "l1@phase"], apc(114))
    inlet, phase = driver.read()
    assert inlet == Measurement("rack", watts=1140.0, kwh=3512.8, level="inlet")
    assert phase == Measurement("l1", amps=4.9, level="phase")


def test_an_apc_whose_new_tree_has_no_power_is_read_by_the_old_one():
    driver, _ = opened(["rack@inlet", "l1@phase.1", "b2@bank.3"], apc(-1))
    assert driver.read() == [
        Measurement("rack", watts=312.0, level="inlet"),
        Measurement("l1", amps=4.9, level="phase"),
        Measurement("b2", amps=4.7, level="bank"),
    ]


def test_an_old_apc_without_bank_numbers_has_phases():
    cells = {oid: value for oid, value in apc(-1).items() if not oid.startswith(f"{RPDU}.2.3.1.1.5")}
    rows = find_rows(load()["apc-rpdu"], Agent(cells).columns(load()["apc-rpdu"].oids()))
    assert list_rows(list(rows)) == "inlet.0, phase.1, phase.2, phase.3"


def test_apparent_power_is_never_active_power():
    cells = {SYS_OBJECT_ID: EATON, **column(f"{EATON}.6.5.1.2", {"0.1": 93})}
    driver, _ = opened(["a"], cells)
    assert driver.read() == [Measurement("a", volt_amperes=93.0, level="outlet")]


def test_generic_reads_a_column_in_its_unit():
    driver, agent = opened(["a", "b"], column("1.3.9", {"1": 5, "3": 7, "2": -1}), profile="generic", oid=["1.3.9"])
    assert watts(driver.read()) == {"a": 5}
    driver, _ = opened(
        ["a", "b"], column("1.3.9", {"1": 5, "2": -1}), profile="generic", oid=["1.3.9"], unit="kW", signed=True
    )
    assert watts(driver.read()) == {"a": 5000, "a@export": 0, "b": 0, "b@export": 1000}


SIGNED = {"profile": "generic", "oid": ["1.3.9"], "signed": True}


@pytest.mark.parametrize(
    ("probes", "options", "names"),
    [
        (["a", "", "c"], SIGNED, ["a", "a@export", "c", "c@export"]),
        (["a", "a@export"], SIGNED, ["a", "a@export"]),  # the second row has what flows back
        (["b@export@outlet.2", "b@outlet.1"], SIGNED, ["b@export", "b"]),
        (["a", "b"], {**SIGNED, "quantity": "va"}, ["a", "b"]),
        (["a", "b"], {"profile": "generic", "oid": ["1.3.9"]}, ["a", "b"]),
    ],
)
def test_what_flows_back_is_a_probe_of_its_own_and_told_before_the_device_is_asked(probes, options, names):
    driver, _ = make(probes, column("1.3.9", {"1": 5, "2": 0, "3": 8}), **options)
    assert driver.probe_names() == names
    driver.open()
    assert driver.probe_names() == names
    assert [each.probe for each in driver.read()] == names


METERS = "1.3.6.1.4.1.55108.1.3.1.1"


def rnx():
    meters = {"0.0": (0, -40, 7_000), "0.1": (6, 60, 9_000), "0.2": (6, -100, 0)}
    cells = {SYS_OBJECT_ID: "1.3.6.1.4.1.55108"}
    for place, name in enumerate((3, 7, 4)):
        cells |= column(f"{METERS}.{name}", {meter: values[place] for meter, values in meters.items()})
    return cells


def e3meter(taken, *powers):
    meters = "1.3.6.1.4.1.21695.1.10.4.1"
    cells = {SYS_OBJECT_ID: "1.3.6.1.4.1.21695.1401"}
    for number, power in enumerate(powers):
        row = {13: taken, 15: 1, 18: power, 32: 5000}
        cells |= {f"{meters}.{key}.9463.{number}": value for key, value in row.items()}
    return cells


def test_an_average_that_the_device_repeats_with_its_own_time_is_measured_once():
    clock = Clock()
    driver, agent = opened(["a@phase.9463.0", "b@phase.9463.1"], e3meter(1583229000, 100, 50), clock)
    everything = {"a": 100, "a@export": 0, "b": 50, "b@export": 0}
    assert watts(driver.read()) == everything
    clock.now += 150
    assert driver.read() == []
    agent.cells = e3meter(1583229300, 100, 50)
    again = driver.read()
    assert watts(again) == everything, "the same watts of the next five minutes"
    assert {each.probe: each.kwh for each in again if each.kwh} == {"a": 5.0, "b": 5.0}
    agent.cells |= {cell: 1583229600 for cell in agent.cells if cell.endswith("13.9463.1")}
    assert watts(driver.read()) == {"b": 50, "b@export": 0}


def test_a_profile_tells_which_rows_have_power_that_flows_back():
    names = ["a", "a@export", "b", "b@export", "rack", "rack@export"]
    driver, _ = opened(["a", "b", "rack@inlet"], rnx(), profile="rnx-updu")
    assert make(["a", "b", "rack@inlet"], {}, profile="rnx-updu")[0].probe_names() == driver.probe_names() == names
    assert driver.read() == [
        Measurement("a", watts=60, kwh=9.0, level="outlet"),
        Measurement("a@export", watts=0, level="outlet"),
        Measurement("b", watts=0, kwh=0.0, level="outlet"),
        Measurement("b@export", watts=100, level="outlet"),
        Measurement("rack", watts=0, kwh=7.0, level="inlet"),
        Measurement("rack@export", watts=40, level="inlet"),
    ]


def test_an_auto_profile_tells_what_flows_back_when_it_has_asked_the_device():
    driver, _ = make(["a", "b"], rnx())
    assert driver.probe_names() == ["a", "b"]
    driver.open()
    assert driver.probe_names() == [each.probe for each in driver.read()] == ["a", "a@export", "b", "b@export"]


def test_power_that_is_unknown_just_now_is_no_power_that_flows_back():
    driver, agent = opened(["a", "b"], rnx(), profile="rnx-updu")
    del agent.cells[f"{METERS}.7.0.1"]
    assert driver.read()[0] == Measurement("a", kwh=9.0, level="outlet")
    assert [each.probe for each in driver.read()] == ["b", "b@export"]  # the register is not read at each poll


def test_generic_reads_single_values_and_columns_in_the_order_of_the_list():
    cells = {"1.3.5.0": 50, "1.3.4.0": 40, **column("1.3.9", {"1": 1, "2": 2})}
    driver, _ = opened(["a", "b", "c", "d"], cells, profile="generic", oid=["1.3.5.0", "1.3.9", "1.3.4.0"])
    assert watts(driver.read()) == {"a": 50, "b": 1, "c": 2, "d": 40}


def test_generic_reads_registers_and_other_levels():
    options = {"quantity": "kwh", "unit": "0.1 kWh", "wrap": 1000, "level": "inlet"}
    driver, _ = opened(["a"], {"1.3.5.0": 50}, profile="generic", oid=["1.3.5.0"], **options)
    assert driver.read() == [Measurement("a", kwh=5.0, kwh_wrap=100.0, level="inlet")]


def test_all_columns_are_read_first_when_none_is_power():
    rows = find_rows(load()["eaton-g3"], Agent(column(f"{EATON}.3.2.1.3", {"0.1.1": 1})).columns([f"{EATON}.3.2.1.3"]))
    (cells,) = rows.values()
    volts_only = [cell for cell in cells if cell.column.quantity == "v"]
    assert split_oids(volts_only) == ([f"{EATON}.3.2.1.3"], [], [])
    registers = [cell for cell in cells if cell.column.quantity == "kwh"]
    assert split_oids(registers) == ([f"{EATON}.3.4.1.5"], [], [])


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("taurus-1", ("taurus-1", None, ())),
        ("pv@export", ("pv@export", None, ())),
        ("rack@inlet", ("rack", "inlet", ())),
        ("rack@outlet.1.12", ("rack", "outlet", (1, 12))),
        ("pv@export@phase.1", ("pv@export", "phase", (1,))),
    ],
)
def test_names_of_probes(name, parsed):
    assert parse_probe(name) == parsed


V3 = {"version": "3", "user": "kwapi", "auth_key": "long enough", "priv_key": "long enough"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        (V3, []),
        ({"community": ""}, ["community"]),
        ({**V3, "user": ""}, ["user"]),
        ({**V3, "auth_key": "short"}, ["auth_key"]),
        ({**V3, "priv_key": "short"}, ["priv_key"]),
        ({**V3, "auth_key": ""}, ["priv_key"]),
        ({"profile": "unheard-of"}, ["profile"]),
        ({"oid": ["1.3"]}, ["oid"]),
        ({"profile": "generic"}, ["oid"]),
        ({"profile": "generic", "oid": ["1.3", ".1.3", "ifTable"]}, ["oid", "oid"]),
        ({"profile": "generic", "oid": ["1.3"], "unit": "VA"}, ["unit"]),
        ({"profile": "generic", "oid": ["1.3"], "unit": "VA", "quantity": "va"}, []),
        ({"probes": ["a", "", "", "b@inlet"]}, []),
        ({"probes": ["a@plug.1", "b@outlet.x", "c@inlet."]}, ["probes"] * 3),
        ({"probes": ["x@outlet.1", "y@outlet.1", "z@outlet.2"]}, ["probes"]),
        ({"timeout": 5.0, "retries": 1}, ["timeout"]),
        ({"probes": ["a/b", "@inlet"]}, ["probes"]),  # the names themselves are checked with every driver's
    ],
)
def test_problems(options, found):
    driver, _ = make(**{"probes": ["a"], "cells": {}, **options})
    problems = list(driver.problems())
    assert [option for option, _ in problems] == found
    assert not any("short" in text.replace("shorter", "") for _, text in problems)


def test_drivers_of_a_process_share_one_client():
    shared = Snmp.open_shared()
    Snmp.close_shared(shared)
    with pytest.raises(DeviceError, match="closed"):
        Snmp("pdu", {**DEFAULTS, "probes": ["a"]}, shared, names=NAMES).open()

"""An agent of cells in memory, and the driver that reads it; some devices as cells."""

from kwapi.drivers.names import Names
from kwapi.drivers.snmp.driver import SYS_OBJECT_ID, SYS_UP_TIME, Snmp
from kwapi.errors import DeviceError
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


RITTAL = "1.3.6.1.4.1.2606.7.4.2.2.1"


def rittal(up_time, *names):
    """Return a Rittal PDU's list of variables, each worth 100 times its number in the list."""
    cells = {SYS_OBJECT_ID: "1.3.6.1.4.1.2606.7", f"{SYS_UP_TIME}.0": up_time}
    for number, name in enumerate(names, 1):
        row = {"3": f"Phase {name}.Power.Active.Value", "7": 0, "11": 100 * number}
        cells |= {f"{RITTAL}.{place}.2.{number}": value for place, value in row.items()}
    return cells


def raritan(available=1, digits=None):
    cells = {SYS_OBJECT_ID: RARITAN}
    for outlet in (1, 2):
        sensors = {1: (500, 3), 5: (1234, 1), 6: (1300, 1), 8: (5_000_000, 0), 14: (1, 0)}
        for sensor, (raw, digit) in sensors.items():
            cells[f"{RARITAN}.5.4.3.1.4.1.{outlet}.{sensor}"] = raw
            cells[f"{RARITAN}.5.4.3.1.2.1.{outlet}.{sensor}"] = available
            cells[f"{RARITAN}.3.5.4.1.7.1.{outlet}.{sensor}"] = digit if digits is None else digits
    return cells


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

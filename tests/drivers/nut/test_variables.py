"""What real devices say, by tables and by recordings."""

import pytest

from kwapi.drivers.nut.variables import measure, outlets, whole_watts
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root


@pytest.mark.parametrize(
    ("variables", "watts"),
    [
        ({}, None),
        ({"ups.power": "500"}, None),  # VA
        ({"ups.load": "50", "ups.realpower.nominal": "900"}, None),  # only where an estimate is allowed
        ({"ups.realpower": "100", "output.realpower": "90"}, 100.0),
        ({"output.realpower": "90", "ups.L1.realpower": "80"}, 90.0),
        ({f"ups.L{n}.realpower": "10" for n in (1, 2, 3)}, 30.0),
        ({f"ups.L{n}.realpower": "10" for n in (1, 2)}, None),  # a phase is unknown, so the sum is
        ({f"output.L{n}.realpower": "10" for n in (1, 2, 3)}, 30.0),
        ({"ups.realpower": " 13.7"}, 13.7),
        ({"ups.realpower": "n/a"}, None),
        ({"ups.realpower": "-5"}, None),
        ({"ups.realpower": "nan", "output.realpower": "5"}, 5.0),
        ({"ups.realpower": "inf"}, None),
        ({"ups.realpower": "0", "ups.load": "0.2"}, 0.0),
        ({"ups.realpower": "0", "ups.load": "30"}, None),
        ({"ups.realpower": "0", "ups.load": "30", "output.realpower": "300"}, 300.0),
        ({"ups.realpower": "0", "output.current": "4.1"}, None),
        ({"input.realpower": "60"}, None),  # of a UPS: its own losses and its battery are in there
        ({"device.type": "pdu", "input.realpower": "60"}, 60.0),
        ({"device.type": "pdu", "outlet.realpower": "55"}, 55.0),
        ({"device.type": "pdu", "input.realpower": "0", "input.current": "5.2"}, None),
        ({"device.type": "pdu", "input.realpower": "0", "input.load": "30", "outlet.realpower": "900"}, 900.0),
        ({"device.type": "pdu", "input.realpower": "0", "input.current": "0.3"}, 0.0),
        ({"device.type": "pdu"} | {f"input.L{n}.realpower": "20" for n in (1, 2, 3)}, 60.0),
    ],
)
def test_which_variables_are_watts(variables, watts):
    assert whole_watts(variables) == watts


@pytest.mark.parametrize(
    ("variables", "apparent"),
    [
        ({"ups.realpower": "504", "ups.power": "611"}, 611.0),
        ({"ups.realpower": "324", "ups.power": "324"}, 324.0),
        ({"ups.realpower": "1810", "ups.power": "1.82"}, None),  # kVA
        ({"output.realpower": "50", "output.power": "0.08"}, None),
        ({"output.voltage": "230", "output.current": "2", "ups.power": "462"}, 462.0),
        ({"ups.power": "462"}, None),  # nothing vouches for it
        ({"ups.realpower": "504", "ups.power": "611", "output.power": "600"}, 600.0),
    ],
)
def test_apparent_power_is_given_where_it_is_vouched_for_and_never_as_watts(variables, apparent):
    measured = measure("a", "", variables)
    assert (measured.volt_amperes if measured else None) == apparent
    assert whole_watts({key: value for key, value in variables.items() if "realpower" not in key}) is None


@pytest.mark.parametrize(
    ("variables", "quantity", "value"),
    [
        ({"output.voltage": "9812.0"}, "volts", None),
        ({"output.voltage": "0.0"}, "volts", None),
        ({"output.current": "0.0"}, "amps", None),
        ({"output.powerfactor": "0.00"}, "power_factor", None),
        ({"output.powerfactor": "72.00"}, "power_factor", 0.72),
        ({"output.powerfactor": "120"}, "power_factor", None),
        ({"output.frequency": "5.0"}, "hertz", None),
        ({"output.frequency": "60.08"}, "hertz", 60.08),
        ({"experimental.output.energy": "504299"}, "kwh", 504.299),
    ],
)
def test_numbers_that_cannot_be_are_no_values(variables, quantity, value):
    assert getattr(measure("a", "", {"ups.realpower": "100", **variables}), quantity) == value


def test_an_outlet_has_values_of_its_own():
    variables = {
        "outlet.2.realpower": "68",
        "outlet.2.power": "94",
        "outlet.2.powerfactor": "72.00",
        "outlet.2.current": "0.4",
        "outlet.2.voltage": "235",
        "outlet.realpower": "274",
        "outlet.count": "2",
        "outlet.group.1.realpower": "9",
    }
    assert outlets(variables) == ["outlet.2"]
    assert measure("a", "outlet.2", variables) == Measurement("a", 68.0, 94.0, 235.0, 0.4, 0.72, level="outlet")
    assert measure("a", "outlet.1", variables) is None
    assert measure("a", "input.L1", {"input.L1.realpower": "61"}) == Measurement("a", watts=61.0, level="phase")
    assert measure("a", "input", {"input.realpower": "61"}) == Measurement("a", watts=61.0, level="inlet")


# Watts and volt-amperes of every dump, read off it by hand; None where it has none that could be true.
DUMPS = {
    "APC__AP7724__snmp-ups__2.7.4.1__01": (None, None),  # outlet groups only
    "Dell__EqualLogic_FS7500_BPS__usbhid-ups__2.4.3__01": (129, 149),
    "Dell__UPS_RackTower_2700W_HV__usbhid-ups__2.7.4__01": (132, 138),
    "Dell__UPS_RackTower_2700W_HV__usbhid-ups__2.7.4__02": (245, 278),
    "Eaton__5PX_2000__usbhid-ups__2.7.4__01": (504, 611),
    "Eaton__5PX__snmp-ups__2.7.4__02": (324, 324),
    "Eaton__5P_650__usbhid-ups__2.7.2__01": (0, 0),
    "Eaton__5S1500LCD__usbhid-ups__2.6.4__01": (31, 55),
    "Eaton__5SC_2200i_RT__usbhid-ups__2.7.4__01": (337, 393),
    "Eaton__9135_6000__usbhid-ups__2.4.1__01": (1609, 1864),
    "Eaton__9395__snmp-ups__2.4.3__01": (117298, None),  # its ups.power is L1's
    "Eaton__93PM__snmp-ups__2.7.4__01": (0, 0),
    "Eaton__93PS__snmp-ups__2.7.3-167-g0a00ddb__01": (0, 0),
    "Eaton__9PX_2000_RT__mge-shut__2.7.2__01": (150, 180),
    "Eaton__9SX_5000i__usbhid-ups__2.7.2__01": (226, 264),
    "Eaton__EPDU_MI_38U-A__snmp-ups__2.7.4__01": (6, 18),
    "Eaton__Ellipse_PRO_650__usbhid-ups__2.7.2__01": (40, 65),
    "Eaton__PW5125_1500i__bcmxcp__2.6.4__01": (96, 175),
    "Eaton__PW9130_1000VA-R_1000i__bcmxcp__2.7.2.5__01": (158, 226),
    "Eaton__Powerware_5115_RM_1500i__bcmxcp_usb__2.7.2__01": (0, 3),  # load 0.2 %
    "Eaton__Powerware_5130__usbhid-ups__2.4.3__01": (108, 144),
    "Eaton__Powerware_5130__usbhid-ups__2.4.3__03": (918, 995),
    "Eaton__Powerware_9130__bcmxcp__2.7.1__01": (97, 121),
    "Eaton__Powerware_9130__usbhid-ups__2.6.4__02": (58, 100),
    "Eaton__Powerware_9130__usbhid-ups__2.6.5__03": (118, 210),
    "Eaton__ePDU_Managed_Aphel__snmp-ups__2.6.1__01": (0, None),
    "Exide__NetUPS_SE_PRC1500i__upscode2__2.2.2__01": (50, None),  # kVA
    "Grafenthal__PR-3000-HS__snmp-ups__2.6.5__01": (None, None),  # 0 W at 9 % load
    "HP__R12000-3UPS__snmp-ups__2.7.1__01": (308.4, None),
    "Huawei__UPS2000-G-3KRTS__huawei-ups2000__2.7.4.1__01": (200, 300),
    "Liebert__GXT2-1000RT230__liebert-esp2__2.4.3__01": (96, 162),
    "Liebert__GXT2-1000RT230__liebert-esp2__2.4.3__02": (81, 177),
    "Liebert__GXT2-1000RT230__liebert-esp2__2.4.3__05": (83, 178),
    "Liebert__GXT2-3000RT230__liebert-esp2__2.6.2__01": (366, 513),
    "Liebert__NXe_20kVA__liebert-esp2__2.4.3__01": (None, None),  # 0 W at 4.1 A
    "Liebert__NXe_20kVA__liebert-esp2__2.4.3__02": (3000, None),
    "MGE_UPS_SYSTEMS__Pulsar_1500__usbhid-ups__2.4.3__01": (223, 294),
    "Powerware__PW5125__bcmxcp__2.7.4__01": (132, 205),
    "Raritan__PX2-1486__snmp-ups__2.7.4-12-gf1a0d64__01": (3, 10),
    "Riello__IPG_600__riello_usb__2.7.4__01": (0, None),  # load 0 %
    "Riello__MPT60__riello_ser__2.6.5__01": (None, None),  # 0 W at 90 % load
    "Riello__Sentinel_SDL_6000-7__snmp-ups__2.2.2__01": (16.8, 168),
    "Riello__VSD3000__riello_usb__2.6.5__01": (None, None),  # 0 W at 10 % load
}


def parse_dump(text):
    """Return the variables of an upsc dump, without the comments that were added to it."""
    pairs = (line.partition("#")[0].partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def test_every_dump_says_what_it_says():
    directory = recordings_root() / "nut"
    found = {}
    for path in sorted(directory.glob("*.dev")):
        measured = measure("a", "", parse_dump(path.read_text("utf-8")))
        found[path.stem] = (measured.watts, measured.volt_amperes) if measured else (None, None)
        if measured:
            assert measured.volts is None or 100 < measured.volts < 260, path
            assert measured.hertz is None or 48 < measured.hertz < 62, path
    assert found == DUMPS


@pytest.mark.parametrize(
    ("dump", "watts"),
    [
        ("Eaton__5PX_2000__usbhid-ups__2.7.4__01", [162.0, 68.0]),
        ("Eaton__ePDU_Managed_Aphel__snmp-ups__2.6.1__01", [0.0] * 4),
        ("Eaton__EPDU_MI_38U-A__snmp-ups__2.7.4__01", [None] * 42),
        ("Raritan__PX2-1486__snmp-ups__2.7.4-12-gf1a0d64__01", [None] * 24),
    ],
)
def test_outlets_of_dumps(dump, watts):
    variables = parse_dump((recordings_root() / "nut" / f"{dump}.dev").read_text("utf-8"))
    measured = [measure("a", outlet, variables) for outlet in outlets(variables)]
    assert [each.watts if each else None for each in measured] == watts


def test_outlet_groups_of_a_dump():
    text = (recordings_root() / "nut" / "APC__AP7724__snmp-ups__2.7.4.1__01.dev").read_text("utf-8")
    groups = [measure("a", f"outlet.group.{number}", parse_dump(text)) for number in (1, 2, 3)]
    assert [group.watts for group in groups] == [1701.0, 884.0, 839.0]

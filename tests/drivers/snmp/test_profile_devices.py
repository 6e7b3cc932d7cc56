"""What the profiles of Kwapi know of devices that are odd, by cells as these have them."""

import pytest

from kwapi.drivers.snmp.profile import load
from kwapi.drivers.snmp.rows import choose_rows, find_rows, has_power, measure
from kwapi.measurement import Measurement


def read(name, cells):
    """Return what the rows of a made-up device of this family measure, by kind and index; cells are by OID.

    What flows back stands under the row's name with @export.
    """
    profile = load()[name]
    columns = {
        oid: {
            tuple(map(int, cell[len(oid) + 1 :].split("."))): value
            for cell, value in cells.items()
            if cell.startswith(f"{oid}.")
        }
        for oid in profile.oids()
    }
    measured = {}
    for (kind, index), cells in find_rows(profile, columns).items():
        row = f"{kind}.{'.'.join(map(str, index))}"
        ids = ("probe", "probe@export") if any(cell.column.two_way for cell in cells) else ("probe",)
        measured |= {row + each.probe.removeprefix("probe"): each for each in measure(ids, kind, cells, columns)}
    return measured


def under(base, **cells):
    """Return cells by OID; a name such as c9_1 is column 9, row 1."""
    return {f"{base}.{name[1:].replace('_', '.')}": value for name, value in cells.items()}


def test_cyberpower_a_bank_is_no_second_phase():
    load_status = "1.3.6.1.4.1.3808.1.1.3.2.3.1.1"
    found = read("cyberpower", under(load_status, c7_1=216, c7_2=216, c5_1=0, c5_2=1, c6_1=2290, c2_1=11))
    assert found == {
        "phase.1": Measurement("probe", watts=216, volts=229.0, amps=1.1, level="phase"),
        "bank.2": Measurement("probe", watts=216, level="bank"),
    }


def test_schleifenbauer_watts_are_worked_out_only_without_a_column_of_them():
    inlets = "1.3.6.1.4.1.31034.12.1.1.2.6.1.1"
    cells = under(inlets, c9_210_1=70, c4_210_1=4594, c9_210_2=50, c2_210_1=16_777_215)
    found = read("schleifenbauer", cells)
    assert found["phase.210.1"].watts == pytest.approx(32.158)
    assert (found["phase.210.1"].kwh, found["phase.210.1"].kwh_wrap) == (16_777_215, 16_777_216)
    assert (found["phase.210.2"].watts, found["phase.210.2"].volt_amperes) == (None, 50)
    found = read("schleifenbauer", cells | under(inlets, c10_210_2=49))
    assert [found[row].watts for row in ("phase.210.1", "phase.210.2")] == [None, 49]


def test_rittal_names_and_scales_come_from_the_device():
    variables = "1.3.6.1.4.1.2606.7.4.2.2.1"
    cells = under(
        variables,
        c3_2_12="Total.Power.Active.Value",
        c7_2_12=10,
        c11_2_12=274,
        c3_2_90="Phase L2.Power.Active.Value",
        c7_2_90=0,
        c11_2_90=1240,
        c3_2_69="Phase L2.Voltage.Value",
        c7_2_69=-10,
        c11_2_69=2291,
        c3_2_100="Phase L2.Energy.Active.Value",
        c11_2_100=5,
        c3_2_101="Phase L2.Energy.Active Custom.Value",
        c7_2_101=1,
        c11_2_101=6,
    )
    assert read("rittal-cmc3", cells) == {
        "inlet.2": Measurement("probe", watts=2740, level="inlet"),
        "phase.2.2": Measurement("probe", watts=1240, volts=229.1, level="phase"),  # no kwh: its scale is not told
    }


def test_dell_power_distribution_in_tens_of_watts_and_outlets_in_watts():
    found = read("dell-rpdu", under("1.3.6.1.4.1.674.10903.200.2.200", c110_2_1_3_1=158, c130_2_2_1_8_7=143))
    assert {row: measured.watts for row, measured in found.items()} == {"inlet.1": 1580, "outlet.7": 143}


def test_hpe_generations_differ_in_scale():
    old = read("hpe-pdu2", under("1.3.6.1.4.1.232.165.7.5.1.1", c5_1_1=650, c14_1_1=150, c15_1_1=2500))
    new = read("hpe-pdu3", under("1.3.6.1.4.1.232.165.11.5.1.1", c5_1_1=65, c13_1_1=150, c14_1_1=2))
    assert (old["outlet.1.1"].amps, old["outlet.1.1"].watts, old["outlet.1.1"].kwh) == (0.65, 150, 2.5)
    assert (new["outlet.1.1"].amps, new["outlet.1.1"].watts, new["outlet.1.1"].kwh) == (0.65, 150, 2)


def test_chatsworth_has_apparent_power_only_and_energy_in_tens_of_watt_seconds():
    outlets = "1.3.6.1.4.1.30932.1.10.1.4.10.1"
    address = "6_0_36_155_53_3_246"
    (only,) = read("chatsworth", under(outlets, **{f"c8_12_{address}": 230, f"c10_12_{address}": 360_000})).values()
    assert (only.watts, only.volt_amperes, only.kwh) == (None, 230, 1.0)


def test_rnx_meters_have_the_level_of_their_type_and_no_value_without_quality():
    meters = "1.3.6.1.4.1.55108.1.3.1.1"
    cells = under(meters, c3_0_0=0, c7_0_0=1000, c3_1_1=2, c7_1_1=400, c3_1_4=6, c7_1_4=90, c3_1_5=6, c7_1_5=0)
    found = read("rnx-updu", cells | under(meters, c15_0_0=0, c15_1_1=0, c15_1_4=0, c15_1_5=2))
    flowing_in = {row: each.watts for row, each in found.items() if not row.endswith("@export")}
    assert flowing_in == {"inlet.0.0": 1000, "phase.1.1": 400, "outlet.1.4": 90}
    assert len(read("rnx-updu", cells)) == 2 * 4  # older firmware tells no quality


def test_gude_counts_what_flows_in_and_what_flows_back_apart():
    port = "1.3.6.1.4.1.28507.87.1.5.5.2.1"
    cells = under(port, c2_1=1, c4_1=-12, c3_1=900, c16_1=500, c20_1=400, c2_2=0, c4_2=5, c20_2=1)
    assert read("gude-8045", cells) == {
        "outlet.1": Measurement("probe", watts=0, kwh=0.5, kwh_wrap=4294967.296, level="outlet"),
        "outlet.1@export": Measurement("probe@export", watts=12, kwh=0.4, kwh_wrap=4294967.296, level="outlet"),
    }
    (back,) = read("gude-8045", under(port, c2_1=1, c20_1=400)).items()
    assert back[0] == "outlet.1@export"
    assert (back[1].watts, back[1].kwh) == (None, 0.4)


def test_the_end_of_a_vertiv_register_is_no_value():
    (only,) = read("vertiv-geist", under("1.3.6.1.4.1.21239.5.2.3.1.1", c9_1=1017, c12_1=9_999_000)).values()
    assert (only.watts, only.kwh, only.kwh_wrap) == (1017, None, None)
    (only,) = read("vertiv-geist", under("1.3.6.1.4.1.21239.5.2.3.1.1", c9_1=1017, c12_1=9_998_999)).values()
    assert (only.kwh, only.kwh_wrap) == (9998.999, 9999.0)


def test_raritan_digits_and_availability_come_from_the_device():
    inlet = "1.3.6.1.4.1.13742.6"
    cells = under(inlet, c5_2_3_1_4_1_1_1=7467, c3_3_4_1_7_1_1_1=3, c5_2_3_1_2_1_1_1=1)
    cells |= under(inlet, c5_2_3_1_4_1_1_5=1665, c3_3_4_1_7_1_1_5=0, c5_2_3_1_2_1_1_5=2)
    cells |= under(inlet, c5_2_3_1_4_1_1_6=1751, c5_2_3_1_2_1_1_6=1)
    assert read("raritan-pdu2", cells) == {"inlet.1.1": Measurement("probe", amps=7.467, level="inlet")}


def test_px1_with_apparent_power_only_has_no_watts():
    (only,) = read("raritan-pdu", under("1.3.6.1.4.1.13742.4.1.2.2.1", c8_1=138, c4_1=600)).values()
    assert (only.watts, only.volt_amperes, only.amps) == (None, 138, 0.6)


def test_an_output_of_a_ups_is_outermost_and_an_unmeasured_line_is_none():
    found = read("ups", under("1.3.6.1.2.1.33.1", c4_4_1_4_1=200, c3_3_1_5_1=65535, c3_3_1_4_1=655350, c3_3_1_3_1=234))
    assert found == {
        "output.1": Measurement("probe", watts=200, level="device"),
        "inlet.1": Measurement("probe", volts=234, level="inlet"),
    }


def test_no_watts_beside_amperes_are_unknown_watts():
    output = "1.3.6.1.2.1.33.1.4.4.1"
    cells = under(output, c3_1=145, c4_1=0, c3_2=0, c4_2=0, c4_3=0, c3_4=22, c4_4=200)
    found = read("ups", cells)
    assert found["output.1"].amps == 14.5
    assert [found[f"output.{line}"].watts for line in (1, 2, 3, 4)] == [None, 0, 0, 200]


def test_a_device_without_any_column_has_no_power_here():
    rows = find_rows(load()["hpe-ilo"], {})
    assert not has_power(rows, {})
    with pytest.raises(LookupError, match="no power here"):
        choose_rows(["server"], list(rows), "outlet")
    assert choose_rows([], [], "outlet") == []

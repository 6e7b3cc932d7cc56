"""Farms read by Kwapi's own drivers over the real protocols; time stands still unless a test lets it pass."""

import contextlib
import stat
from itertools import product

import pytest

from kwapi.cli.check import check
from kwapi.energy import EnergyRegister, Instant
from kwapi.errors import DeviceError
from kwapi.simulator.description import Plan, Scheduled
from kwapi.simulator.device import Fault
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.relay import LINE_FAULTS
from tests.simulator.farms import run

MICROJOULES_PER_KWH = 1000 * MICROJOULES_PER_WH
SHORT = {"timeout": 0.5}
PLANS = {
    "snmp": Plan("lyon.pdu", "snmp", outlets=3, options={**SHORT, "retries": 0, "slow_interval": 0}),
    "modbus": Plan("meter", "modbus", outlets=3, options=SHORT),
    "http": Plan("strip", "http", outlets=2, options=SHORT),
    "ipmi": Plan("node", "ipmi", options={"timeout": 1, "min_interval": 0}),
    "redfish": Plan("blade", "redfish", options=SHORT),
    "wattsup": Plan("bench", "wattsup"),
}
PROBES = {
    "snmp": ["lyon.pdu-1", "lyon.pdu-2", "lyon.pdu-3"],
    "modbus": ["meter", "meter-L1", "meter-L2", "meter-L3"],
    "http": ["strip-1", "strip-2"],
    "ipmi": ["node"],
    "redfish": ["blade"],
    "wattsup": ["bench"],
}
ROUNDED = {"snmp": 0.5, "modbus": 0.0001, "http": 0.05, "ipmi": 0.5, "redfish": 0.05, "wattsup": 0.1}  # watts, at most
kinds = pytest.mark.parametrize("kind", PLANS)


@kinds
def test_driver_reads_what_is_true(kind, tmp_path):
    async def conversation(site):
        name = PLANS[kind].name
        await site.open(name)
        found = []
        for seconds in (0, 1800.5, 3600):
            await site.pass_time(seconds)
            found.append((await site.read(name), site.energy()))
        return found

    for read, energy in run(conversation, [PLANS[kind]], tmp_path):
        consumed = {probe: each for probe, each in read.items() if not probe.endswith("@export")}
        assert list(consumed) == list(energy) == PROBES[kind]
        for probe, measurement in consumed.items():
            truth = energy[probe]
            assert measurement.watts == pytest.approx(truth["milliwatts"] / 1000, abs=ROUNDED[kind] * 1.001)
            if kind == "ipmi":
                assert measurement.kwh is truth["register"] is None
            else:
                assert measurement.kwh == pytest.approx(truth["register"] / MICROJOULES_PER_KWH, rel=1e-12, abs=1e-15)
                assert 0 <= truth["true"] - truth["register"] < MICROJOULES_PER_WH
            if measurement.volts is not None:
                assert measurement.volts == pytest.approx(230, abs=2)
            if measurement.amps is not None:
                assert measurement.amps * 230 >= measurement.watts * 0.99
    assert min(each["true"] for each in energy.values()) > 100 * MICROJOULES_PER_WH


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *product([kind for kind in PLANS if kind != "wattsup"], LINE_FAULTS),  # that driver is patient for 5 s
        ("http", "reboot"),
    ],
)
def test_line_breaks_and_comes_back(kind, fault, tmp_path):
    async def conversation(site):
        name = PLANS[kind].name
        await site.open(name)
        before = await site.read(name)
        site.farm.fault(name, Fault(fault, 2.0 if fault == "slow" else 0.0), 10)
        with pytest.raises((DeviceError, OSError)):
            await site.read(name)
        await site.close_driver(name)
        await site.pass_time(9)
        assert site.farm.wattmeters[name].faults
        await site.pass_time(1)
        assert not site.farm.wattmeters[name].faults
        await site.open(name)
        return before, await site.read(name)

    before, after = run(conversation, [PLANS[kind]], tmp_path)
    assert before.keys() == after.keys()


@kinds
def test_frozen_device_shows_nothing_new_until_it_is_healed(kind, tmp_path):
    async def conversation(site):
        name = PLANS[kind].name
        await site.open(name)
        before = await site.read(name)
        site.farm.fault(name, Fault("frozen"), None)
        await site.pass_time(3600)
        frozen = await site.read(name)
        site.farm.heal(name)
        return before, frozen, await site.read(name)

    before, frozen, after = run(conversation, [PLANS[kind]], tmp_path)
    for probe in PROBES[kind]:
        assert (frozen[probe].watts, frozen[probe].kwh) == (before[probe].watts, before[probe].kwh)
        assert kind == "ipmi" or after[probe].kwh > before[probe].kwh + 0.05


def test_wrong_unit_is_ten_times_the_watts(tmp_path):
    async def conversation(site):
        await site.open("meter")
        site.farm.fault("meter", Fault("wrong-unit"), None)
        return await site.read("meter"), site.energy()

    read, energy = run(conversation, [PLANS["modbus"]], tmp_path)
    for probe, truth in energy.items():
        assert read[probe].watts == pytest.approx(truth["milliwatts"] / 100)


@pytest.mark.parametrize("wrap_wh", [2**16, 2**24, 2**32, 10**8])
def test_driver_knows_where_the_register_of_a_pdu_wraps(wrap_wh, tmp_path):
    wrap = wrap_wh * MICROJOULES_PER_WH
    options = {"slow_interval": 0}
    plan = Plan("pdu", "snmp", wrap=wrap, start=wrap - 2 * MICROJOULES_PER_WH, options=options)

    async def conversation(site):
        await site.open("pdu")
        before = (await site.read("pdu"))["pdu"]
        await site.pass_time(600)
        return before, (await site.read("pdu"))["pdu"], site.energy()["pdu"]

    before, after, truth = run(conversation, [plan], tmp_path)
    assert before.kwh == pytest.approx((wrap_wh - 2) / 1000)
    assert before.kwh_wrap == after.kwh_wrap == wrap_wh / 1000
    assert after.kwh == truth["register"] / MICROJOULES_PER_KWH < 1
    assert truth["true"] // MICROJOULES_PER_WH == after.kwh * 1000 + 2


def test_nothing_is_drawn_in_a_pause(tmp_path):
    async def conversation(site):
        await site.pass_time(100)
        site.farm.pause()
        before = site.energy()
        await site.pass_time(3600)
        paused = site.energy()
        await site.open("strip")
        watts = [each.watts for each in (await site.read("strip")).values()]
        site.farm.run()
        await site.pass_time(100)
        return before, paused, watts, site.energy()

    before, paused, watts, after = run(conversation, [PLANS["http"]], tmp_path)
    for probe in PROBES["http"]:
        assert 0 < before[probe]["true"] == paused[probe]["true"] < after[probe]["true"]
        assert paused[probe]["milliwatts"] == 0
    assert watts == [0, 0]


def test_schedule_begins_and_ends_faults_at_their_time(tmp_path):
    faults = (
        Scheduled(Fault("silent"), 10, 20),
        Scheduled(Fault("frozen"), 15, None),
        Scheduled(Fault("reset"), 40, 1),
    )

    async def conversation(site):
        seen = []
        for seconds in (9, 1, 5, 14, 1, 10):
            await site.pass_time(seconds)
            seen.append(sorted(site.farm.wattmeters["plug"].faults))
        site.farm.heal("plug")
        return seen, site.energy()["plug"]

    seen, energy = run(conversation, [Plan("plug", "http", faults=faults)], tmp_path)
    assert seen == [[], ["silent"], ["frozen", "silent"], ["frozen", "silent"], ["frozen"], ["frozen"]]
    assert energy["register"] == 0 < energy["true"]


def test_a_fault_that_began_again_does_not_end_with_the_first(tmp_path):
    async def conversation(site):
        seen = []
        site.farm.fault("plug", Fault("silent"), 10)
        for seconds in (5, 5, 5):
            await site.pass_time(seconds)
            seen.append(sorted(site.farm.wattmeters["plug"].faults))
            if seconds == 5 and len(seen) == 1:
                site.farm.fault("plug", Fault("silent"), 10)
        return seen

    assert run(conversation, [Plan("plug", "http")], tmp_path) == [["silent"], ["silent"], []]


def test_reboot_hides_another_fault_of_the_line(tmp_path):
    async def conversation(site):
        await site.open("strip")
        site.farm.fault("strip", Fault("garbage"), None)
        site.farm.fault("strip", Fault("power-loss"), 5)
        with pytest.raises(DeviceError, match="not answered"):
            await site.read("strip")
        await site.pass_time(5)
        with pytest.raises(DeviceError) as error:
            await site.read("strip")
        assert "not answered" not in str(error.value)
        site.farm.heal("strip")
        return await site.read("strip")

    read = run(conversation, [PLANS["http"]], tmp_path)
    assert [each.kwh for each in read.values()] == [0, 0]


def test_written_configuration_is_sound_and_for_its_owner_alone(tmp_path):
    plans = [*PLANS.values(), Plan("wrapping", "snmp", wrap=2**16 * MICROJOULES_PER_WH)]
    for daemon in ("forwarder", "api", "rrd"):
        (tmp_path / f"{daemon}.conf").write_text("[DEFAULT]\n" + "acl_enabled = false\n" * (daemon == "api"))

    async def conversation(site):
        check(tmp_path)
        return list(site.drivers), stat.S_IMODE(site.path.stat().st_mode)

    assert run(conversation, plans, tmp_path) == ([plan.name for plan in plans], 0o600)


def test_pdu_hears_no_community_but_its_own(tmp_path):
    plans = [Plan(name, "snmp", options={**SHORT, "retries": 0}) for name in ("pdu1", "pdu2")]

    async def conversation(site):
        await site.open("pdu1")
        first = await site.read("pdu1")
        site.drivers["pdu2"].community = site.farm.wattmeters["pdu1"].secret
        with pytest.raises(DeviceError, match="no answer to .*community"):
            await site.open("pdu2")
        return list(first)

    assert run(conversation, plans, tmp_path) == ["pdu1"]


def test_meter_has_three_phases_at_most(tmp_path):
    with pytest.raises(ValueError, match="more than 3 phases"):
        run(None, [Plan("meter", "modbus", outlets=4)], tmp_path)


def test_energy_is_exact_whatever_happens_on_the_way(tmp_path):
    """Wraps, gaps, frozen values and steps back cost nothing: the register bridges them. Watts are not looked at."""
    wrap = 2**16 * MICROJOULES_PER_WH
    plan = Plan("pdu", "snmp", wrap=wrap, start=wrap - 20 * MICROJOULES_PER_WH, options={**SHORT, "slow_interval": 0})
    by_minute = {3: "step-back", 7: "silent", 11: "frozen", 20: "wrong-unit", 30: "reboot", 40: "clock-step"}

    async def conversation(site):
        register, events = EnergyRegister(), []
        await site.open("pdu")
        for minute in range(60):
            if kind := by_minute.get(minute):
                site.farm.fault("pdu", Fault(kind), 60)
            with contextlib.suppress(DeviceError):
                measurement = (await site.read("pdu"))["pdu"]
                at = Instant(1, site.clock.now, site.clock.now)
                event = register.add(at, measurement.watts, measurement.kwh, measurement.kwh_wrap, max_gap=600)
                events += [event.kind] if event else []
            if minute < 59:
                await site.pass_time(60)
        return register.kwh, events, site.energy()["pdu"]["true"]

    kwh, events, true = run(conversation, [plan], tmp_path)
    assert events == ["step back", "wrap"]
    assert kwh * 1000 == pytest.approx(true // MICROJOULES_PER_WH, abs=1e-6)
    assert kwh > 0.08

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.energy import EnergyRegister, Instant, Span
from kwapi.measurement import EXPORT, LEVELS
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.record import Unreadable, pack, unpack
from kwapi.plugins.api.slots import MAX_RECORD

number = st.floats(-1e12, 1e12)
maybe = st.none() | number
instant = st.builds(Instant, st.integers(0, 2**64 - 1), number, number)
span = st.builds(Span, number, number, number)
register = st.builds(
    EnergyRegister, span, span, span, st.none() | instant, number, maybe, st.none() | instant, number, number, number
)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "M"], max_codepoint=0x2FF), min_size=1
)
names = names.filter(lambda name: not set(name) & set("/,@") and name.isalnum() and len(name.encode()) <= 80)


def probe(**values):
    given = {"name": "a", "wattmeter": "m", "level": "device", "interval": 1.0, "heard_at": 0.0, "since": 1.0}
    return Probe(**{**given, "timestamp": 2.0, **values})


def same(first, second):
    ours = {field.name for field in fields(Probe)} - {"heard_at", "told", "slot", "_shown", "_shown_told"}
    assert {name: getattr(first, name) for name in ours} == {name: getattr(second, name) for name in ours}


@given(names, names, st.sampled_from(LEVELS), register, maybe, st.booleans())
def test_a_record_holds_all_that_energy_needs(name, wattmeter, level, energy, watts, is_back):
    energy.stepped_back = is_back
    written = probe(name=name, wattmeter=wattmeter, level=level, energy=energy, watts=watts, watts_timestamp=watts)
    same(unpack(pack(written), 0.0, 0.0), written)


@pytest.mark.parametrize("name", ["é" * 40, "é" * 40 + EXPORT])
def test_the_longest_names_fit(name):
    written = probe(name=name, wattmeter="ü" * 40)
    record = pack(written)
    assert len(record) <= MAX_RECORD
    same(unpack(record, 0.0, 0.0), written)


def test_every_field_of_the_register_is_in_the_record():
    """A field that is added to EnergyRegister and not here would start anew at every restart."""
    assert [field.name for field in fields(EnergyRegister)] == [
        *("total", "pending", "ahead", "watts_at", "peak_watts", "register", "register_at"),
        *(
            "register_period",
            "register_step",
            "register_left",
            "register_leapt",
            "register_lag",
            "register_owed",
            "stepped_back",
        ),
    ]


def test_a_probe_is_as_long_silent_as_its_last_measurement_is_old():
    record = pack(probe(timestamp=1000.0))
    assert unpack(record, 50.0, 1007.0).heard_at == 43.0
    assert unpack(record, 50.0, 900.0).heard_at == 50.0


def test_a_boot_of_any_size_is_kept():
    energy = EnergyRegister(watts_at=Instant(-1, 1.0, 2.0))
    assert unpack(pack(probe(energy=energy)), 0.0, 0.0).energy.watts_at == Instant(2**64 - 1, 1.0, 2.0)


@given(st.binary() | st.binary(min_size=len(pack(probe())), max_size=len(pack(probe()))).map(lambda b: b"\x01" + b[1:]))
def test_anything_else_is_no_probe(record):
    try:
        unpack(record, 0.0, 0.0)
    except Unreadable:
        return
    assert len(record) == len(pack(probe()))


@pytest.mark.parametrize("record", [b"\x02" + pack(probe())[1:], pack(probe()) + b"\x00", b"\x01"])
def test_a_record_of_another_version_is_no_probe(record):
    with pytest.raises(Unreadable):
        unpack(record, 0.0, 0.0)

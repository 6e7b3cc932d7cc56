import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.errors import BadMessage
from kwapi.measurement import (
    LEVELS,
    QUANTITIES,
    Decoder,
    Layout,
    Measurement,
    Message,
    check_names,
    counted_probes,
    decode,
    encode,
    name_problem,
    outermost,
    probe_problem,
    to_columns,
    topic_of,
)
from tests.messages import message

DIFFERENT = (  # fields of messages of one wattmeter
    {"probes": ["a", "b"], "w": [1.0, 2.0]},
    {"probes": ["a", "b"], "level": ["inlet", "outlet"], "w": [1.0, None]},
    {"probes": ["a", "b"], "level": ["outlet", "outlet"], "kwh": [1.0, 2.0]},
    {"probes": ["b", "a"], "w": [3.0, 4.0]},
    {"probes": ["a"], "w": [5.0]},
    {"probes": ["ä" * 20], "w": [5.0]},
    {"probes": [], "type": "end", "w": None},
    {"wattmeter": "other", "probes": ["c"], "w": [6.0]},
    {"probes": ["a"]} | {column: [float(place)] for place, (column, _) in enumerate(QUANTITIES)},
)


def test_golden_payload():
    """The bytes on the wire: another implementation must come to the same."""
    golden = Message(
        version=1,
        type="measurement",
        wattmeter="lyon.pdu1",
        boot=1795309000123456789,
        seq=4211,
        timestamp=1795309123.5,
        monotonic=5123.25,
        interval=1.0,
        **to_columns([Measurement("taurus-1", watts=118.25, volts=230.5, kwh=3512.75), Measurement("t2", watts=97.0)]),
    )
    assert encode(golden).hex() == (
        "de000c"  # a map of 12
        "a776657273696f6e01"
        "a474797065ab6d6561737572656d656e74"
        "a9776174746d65746572a96c796f6e2e70647531"
        "a4626f6f74cf18ea38060e6b9d15"
        "a3736571cd1073"
        "a974696d657374616d70cb41dac08f90e00000"
        "a96d6f6e6f746f6e6963cb40b4034000000000"
        "a8696e74657276616ccb3ff0000000000000"
        "a670726f62657392a87461757275732d31a27432"
        "a17792cb405d900000000000cb4058400000000000"
        "a17692cb406cd00000000000c0"
        "a36b776892cb40ab718000000000c0"
    )
    assert decode(encode(golden)) == golden


def test_a_column_that_no_probe_has_is_left_out():
    wire = msgspec.msgpack.decode(encode(message(w=[1.5])))
    assert set(wire) == {
        *("version", "type", "wattmeter", "boot", "seq", "timestamp", "monotonic", "interval", "probes", "w")
    }
    assert set(to_columns([Measurement("a", level="outlet", watts=0.0)])) == {"probes", "level", "w"}


def test_unknown_is_none_and_zero_is_zero():
    columns = to_columns([Measurement("a", watts=0.0), Measurement("b")])
    assert columns == {"probes": ["a", "b"], "w": [0.0, None]}


def test_unknown_keys_are_ignored():
    wire = msgspec.msgpack.decode(encode(message()))
    assert decode(msgspec.msgpack.encode({**wire, "colour": "red"})).probes == ["taurus-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"probes": []},
        {"probes": ["a", "a"], "w": [1.0, 2.0]},
        {"w": [1.0, 2.0]},
        {"w": [float("nan")]},
        {"w": [float("inf")]},
        {"w": ["many"]},
        {"w": 5},
        {"level": ["roof"]},
        {"level": []},
        {"timestamp": float("nan")},
        {"monotonic": float("inf")},
        {"interval": 0},
        {"interval": float("nan")},
        {"wattmeter": 7},
        {"version": "one"},
    ],
)
def test_a_malformed_payload_is_refused(change):
    wire = msgspec.msgpack.decode(encode(message()))
    with pytest.raises(BadMessage) as caught:
        decode(msgspec.msgpack.encode({**wire, **change}))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(("change", "reason"), [({"version": 2}, "unknown version"), ({"type": "x"}, "unknown type")])
def test_what_a_later_version_may_send_has_its_own_reason(change, reason):
    wire = msgspec.msgpack.decode(encode(message()))
    with pytest.raises(BadMessage) as caught:
        decode(msgspec.msgpack.encode({**wire, **change}))
    assert caught.value.reason == reason


def kept(decoder, payload):
    """Return what a decoder reads and is told to keep."""
    one = decoder.decode(payload)
    decoder.keep(one)
    return one


def test_probes_that_are_the_same_are_read_once():
    decoder = Decoder()
    first, second = (kept(decoder, encode(message(probes=["a", "b"], w=[seq, 2.0], seq=seq))) for seq in (1, 2))
    assert first.probes is second.probes
    assert (first.seq, first.w, second.seq, second.w) == (1, [1.0, 2.0], 2, [2.0, 2.0])


def test_probes_of_a_message_that_is_not_admitted_leave_no_trace():
    decoder = Decoder()
    first, second = (decoder.decode(encode(message(seq=seq))) for seq in (1, 2))
    assert first.probes is not second.probes
    with pytest.raises(BadMessage):
        decoder.decode(encode(message(probes=["a", "a"], w=[1.0, 2.0])))
    one, other = (encode(message(name, probes=[name])) for name in ("one", "other"))
    assert kept(decoder, one).probes is kept(decoder, one).probes
    assert decoder.decode(other).probes is not kept(decoder, one).probes


@given(st.lists(st.tuples(st.sampled_from(DIFFERENT), st.booleans()), max_size=30))
def test_a_decoder_reads_each_message_as_if_it_were_the_only_one(fields):
    decoder = Decoder()
    for each, is_kept in fields:
        one = message(**each)
        assert (kept(decoder, encode(one)) if is_kept else decoder.decode(encode(one))) == one == decode(encode(one))


@pytest.mark.parametrize("fields", [each for each in DIFFERENT if each["probes"]])
def test_a_layout_is_packed_as_a_message_has_it(fields):
    one = message(**fields)
    assert encode(one, Layout.of(one.probes, one.level)) == encode(one)


@pytest.mark.parametrize(("probes", "level"), [(["a", "a"], None), (["a"], ["roof"]), (["a"], [])])
def test_there_are_layouts_that_cannot_be(probes, level):
    with pytest.raises(BadMessage, match="malformed"):
        Layout.of(probes, level)


def test_what_is_malformed_is_so_after_others_too():
    decoder = Decoder()
    for change in ({"probes": ["a", "a"]}, {"probes": ["a"]}, {"level": ["roof", "roof"]}, {"w": [1.0]}):
        kept(decoder, encode(message(**DIFFERENT[0])))
        with pytest.raises(BadMessage, match="malformed"):
            decoder.decode(encode(message(**{**DIFFERENT[0], **change})))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_happens(payload):
    with pytest.raises(BadMessage):
        decode(payload)


@pytest.mark.parametrize("name", ["taurus-1", "Ünï rack", "a.b.c", "机", "x" * 80, "50% [a]:b"])
def test_names_that_may_be_used(name):
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", " a", "a ", "a/b", "a,b", "a@b", "a\0b", "a\nb", "x" * 81, "é" * 41, "e\u0301", "\ud800"],
)
def test_names_that_may_not(name):
    assert name_problem(name) is not None


def test_an_export_probe_may_say_so():
    assert probe_problem("house@export") is None
    assert probe_problem("house@import") is not None
    assert probe_problem("@export") is not None


def test_names_of_a_message_are_checked():
    check_names("lyon.pdu1", ["ok", "ok@export"])
    for wattmeter, probes in (("a/b", ["ok"]), ("a", ["ok", "not/ok"])):
        with pytest.raises(BadMessage):
            check_names(wattmeter, probes)


def test_a_topic_is_the_name_and_a_dot():
    assert topic_of("lyon.pdu1") == b"lyon.pdu1."
    assert topic_of("Ünï") == "Ünï.".encode()


def test_a_total_adds_the_outermost_level_only():
    assert [outermost(LEVELS[i:]) for i in range(5)] == list(LEVELS)
    assert counted_probes({"in": "inlet", "o1": "outlet", "l1": "phase"}) == ["in"]
    assert counted_probes({"o1": "outlet", "o2": "outlet"}) == ["o1", "o2"]
    assert counted_probes({"house": "device", "house@export": "device"}) == ["house"]
    assert counted_probes({"house@export": "device"}) == []


def test_a_measurement_has_the_quantities_in_the_order_of_their_columns():
    assert Measurement._fields == ("probe", *(attribute for _, attribute in QUANTITIES), "level")

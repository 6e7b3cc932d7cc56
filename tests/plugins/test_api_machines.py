from functools import partial

import pytest

from kwapi.config import load
from kwapi.errors import ConfigError
from kwapi.plugins.api.collector import Collector, Reading
from kwapi.plugins.api.machines import Machine, machines_of, read_machines
from kwapi.plugins.api.registers import Registers
from kwapi.plugins.api.stream import FIRST, Ring, Streams
from kwapi.plugins.api.views import create_app
from tests.clock import Clock
from tests.messages import message

WEB = Machine("web-1", ("pdu-a-7", "pdu-b-7"))


def loaded(tmp_path, text, owners=None):
    path = tmp_path / "api.conf"
    path.write_text(text)
    return load("api", [path], sections=partial(read_machines, owners=owners))


def test_a_section_names_the_probes_that_feed_a_machine(tmp_path):
    text = "[machine web-1]\nprobes = pdu-a-7, pdu-b-7\n[machine Ünï rack.2]\nprobes = c\n[DEFAULT]\nport = 1\n"
    assert machines_of(loaded(tmp_path, text)) == [WEB, Machine("Ünï rack.2", ("c",))]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[machine web/1]\nprobes = a\n", "api.conf:1: [machine web/1]: the machine's name 'web/1' contains '/'"),
        ("[machine m]\n", "api.conf:1: [machine m] probes: is missing"),
        ("[machine m]\nprobes = a\nprobe = b\n", "api.conf:3: [machine m] probe: unknown option"),
        ("[machine m]\nprobes = a, a\n", "api.conf:2: [machine m] probes: 'a' stands there twice"),
        ("[machine m]\nprobes = m, a\n", "api.conf:2: [machine m] probes: 'm' is the name of the machine itself"),
        ("[machine m]\nprobes = a\n[machine n]\nprobes = m, b\n", "api.conf:4: [machine n] probes: 'm' is a machine"),
        ("[machine m]\nprobes = a@export\n", "api.conf:2: [machine m] probes: 'a@export' is what flows back"),
        ("[machine m]\nprobes = a/b\n", "api.conf:2: [machine m] probes: 'a/b' contains '/'"),
        ("[machine m]\nprobes = a\n[machine M]\nprobes = b\n", "api.conf:3: [machine M]: the section stands at "),
        ("[machine m]\nprobes = a\n[machine  m]\nprobes = b\n", "api.conf:3: [machine  m]: 'm' has another section"),
        ("[machine taken]\nprobes = a\n", "api.conf:1: [machine taken]: 'taken' is a probe of the wattmeter lyon.pdu1"),
        ("[machines m]\nprobes = a\n", "api.conf:1: [machines m]: unknown section"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, text, mistake):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, {"taken": "lyon.pdu1", "a": "lyon.pdu1"})
    assert [each for each in caught.value.mistakes if each.replace(f"{tmp_path}/", "").startswith(mistake)]


def collected(*messages, machines=(WEB,)):
    collector = Collector(machines=machines, clock=Clock(), wall_clock=Clock())
    for each in messages:
        collector.add(each)
    return collector


def feed(feed, seq, **fields):
    """Return a message of one of the two PDUs: a or b."""
    return message(f"pdu-{feed}", seq, probes=[f"pdu-{feed}-7"], **fields)


def machine(collector, seconds=1.0):
    collector._clock.now += seconds
    return {state.id: state for state in collector.snapshot().probes}.get("web-1")


def test_a_machine_has_the_sum_of_its_probes_everywhere():
    collector = collected(
        feed("a", 0, timestamp=1000.0, monotonic=0.0, w=[3600.0]),
        feed("b", 0, timestamp=1000.5, monotonic=0.5, w=[1800.0], kwh=[70.0]),
        feed("a", 1, timestamp=1010.0, monotonic=10.0, w=[7200.0]),
        feed("b", 1, timestamp=1010.5, monotonic=10.5, w=[1800.0], kwh=[70.005]),
    )
    state = machine(collector)
    assert (state.w, state.kwh, state.timestamp) == (9000.0, pytest.approx(0.025), 1010.0)
    assert (state.level, state.wattmeter, state.state) == ("machine", "kwapi.machine", "up")
    assert (state.kwh_since, state.measured_seconds, state.coverage) == (1000.0, 10.0, 1.0)
    assert collector.readings()["web-1"] == collector.reading("web-1") == Reading(1010.0, 9000.0, pytest.approx(0.025))
    assert [each.id for each in collector.snapshot().probes] == ["pdu-a-7", "pdu-b-7", "web-1"]


def test_listeners_hear_of_a_machine_whenever_one_of_its_probes_is_measured():
    collector, heard = collected(), []
    collector.subscribe(lambda message: heard.append((message.wattmeter, message.probes, message.w, message.timestamp)))

    def machines_heard():
        found = [each for each in heard if each[0] == "kwapi.machine"]
        heard.clear()
        return found

    collector.add(feed("a", 0, timestamp=1000.0, w=[100.0]))
    assert machines_heard() == []  # half of it is not known yet
    collector.add(feed("b", 0, timestamp=1000.5, w=[50.0]))
    assert machines_heard() == [("kwapi.machine", ["web-1"], [150.0], 1000.5)]
    collector.add(message("other", probes=["c"]))
    collector.add(feed("a", 1, timestamp=1001.0, w=[110.0]))
    assert machines_heard() == [("kwapi.machine", ["web-1"], [160.0], 1001.0)]
    collector.add(feed("b", 1, timestamp=1011.0, w=[None], v=[230.0]))
    assert machines_heard() == [("kwapi.machine", ["web-1"], [None], 1011.0)]
    collector._clock.now += 11
    collector.add(feed("a", 2, timestamp=1012.0, w=[110.0]))
    assert machines_heard() == []  # half of it is stale


def test_a_reader_of_the_stream_gets_machines_by_the_filters_of_probes():
    collector = collected(feed("a", 0, w=[100.0]))
    client = create_app(collector, streams=Streams(Ring.of(collector))).test_client()
    for query, found in (("", True), ("?id=web-1", True), ("?wattmeter=kwapi.machine", True), ("?id=pdu-b-7", False)):
        answer = client.get(f"/v2/stream{query}")
        parts = answer.iter_encoded()
        assert next(parts) == FIRST
        collector.add(feed("b", 0, w=[50.0]))
        assert (b'"measurements":[{"id":"web-1","level":"machine","w":150.0,' in next(parts)) is found
        answer.close()


def test_a_machine_is_in_order_among_the_probes():
    collector = collected(message(probes=["a", "m", "z"]), machines=[Machine("k", ("z", "a")), Machine("x", ("m",))])
    assert [state.id for state in collector.snapshot().probes] == ["a", "k", "m", "x", "z"]


def test_a_machine_of_which_a_probe_was_never_heard_is_nowhere():
    collector = collected(feed("a", 0))
    assert machine(collector) is None
    assert collector.reading("web-1") is None
    assert list(collector.readings()) == ["pdu-a-7"]


def test_watts_are_unknown_while_those_of_one_probe_are():
    collector = collected(
        feed("a", 0, timestamp=1000.0, w=[100.0], kwh=[5.0]), feed("b", 0, timestamp=1000.0, w=[90.0], kwh=[7.0])
    )
    collector._clock.now += 11
    collector.add(feed("a", 1, timestamp=1011.0, w=[200.0], kwh=[5.001]))
    state = machine(collector)
    assert (state.w, state.state, state.timestamp, state.kwh) == (None, "stale", 1000.0, pytest.approx(0.001))
    assert collector.reading("web-1").timestamp == 1000.0  # by which /v1 tells


def test_a_machine_half_of_which_is_silent_keeps_its_energy_and_goes_when_all_of_it_is():
    collector = collected(feed("a", 0, kwh=[5.0]), feed("b", 0, kwh=[7.0]), feed("b", 1, kwh=[7.5]))
    collector._clock.now += 301
    collector.add(feed("a", 1, kwh=[5.5]))
    state = machine(collector)
    assert (state.w, state.kwh) == (None, pytest.approx(1.0))
    assert collector.reading("web-1") is None
    assert machine(collector, 301) is None


def test_a_probe_with_the_name_of_a_machine_is_a_conflict(caplog):
    collector = collected(message(probes=["web-1", "a"]))
    assert list(collector.readings()) == ["a"]
    assert collector.conflicts.counts == {"web-1": 1}
    assert "a probe has the name of the machine web-1" in caplog.text


def test_the_machine_has_the_name_also_of_a_probe_of_former_times(tmp_path):
    registers = Registers(tmp_path)
    Collector(registers).add(message(probes=["web-1"]))
    registers.close()
    registers = Registers(tmp_path)
    assert Collector(registers, machines=[WEB]).readings() == {}
    registers.close()

from typing import get_type_hints

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.registry import Collector as Source

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.metrics import probe_families
from kwapi.plugins.api.schemas import Event
from kwapi.plugins.api.states import ProbeState
from kwapi.plugins.api.views import create_app
from kwapi.stream import Account
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0
COUNTS = {"accepted": 7, "lost": 2, "rejected": {"too old": 3, "bad signature": 1}, "skew": {}}
ACCOUNT = Account(7, 1, 2, 3, 4, 5, 6)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
READERS = {OPENMETRICS: read_openmetrics, "text/plain": read_text}


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def client(clock):
    collector = Collector(clock=clock, wall_clock=clock)
    for hour in range(2):
        collector.add(
            message(
                seq=hour,
                timestamp=NOW + 36 * hour,
                monotonic=36.0 * hour,
                probes=["a", 'b "\\ü'],
                w=[100.0, None],
                kwh=[None, 5.0 + hour],
                interval=36.0,
            )
        )
    return create_app(collector, lambda: COUNTS, account_of={"lyon.pdu1": ACCOUNT}.get).test_client()


def samples(client, accept):
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.content_type.startswith(accept)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in READERS[accept](answer.text)
        for sample in family.samples
    }


def of(name, probe):
    return (name, ("level", "device"), ("probe", probe), ("wattmeter", "lyon.pdu1"))


@pytest.mark.parametrize("accept", READERS)
def test_what_became_of_the_messages_of_a_wattmeter_is_told(client, accept):
    found = samples(client, accept)
    assert found["kwapi_messages_lost_total", ("wattmeter", "lyon.pdu1")] == ACCOUNT.lost


@pytest.mark.parametrize("accept", READERS)
def test_power_and_energy_are_told(client, accept):
    found = samples(client, accept)
    assert found[of("kwapi_power_watts", "a")] == 100.0
    assert found[of("kwapi_energy_joules_total", "a")] == pytest.approx(3600.0)
    assert found[of("kwapi_energy_joules_created", "a")] == NOW
    assert found[of("kwapi_probe_up", "a")] == 1.0
    assert found[of("kwapi_energy_joules_total", 'b "\\ü')] == pytest.approx(3.6e6)


@pytest.mark.parametrize("accept", READERS)
def test_what_is_not_known_is_absent(client, accept):
    assert of("kwapi_power_watts", 'b "\\ü') not in samples(client, accept)


@pytest.mark.parametrize("accept", READERS)
def test_what_is_stale_is_absent_rather_than_old(client, clock, accept):
    clock.now += 109
    found = samples(client, accept)
    assert found[of("kwapi_probe_up", "a")] == 0.0
    assert {name for name, *_ in found if not name.startswith(("kwapi_messages_", "process_"))} == {
        "kwapi_probe_up",
        "kwapi_energy_events_total",
        "kwapi_bus_connections_failed_total",
        "kwapi_bus_messages_total",
        "kwapi_bus_lost_total",
        "kwapi_bus_rejected_total",
    }


@pytest.mark.parametrize("accept", READERS)
def test_what_registers_did_other_than_count_on_is_counted_by_kind(client, accept):
    kinds = [dict(labels)["kind"] for name, *labels in samples(client, accept) if name == "kwapi_energy_events_total"]
    described = get_type_hints(Event, include_extras=True)["kind"].__metadata__[0].description
    assert f"{', '.join(kinds[:-1])} or {kinds[-1]}." == described


def test_an_event_of_a_register_counts(clock):
    collector = Collector(clock=clock, wall_clock=clock)
    for seq, kwh in enumerate((500.0, 501.0, 0.0, 0.1)):
        clock.now += 10
        collector.add(message(seq=seq, timestamp=clock.now, monotonic=clock.now, probes=["a"], w=[9.0], kwh=[kwh]))
    counted = samples(create_app(collector).test_client(), "text/plain")
    events = [value for (name, *_), value in counted.items() if name == "kwapi_energy_events_total"]
    assert sum(events) == len(collector.events("a")) > 0


def test_what_the_bus_counts_is_told(client):
    found = samples(client, "text/plain")
    assert found[("kwapi_bus_messages_total",)] == 7
    assert found[("kwapi_bus_lost_total",)] == 2
    assert found[("kwapi_bus_rejected_total", ("reason", "too old"))] == 3


@pytest.mark.parametrize("accept", READERS)
def test_clocks_that_are_off_and_names_that_two_have_are_told(accept):
    collector = Collector()
    for wattmeter in ("one", "two", "two"):
        collector.add(message(wattmeter))
    found = samples(create_app(collector, lambda: {"skew": {"one": -1.5, "two": 0.25}}).test_client(), accept)
    assert found[("kwapi_bus_skew_seconds", ("wattmeter", "one"))] == -1.5
    assert found[("kwapi_conflicts_total", ("name", "taurus-1"))] == 2


def test_the_page_is_compressed_and_has_a_tag(client):
    answer = client.get("/metrics", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert client.get("/metrics", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


class Families(Source):
    """What is told of probes, by the library that everybody else uses."""

    def __init__(self, probes):
        self.probes = probes

    def collect(self):
        labels = ("wattmeter", "probe", "level")
        power = GaugeMetricFamily("kwapi_power_watts", "Power.", labels=labels, unit="watts")
        energy = CounterMetricFamily("kwapi_energy_joules", "Energy.", labels=labels, unit="joules")
        unknown = CounterMetricFamily("kwapi_energy_unknown_seconds", "Unknown.", labels=labels, unit="seconds")
        up = GaugeMetricFamily("kwapi_probe_up", "Up.", labels=labels)
        for probe in self.probes:
            place = (probe.wattmeter, probe.id, probe.level)
            up.add_metric(place, probe.state == "up")
            if probe.w is not None:
                power.add_metric(place, probe.w)
            if probe.state == "up":
                energy.add_metric(place, probe.kwh * 3.6e6, created=probe.kwh_since)
                unknown.add_metric(place, probe.unknown_seconds)
        return [power, energy, unknown, up]


def state(name, **values):
    given = {"wattmeter": "lyon.pdu1", "level": "outlet", "timestamp": NOW, "w": 1.5, "state": "up", "kwh_since": NOW}
    nothing = {"v": None, "a": None, "va": None, "coverage": None, "measured_seconds": 0.0, "unknown_seconds": 0.0}
    return ProbeState(id=name, **{**given, **nothing, "kwh": 0.0, "interval": 1.0, **values})


PROBES = [
    state("a", kwh=1 / 3),
    state("stale", state="stale", w=None),
    state("export", w=-12.25, kwh=1e-9, kwh_since=0.1),
    state("Ü {机}=,# x", wattmeter='\\ "quoted" \\n', w=0.0, kwh=123456789.125),
    state("no watts", w=None, kwh=1e15),
    state("b", w=1e22, unknown_seconds=1234.5, level="inlet"),
]


@pytest.mark.parametrize("probes", [PROBES, PROBES[1:2], []], ids=len)
@pytest.mark.parametrize("accept", READERS)
def test_readers_find_what_prometheus_client_would_have_written(accept, probes):
    def read(page):
        found = {family.name: (family.type, family.unit, family.samples) for family in READERS[accept](page.decode())}
        return {name: family for name, family in found.items() if family[2]}

    end = b"# EOF\n" if accept == OPENMETRICS else b""
    ours = b"".join([*probe_families(probes, is_open=accept == OPENMETRICS), end])
    encode, _ = choose_encoder(accept)
    assert read(ours) == read(encode(Families(probes)))


@pytest.mark.parametrize("accept", READERS)
def test_connections_that_did_not_come_about_are_told_by_reason(accept):
    counts = {"connections_failed": {"refused": 4}}
    found = samples(create_app(Collector(), lambda: counts).test_client(), accept)
    assert found[("kwapi_bus_connections_failed_total", ("reason", "refused"))] == 4

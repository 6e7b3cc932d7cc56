import json
from threading import Event

import pytest

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.query import Filter
from kwapi.plugins.api.stream import COMMENT, FIRST, Ring, Stream, Streams
from kwapi.plugins.api.views import create_app
from tests.clock import Clock
from tests.messages import message

BOOT = 0xABC


@pytest.fixture
def clock():
    return Clock(0.0)


@pytest.fixture
def ring(clock):
    ring = Ring(8, boot=BOOT, clock=clock)
    ring.begin()
    return ring


def fill(ring, *numbers, wattmeter="lyon.pdu1"):
    for number in numbers:
        ring.add(message(wattmeter, seq=number, w=[float(number)], timestamp=float(number)))


def opened(ring, clock, last="", wanted=None, **given):
    stream = Stream(ring, wanted or Filter(), last, Event(), lambda: None, clock=clock, seconds=100.0, **given)
    return stream, next(stream)


def events(chunk):
    """Return the events of a part of a stream as (id, name, data), as a reader would find them."""
    found = []
    for block in chunk.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("id"), fields.get("event"), json.loads(fields["data"])))
    return found


def test_what_is_measured_comes_as_an_event(ring, clock):
    fill(ring, 1)
    stream, first = opened(ring, clock)
    assert first == FIRST
    ring.add(
        message(
            probes=["a", "b"], w=[1.5, None], v=[230.0, 231.0], level=["inlet", "outlet"], timestamp=1_800_000_000.5
        )
    )
    ((name, event, measured),) = events(next(stream))
    assert (name, event) == ("abc-1", None)
    assert measured == {
        "wattmeter": "lyon.pdu1",
        "timestamp": 1_800_000_000.5,
        "measurements": [
            {"id": "a", "level": "inlet", "w": 1.5, "v": 230.0, "a": None, "va": None},
            {"id": "b", "level": "outlet", "w": None, "v": 231.0, "a": None, "va": None},
        ],
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(), [["a", "b"], ["c"]]),
        (Filter(wattmeter="lyon"), [["a", "b"]]),
        (Filter(ids=frozenset("bc")), [["b"], ["c"]]),
        (Filter(wattmeter="nancy", ids=frozenset("c")), [["c"]]),
        (Filter(state="up"), [["a", "b"], ["c"]]),
    ],
)
def test_a_reader_gets_what_it_asks_for(ring, clock, wanted, found):
    stream, _ = opened(ring, clock, wanted=wanted)
    ring.add(message("lyon.pdu1", probes=["a", "b"]))
    ring.add(message("nancy.pdu1", probes=["c"]))
    measured = [[probe["id"] for probe in data["measurements"]] for _, _, data in events(next(stream))]
    assert measured == found


def test_a_reader_of_what_never_comes_hears_a_comment_every_15_seconds(ring, clock):
    looks = []

    def pass_time():
        clock.now += 5.0
        looks.append(clock.now)
        fill(ring, len(looks), wattmeter="nancy")
        return False

    stream, _ = opened(ring, clock, wanted=Filter(wattmeter="lyon"), has_gone=pass_time)
    assert [next(stream), next(stream)] == [COMMENT, COMMENT]
    assert looks == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]


def test_a_reader_that_comes_back_gets_what_it_missed(ring, clock):
    fill(ring, *range(5))
    stream, first = opened(ring, clock, "abc-1")
    assert first == FIRST
    assert [(name, data["timestamp"]) for name, _, data in events(next(stream))] == [
        ("abc-2", 2.0),
        ("abc-3", 3.0),
        ("abc-4", 4.0),
    ]


def test_a_reader_that_missed_more_than_is_kept_is_told_how_much(ring, clock):
    fill(ring, *range(20))
    stream, _ = opened(ring, clock, "abc-1")
    gap, *rest = events(next(stream))
    assert gap == (None, "gap", {"missed": 10})
    assert [name for name, _, _ in rest] == [f"abc-{number}" for number in range(12, 20)]


@pytest.mark.parametrize("last", ["abd-1", "abc-99", "abc-", "abc--1", "nonsense", "abc-٣", "abc-" + "9" * 5000])
def test_a_reader_whose_last_event_is_not_known_is_told_so_and_gets_what_is_new(ring, clock, last):
    fill(ring, *range(3))
    stream, first = opened(ring, clock, last)
    assert events(first) == [(None, "gap", {"missed": None})]
    fill(ring, 3)
    assert [name for name, _, _ in events(next(stream))] == ["abc-3"]


def test_a_reader_that_is_too_slow_gets_the_newest_of_each_wattmeter(ring, clock):
    stream, _ = opened(ring, clock)
    fill(ring, 0, 1, wattmeter="a")
    fill(ring, 2, wattmeter="b")
    fill(ring, 3, wattmeter="a")
    clock.now += 2.0  # in which it did not take what was sent
    assert [(name, data) if name else data for name, _, data in events(next(stream))][0] == {"missed": 2}
    fill(ring, 4, 5, wattmeter="a")
    clock.now += 0.1
    assert [name for name, _, _ in events(next(stream))] == ["abc-4", "abc-5"]


def test_the_newest_of_a_slow_reader_are_in_order(ring, clock):
    stream, _ = opened(ring, clock)
    fill(ring, 0, wattmeter="a")
    fill(ring, 1, wattmeter="b")
    fill(ring, 2, wattmeter="a")
    clock.now += 2.0
    assert [name for name, _, _ in events(next(stream))] == [None, "abc-1", "abc-2"]


def test_a_slow_reader_misses_no_probe_of_a_wattmeter_that_reports_some_at_a_time(ring, clock):
    stream, _ = opened(ring, clock)
    for probe in "abab":
        ring.add(message(probes=[probe]))
    clock.now += 2.0
    gap, *rest = events(next(stream))
    assert gap == (None, "gap", {"missed": 2})
    assert [measured["measurements"][0]["id"] for _, _, measured in rest] == ["a", "b"]


def test_what_was_missed_long_comes_in_several_parts(clock):
    ring = Ring(1000, boot=BOOT, clock=clock)
    ring.begin()
    fill(ring, *range(250))
    stream, _ = opened(ring, clock, "abc-0")
    parts = [events(next(stream)) for _ in range(3)]
    assert [len(part) for part in parts] == [100, 100, 49]
    assert [name for part in parts for name, _, _ in part] == [f"abc-{number}" for number in range(1, 250)]


def test_what_came_before_the_first_stream_is_numbered_and_not_kept(clock):
    ring = Ring(8, boot=BOOT, clock=clock)
    fill(ring, 0, 1)
    assert (ring.count, ring.since(0), ring.is_fresh()) == (2, [], True)
    stream, first = opened(ring, clock)
    fill(ring, 2)
    assert first == FIRST
    assert [name for name, _, _ in events(next(stream))] == ["abc-2"]


def test_who_names_what_came_before_the_first_stream_is_told_of_the_gap(clock):
    ring = Ring(1000, boot=BOOT, clock=clock)
    fill(ring, *range(300))
    stream, _ = opened(ring, clock, "abc-0")
    fill(ring, 300)
    gap, measured = events(next(stream))
    assert gap == (None, "gap", {"missed": 299})
    assert measured[0] == "abc-300"


def test_a_stream_ends_when_its_time_is_over_or_its_reader_has_gone(ring, clock):
    stream, _ = opened(ring, clock, has_gone=lambda: True)
    assert list(stream) == []
    stream, _ = opened(ring, clock)
    clock.now += 100.0
    assert list(stream) == []


def test_a_place_is_free_again_once_its_stream_is_closed():
    collector = Collector()
    streams = Streams(Ring.of(collector), most=1)
    client = create_app(collector, streams=streams).test_client()
    first = client.get("/v2/stream")
    assert (first.status_code, first.content_type) == (200, "text/event-stream")
    refused = client.get("/v2/stream")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert refused.content_type == "application/problem+json"
    first.close()
    second = client.get("/v2/stream")
    assert second.status_code == 200
    streams.stop()
    assert second.data == FIRST


def test_a_question_for_the_headers_takes_no_place():
    collector = Collector()
    client = create_app(collector, streams=Streams(Ring.of(collector), most=1)).test_client()
    assert [client.head("/v2/stream").status_code for _ in range(3)] == [200] * 3


def test_what_the_collector_takes_reaches_its_readers(clock):
    collector = Collector()
    app = create_app(collector, streams=Streams(Ring.of(collector)))
    answer = app.test_client().get("/v2/stream?id=taurus-1")
    collector.add(message())
    parts = answer.iter_encoded()
    assert next(parts) == FIRST
    ((_, _, measured),) = events(next(parts))
    assert measured["measurements"][0]["id"] == "taurus-1"
    answer.close()


def test_the_bus_is_fresh_until_all_that_came_is_stale(ring, clock):
    assert not ring.is_fresh()
    ring.add(message(interval=60.0))
    ring.add(message(interval=1.0))
    clock.now += 180.0
    assert ring.is_fresh()
    clock.now += 1.0
    assert not ring.is_fresh()

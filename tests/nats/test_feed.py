"""Plugins that read a real nats-server alone, and go on where they were."""

import socket
import time
from functools import partial

import pytest

from kwapi.bus import Publisher, Subscriber
from kwapi.gate import Gate
from kwapi.health import health_topic
from kwapi.measurement import Measurement
from kwapi.nats.feed import BATCH, WAITING, Feed, consumer_of, created
from kwapi.nats.login import Login
from kwapi.nats.subjects import EVERYTHING, filters_of
from kwapi.signing import KeyRing
from kwapi.stream import Account, Mark
from kwapi.streams import Streams
from tests.messages import KEY, frame, health
from tests.nats_server import Connected
from tests.threads import running
from tests.waiting import eventually

NAMES = ("lyon.pdu1", "paris.pdu1")


class Source:
    """A publisher that is started again as often as wanted."""

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self.boot = 0
        self.start()

    def start(self):
        self.boot += 1
        self.publisher = Publisher(self._endpoint, KEY, boot=self.boot)
        self._senders = {}

    def publish(self, count, wattmeter=NAMES[0]):
        sender = self._senders.setdefault(wattmeter, self.publisher.sender(wattmeter, 1.0))
        for _ in range(count):
            sender.publish([Measurement(f"{wattmeter}-1", watts=1.0)], time.time(), time.monotonic())

    def stop(self):
        self.publisher.close()


class Plugin:
    """One that goes on where another one ended."""

    def __init__(self, endpoint, before=None, *, name="plugin", wattmeters=(), gate=Gate, replay="", **how):
        standing = before.standing if before else None
        topics = standing.topics if standing else {}
        saved = [{topic: place[part] for topic, place in topics.items()} for part in range(3)]
        self.taken, self.late = [], []
        self.gate = gate(KeyRing([KEY]), streams=Streams(*saved, resumes=True, **how))
        self.subscriber = Subscriber([endpoint], wattmeters, self.gate, spools=[replay] if replay else ())
        self.subscriber.reading.resume(name, standing.marks if standing else {})
        self.standing = None

    def run(self, stop):
        self.subscriber.run(stop, self.add, lambda _: None, add_late=self.add_late)
        self.standing = self.subscriber.standing()

    def running(self):
        return running(self.run)

    def add(self, message):
        self.taken.append((message.wattmeter, message.boot, message.seq))

    def add_late(self, message):
        self.add(message)
        self.late.append(message)

    def of(self, wattmeter):
        return [(boot, seq) for name, boot, seq in self.taken if name == wattmeter]


@pytest.fixture
def source(server):
    source = Source(server.endpoint)
    yield source
    source.stop()


def listens(server, plugin):
    """Wait until a plugin has its consumer: what is published from now on is for it."""
    eventually(lambda: any(name.startswith(f"{plugin.subscriber.reading.consumer}-") for name in server.consumers()))


def store_with_status(port, status):
    """Store a message with headers that no library would make."""
    headers, frame = f"NATS/1.0 {status}\r\n\r\n".encode(), b"none"
    publish = f"HPUB kwapi.lyon.pdu1._ {len(headers)} {len(headers) + len(frame)}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as caller:
        caller.sendall(b'CONNECT {"headers": true, "verbose": false}\r\n' + publish + headers + frame + b"\r\nPING\r\n")
        with caller.makefile("rb") as answers:
            assert b"PONG\r\n" in answers


def first(server, source, **how):
    """Return a plugin that has heard both wattmeters, and has ended."""
    plugin = Plugin(server.endpoint, **how)
    with plugin.running():
        listens(server, plugin)
        for name in NAMES:
            source.publish(5, name)
        eventually(lambda: len(plugin.taken) == 10)
    return plugin


def test_a_plugin_that_was_away_gets_all_it_missed_in_order(server, source):
    before = first(server, source)
    source.publish(3 * BATCH)
    source.publish(7, NAMES[1])
    after = Plugin(server.endpoint, before)
    with after.running():
        eventually(lambda: len(after.taken) == 3 * BATCH + 7)
        source.publish(1)
        eventually(lambda: len(after.taken) == 3 * BATCH + 8)
    assert before.of(NAMES[0]) + after.of(NAMES[0]) == [(1, seq) for seq in range(3 * BATCH + 6)]
    assert before.of(NAMES[1]) + after.of(NAMES[1]) == [(1, seq) for seq in range(12)]
    assert after.gate.account(NAMES[0]) == Account(delivered=3 * BATCH + 6)


def test_restarts_of_the_publisher_while_a_plugin_is_away_are_got_whatever_their_age(server, source):
    before = first(server, source)
    for _ in range(3):
        source.publish(5)
        source.stop()
        source.start()
    after = Plugin(server.endpoint, before, gate=partial(Gate, clock=lambda: time.time() + 7200))
    with after.running():
        source.publish(1)
        eventually(lambda: after.taken[-1:] == [(NAMES[0], 4, 0)])
    assert before.of(NAMES[0]) + after.of(NAMES[0]) == [
        *((1, seq) for seq in range(10)),
        *((boot, seq) for boot in (2, 3) for seq in range(5)),
        (4, 0),
    ]
    account = after.gate.account(NAMES[0])
    assert (account.lost, account.unknown_ends) == (0, 0)


def test_a_server_that_is_killed_costs_no_message_and_none_comes_twice(server, source):
    plugin = Plugin(server.endpoint)
    with plugin.running():
        listens(server, plugin)
        for _ in range(2):
            source.publish(100)
            server.kill()
            source.publish(100)
            server.start()
        eventually(lambda: len(plugin.taken) >= 400)
        source.publish(1)
        eventually(lambda: len(plugin.taken) >= 401)
    assert plugin.of(NAMES[0]) == [(1, seq) for seq in range(401)]
    assert plugin.gate.account(NAMES[0]) == Account(delivered=401)


def test_each_plugin_has_consumers_of_its_own_one_for_each_prefix(server, source):
    every, some = (
        Plugin(server.endpoint, name="rrd"),
        Plugin(server.endpoint, name="api", wattmeters=("lyon", "rennes")),
    )
    with every.running(), some.running():
        eventually(lambda: server.consumers() == ["api-kwapi_lyon", "api-kwapi_rennes", "rrd-kwapi"])
        for name in NAMES:
            source.publish(3, name)
        eventually(lambda: len(every.taken) == 6 and len(some.taken) == 3)
    assert some.taken == [(NAMES[0], 1, seq) for seq in range(3)]


def test_two_plugins_are_each_given_everything_from_where_they_were(server, source):
    plugins = [first(server, source, name="api")]
    source.publish(5)
    plugins.append(first(server, source, name="rrd"))
    again = [Plugin(server.endpoint, before, name=before.subscriber.reading.consumer) for before in plugins]
    with again[0].running(), again[1].running():
        source.publish(1)
        eventually(lambda: [len(each.taken) for each in again] == [16, 1])


def test_what_is_the_first_of_its_prefix_while_a_plugin_is_away_is_got(server, source):
    before = Plugin(server.endpoint, wattmeters=NAMES)
    with before.running():
        eventually(lambda: len(server.consumers()) == 2)
        source.publish(1)
        eventually(lambda: before.taken)
    source.publish(3, NAMES[1])
    eventually(lambda: server.info().state.messages == 4)
    after = Plugin(server.endpoint, before, wattmeters=NAMES)
    with after.running():
        eventually(lambda: after.of(NAMES[1]) == [(1, 0), (1, 1), (1, 2)])
    assert after.of(NAMES[0]) == []


def test_who_has_not_begun_stands_where_he_was(server, source):
    """What a plugin saves before the server is there takes the place of what it had saved."""
    before = first(server, source)
    server.kill()
    after = Plugin(server.endpoint, before)
    assert after.subscriber.standing() == before.standing
    with after.running():
        assert after.subscriber.standing() == before.standing
    assert after.subscriber.standing() == before.standing
    server.start()


def test_a_stream_that_was_made_anew_is_read_from_where_we_were_by_time(server, source, caplog):
    before = first(server, source)
    server.delete_stream()
    server.make_stream()
    source.publish(4)
    eventually(lambda: server.info().state.messages == 4)
    after = Plugin(server.endpoint, before)
    with after.running():
        eventually(lambda: len(after.taken) == 4)
    assert after.gate.account(NAMES[0]) == Account(delivered=9)
    assert "is another one than before" in caplog.text


def test_what_the_stream_has_no_more_is_lost_and_what_it_has_is_given(server, source):
    before = first(server, source)
    source.publish(20)
    eventually(lambda: server.info().state.messages == 30)
    server.purge(keep=5)
    after = Plugin(server.endpoint, before)
    with after.running():
        eventually(lambda: len(after.taken) == 5)
    assert after.gate.account(NAMES[0]) == Account(delivered=10, lost=15)


def test_a_consumer_that_somebody_deletes_is_made_again(server, source):
    plugin = Plugin(server.endpoint)
    with plugin.running():
        listens(server, plugin)
        source.publish(3)
        eventually(lambda: len(plugin.taken) == 3)
        server.delete_consumer(consumer_of("plugin", EVERYTHING))
        source.publish(3)
        eventually(lambda: len(plugin.taken) == 6)
    assert plugin.gate.account(NAMES[0]) == Account(delivered=6)


@pytest.mark.parametrize("status", ["503 none", "408", "100"])
def test_a_stored_message_that_begins_as_an_answer_of_the_server_stops_nobody(server, source, status):
    plugin = Plugin(server.endpoint)
    with plugin.running():
        listens(server, plugin)
        source.publish(3)
        eventually(lambda: len(plugin.taken) == 3)
        store_with_status(server.port, status)
        source.publish(3)
        eventually(lambda: len(plugin.taken) == 6)
    assert plugin.of(NAMES[0]) == [(1, seq) for seq in range(6)]
    assert plugin.gate.rejected == {"wrong size": 1}


def test_a_replay_of_an_older_run_is_refused_though_what_is_stored_may_be_old(server, source):
    plugin = Plugin(server.endpoint)
    with plugin.running(), Connected(server.endpoint) as intruder:
        listens(server, plugin)
        source.stop()
        source.boot = 8
        source.start()
        source.publish(1)
        eventually(lambda: len(plugin.taken) == 1)
        intruder.send(frame(boot=8, seq=0, timestamp=time.time() - 7200))
        intruder.send(frame(boot=9, seq=0, timestamp=time.time() - 7200))
        eventually(lambda: plugin.gate.rejected == {"too old": 1, "seen before": 1})
    assert plugin.taken == [(NAMES[0], 9, 0)]


def test_health_that_is_ahead_of_what_it_tells_of_loses_nothing(server, source):
    """The consumers of measurements and of health are two, where a plugin watches some wattmeters only."""
    before = Plugin(server.endpoint, wattmeters=["lyon"])
    with before.running():
        listens(server, before)
        source.publish(1)
        eventually(lambda: len(before.taken) == 1)
    source.publish(2000)
    source.publisher.tell(health(timestamp=time.time()))
    after = Plugin(server.endpoint, before, wattmeters=["lyon"], gate=partial(Gate, health=True))
    with after.running():
        eventually(lambda: len(after.taken) == 2000)
    assert after.gate.account(NAMES[0]) == Account(delivered=2001)


def test_a_plugin_that_takes_its_time_is_not_given_more_than_it_can_hold(server, source):
    feed = Feed(server.endpoint, Login(), [EVERYTHING])
    try:
        eventually(server.consumers)
        source.publish(WAITING + 4 * BATCH)
        eventually(lambda: len(feed._waiting) >= WAITING)
        time.sleep(0.1)
        assert len(feed._waiting) <= WAITING + 2 * BATCH
        taken = []
        eventually(lambda: taken.extend(feed.take(500)) or len(taken) == WAITING + 4 * BATCH)
        assert [each.mark.seq for each in taken] == list(range(1, WAITING + 4 * BATCH + 1))
    finally:
        feed.close()


def test_a_feed_is_behind_until_all_its_consumers_have_what_was_stored_before(server, source):
    source.publish(WAITING + 4 * BATCH)
    source.publisher.tell(health(timestamp=time.time()))
    eventually(lambda: server.info().state.messages == WAITING + 4 * BATCH + 1)
    filters = filters_of([b"lyon.", health_topic("lyon")])
    begin = Mark(created(server.info()), 0, time.time())
    feed = Feed(server.endpoint, Login(), filters, marks=dict.fromkeys(filters, begin))
    try:
        eventually(lambda: [each for each in feed._waiting if b"health" in each.frame[:20]])
        assert feed.is_behind
        taken = []
        eventually(lambda: taken.extend(feed.take(500)) or len(taken) == WAITING + 4 * BATCH + 1)
        assert not feed.is_behind
    finally:
        feed.close()


def test_a_feed_is_not_behind_for_what_the_server_has_no_more(server, source):
    source.publish(WAITING + 4 * BATCH)
    eventually(lambda: server.info().state.messages == WAITING + 4 * BATCH)
    begin = Mark(created(server.info()), 0, time.time())
    feed = Feed(server.endpoint, Login(), [EVERYTHING], marks={EVERYTHING: begin})
    try:
        eventually(lambda: len(feed._waiting) >= WAITING)
        server.purge(keep=0)  # as the age of the stream does
        assert feed.is_behind
        eventually(lambda: not feed.take(500) and not feed.is_behind)
    finally:
        feed.close()

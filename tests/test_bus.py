import threading
import time
from contextlib import contextmanager

import pytest
import zmq

from kwapi.bus import Publisher, Subscriber
from kwapi.errors import BadMessage, ConfigError
from kwapi.gate import Gate
from kwapi.measurement import Measurement
from kwapi.nats.bridge import new_proxy
from kwapi.proxy import Passage, Proxy
from kwapi.signing import KeyRing, key_from
from tests.messages import KEY, frame
from tests.messages import health as new_health
from tests.nats_server import Connected, NatsServer
from tests.ports import free_endpoint
from tests.waiting import eventually


@pytest.fixture(params=["zeromq", "nats"])
def bus(request, tmp_path):
    """Return an endpoint where one publisher, or forwarder, may publish."""
    if request.param == "zeromq":
        yield free_endpoint()
    else:
        with NatsServer(tmp_path) as server:
            yield server.endpoint


@pytest.fixture
def intrude(bus):
    """Return what sends anything at all, as somebody who has no key."""
    if bus.startswith("nats"):
        with Connected(bus) as intruder:
            yield intruder.send
    else:
        with zmq.Context() as context, context.socket(zmq.PUB) as intruder:
            intruder.bind(bus)
            yield intruder.send


class Listener:
    """A subscriber in a thread of its own."""

    def __init__(self, endpoints, *wattmeters):
        self.received = []
        self.gate = Gate(KeyRing([KEY]))
        self.stop = threading.Event()
        subscriber = Subscriber([endpoints] if isinstance(endpoints, str) else endpoints, wattmeters, self.gate)
        self.thread = threading.Thread(target=subscriber.run, args=(self.stop, self.received.append), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(5)
        assert not self.thread.is_alive()


def publish_until(sender, arrived):
    def once():
        sender.publish([Measurement("taurus-1", watts=118.0)], time.time(), time.monotonic())
        return arrived()

    eventually(once)


def test_what_is_published_arrives_in_order(bus):
    publisher = Publisher(bus, KEY)
    with Listener(bus) as listener:
        publish_until(publisher.sender("lyon.pdu1", 1.0), lambda: len(listener.received) > 5)
    publisher.close()
    first = listener.received[0]
    assert (first.wattmeter, first.probes, first.w, first.boot) == ("lyon.pdu1", ["taurus-1"], [118.0], publisher.boot)
    assert [each.seq for each in listener.received] == [first.seq + i for i in range(len(listener.received))]
    assert listener.gate.lost == 0


def test_whatever_an_intruder_sends_only_what_is_signed_and_new_is_heard(bus, intrude):
    forged = frame(key=key_from(b"the key of somebody else, 32 byte"), probes=["forged"])
    genuine, second = frame(seq=1, probes=["genuine"]), frame(seq=2, probes=["genuine"])
    old = frame(boot=0, timestamp=time.time() - 7200, probes=["old"])
    with Listener(bus) as listener:

        def once():
            for junk in (forged, genuine, genuine, second[:-9], old, b"", b"\0", bytes(range(256)), b"lyon.pdu1."):
                intrude(junk)
            return {"unknown key", "seen before", "bad signature", "too old", "wrong size"} <= set(
                listener.gate.rejected
            )

        eventually(once)
        intrude(second)
        eventually(lambda: len(listener.received) == 2)
    assert [each.probes for each in listener.received] == [["genuine"], ["genuine"]]
    assert listener.gate.accepted == 2


def test_a_subscription_takes_whole_parts_of_names(bus):
    publisher = Publisher(bus, KEY)
    names = ("lyon.pdu1", "lyon.pdu10", "lyonel.pdu1", "paris.pdu1")
    senders = [publisher.sender(name, 1.0) for name in names]
    with Listener(bus, "lyon") as lyon, Listener(bus, "lyon.pdu1", "paris") as some:

        def once():
            for sender in senders:
                sender.publish([Measurement(sender.wattmeter, watts=1.0)], time.time(), time.monotonic())
            return len(lyon.received) > 3 and len(some.received) > 3

        eventually(once)
    publisher.close()
    assert {each.wattmeter for each in lyon.received} == {"lyon.pdu1", "lyon.pdu10"}
    assert {each.wattmeter for each in some.received} == {"lyon.pdu1", "paris.pdu1"}


def test_a_revoked_sender_sends_nothing_and_the_numbers_go_on(bus):
    publisher = Publisher(bus, KEY)
    hung, fresh_one = publisher.sender("lyon.pdu1", 1.0), publisher.sender("lyon.pdu1", 1.0)
    assert hung.publish([Measurement("a", watts=1.0)], time.time(), 0.0)
    hung.revoke()
    assert not hung.publish([Measurement("late", watts=1.0)], time.time(), 0.0)
    with Listener(bus) as listener:
        publish_until(fresh_one, lambda: listener.received and listener.received[-1].seq > 0)
    publisher.close()
    assert "late" not in {probe for each in listener.received for probe in each.probes}
    numbers = [each.seq for each in listener.received]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert not fresh_one.publish([Measurement("a", watts=1.0)], time.time(), 0.0)


def test_a_driver_that_gives_nonsense_is_our_bug(bus):
    publisher = Publisher(bus, KEY)
    with pytest.raises(BadMessage):
        publisher.sender("lyon.pdu1", 1.0).publish([Measurement("a", watts=float("nan"))], time.time(), 0.0)
    publisher.close()


@pytest.mark.parametrize("bus_is_upstream", [True, False])
def test_a_forwarder_passes_messages_down_and_subscriptions_up(bus, bus_is_upstream):
    upstream, downstream = (bus, free_endpoint()) if bus_is_upstream else (free_endpoint(), bus)
    publisher = Publisher(upstream, KEY)
    with (
        forwarding(upstream, downstream),
        Listener(downstream, "lyon") as first,
        Listener(downstream, "lyon") as second,
    ):
        publish_until(publisher.sender("lyon.pdu1", 1.0), lambda: first.received and second.received)
    publisher.close()


@contextmanager
def forwarding(upstream, downstream):
    proxy, bound = new_proxy(Passage([upstream], downstream)), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(bound.set,), daemon=True)
    thread.start()
    assert bound.wait(5)
    try:
        yield
    finally:
        proxy.stop()
        thread.join(5)
        assert not thread.is_alive()


def test_of_two_forwarders_side_by_side_each_message_is_taken_once_and_the_end_of_one_is_not_noticed():
    upstream, one, other = (free_endpoint() for _ in range(3))
    publisher = Publisher(upstream, KEY)
    sender = publisher.sender("lyon.pdu1", 1.0)
    with forwarding(upstream, one), Listener([one, other]) as listener:
        with forwarding(upstream, other):
            publish_until(sender, lambda: listener.gate.rejected["seen before"] > 10)
        first = listener.received[0].seq
        count = len(listener.received)
        publish_until(sender, lambda: len(listener.received) > count + 10)
    publisher.close()
    seqs = [message.seq for message in listener.received]
    assert seqs == list(range(first, first + len(seqs)))
    account = listener.gate.account("lyon.pdu1")
    assert (account.delivered, account.lost) == (len(seqs), 0)
    assert account.duplicates == listener.gate.rejected["seen before"]


def test_what_three_watch_is_asked_for_once_and_what_nobody_watches_not_at_all():
    upstream, downstream = free_endpoint(), free_endpoint()
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.bind(upstream)
    proxy, bound = Proxy(Passage([upstream], downstream)), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(bound.set,), daemon=True)
    thread.start()
    assert bound.wait(5)
    with Listener(downstream, "lyon"), Listener(downstream, "lyon"):
        assert publisher.poll(10_000)
        assert publisher.recv() == b"\x01lyon."
        with Listener(downstream, "lyon"), Listener(downstream, "paris"):
            assert publisher.poll(10_000)
            assert publisher.recv() == b"\x01paris."
        assert publisher.poll(10_000)
        assert publisher.recv() == b"\x00paris."
    assert publisher.poll(10_000)
    assert publisher.recv() == b"\x00lyon."
    proxy.stop()
    thread.join(5)
    publisher.close(linger=0)
    context.term()


def test_an_endpoint_in_use_is_named():
    endpoint = free_endpoint()
    publisher = Publisher(endpoint, KEY)
    with pytest.raises(ConfigError, match=endpoint):
        Publisher(endpoint, KEY)
    publisher.close()
    with pytest.raises(ConfigError, match="nonsense"):
        Publisher("nonsense", KEY)


def test_health_is_heard_beside_measurements_or_alone_and_by_prefix(bus):
    publisher, heard, measured = Publisher(bus, KEY), [], []
    listeners = []
    for wattmeters, add in ((["lyon"], None), (["lyon"], measured.append), ([""], None)):
        stop, found = threading.Event(), []
        subscriber = Subscriber([bus], wattmeters, Gate(KeyRing([KEY]), health=True))
        thread = threading.Thread(target=subscriber.run, args=(stop, add, found.append), daemon=True)
        thread.start()
        heard.append(found)
        listeners.append((stop, thread))
    senders = [publisher.sender(name, 1.0) for name in ("lyon.pdu1", "rennes.pdu1")]

    def once():
        for sender in senders:
            publisher.tell(new_health(wattmeter=sender.wattmeter, timestamp=time.time()))
            sender.publish([Measurement(sender.wattmeter + "-1", watts=1.0)], time.time(), time.monotonic())
        return all(len(each) > 2 for each in (*heard, measured))

    eventually(once)
    for stop, thread in listeners:
        stop.set()
        thread.join(5)
    publisher.close()
    names = [{health.wattmeter for health in each} for each in heard]
    assert names == [{"lyon.pdu1"}, {"lyon.pdu1"}, {"lyon.pdu1", "rennes.pdu1"}]
    assert {each.wattmeter for each in measured} == {"lyon.pdu1"}
    assert {health.boot for health in heard[0]} == {publisher.boot}
    assert [health.last_seq for health in heard[0]] == [health.seq - 1 if health.seq else None for health in heard[0]]
    publisher.tell(new_health())  # after the end: nothing


def test_publishers_may_connect_to_a_proxy_that_listens_for_them(bus):
    inner = free_endpoint()
    proxy = new_proxy(Passage([inner], bus, bind_upstream=True))
    thread = threading.Thread(target=proxy.run, args=(lambda: None,), daemon=True)
    thread.start()
    publishers = [Publisher(inner, KEY, bind=False) for _ in range(2)]
    with Listener(bus) as listener:
        for number, publisher in enumerate(publishers):
            sender = publisher.sender(f"pdu{number}", 1.0)
            publish_until(sender, lambda sender=sender: sender.wattmeter in {m.wattmeter for m in listener.received})
    for publisher in publishers:
        publisher.close()
    proxy.stop()
    thread.join(5)
    assert not thread.is_alive()

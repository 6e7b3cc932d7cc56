import socket
import threading
import time

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from kwapi.bus import Gate, Proxy, Publisher, Subscriber
from kwapi.errors import BadMessage, ConfigError
from kwapi.health import encode_health, health_topic
from kwapi.measurement import Measurement, encode
from kwapi.signing import KeyRing, key_from, sign
from kwapi.streams import MAX_BOOTS
from tests.messages import KEY, frame, message
from tests.messages import health as new_health
from tests.waiting import eventually

NOW = 1_800_000_000.0


def gate(**limits):
    return Gate(KeyRing([KEY]), clock=lambda: NOW, **limits)


def fresh(**fields):
    return frame(**{"timestamp": NOW, **fields})


def taken(doorman, *frames):
    return [doorman.take(each) is not None for each in frames]


def test_a_signed_message_is_taken_once():
    doorman = gate()
    assert taken(doorman, fresh(seq=1), fresh(seq=1), fresh(seq=2)) == [True, False, True]
    assert doorman.rejected == {"seen before": 1}
    assert (doorman.accepted, doorman.lost) == (2, 0)


def test_holes_are_counted_as_lost():
    doorman = gate()
    taken(doorman, fresh(seq=5), fresh(seq=9), fresh(seq=8), fresh(seq=10), fresh(wattmeter="other", seq=3))
    assert doorman.lost == 3
    assert doorman.rejected == {"seen before": 1}


def test_an_unknown_boot_must_be_recent():
    doorman = gate(max_age=600, max_skew=60)
    old, future = fresh(timestamp=NOW - 601), fresh(timestamp=NOW + 61)
    assert taken(doorman, old, future) == [False, False]
    assert doorman.rejected == {"too old": 1, "from the future": 1}


def test_a_known_boot_is_believed_whatever_its_clock_says():
    doorman = gate()
    assert taken(doorman, fresh(seq=1), fresh(seq=2, timestamp=NOW - 7200), fresh(seq=3, timestamp=NOW + 7200)) == [
        True,
        True,
        True,
    ]
    assert doorman.skew == {"lyon.pdu1": -7200}


def test_boots_are_remembered_and_their_number_is_bounded():
    doorman = gate()
    assert all(taken(doorman, *(fresh(boot=boot, seq=7) for boot in range(MAX_BOOTS))))
    assert not any(taken(doorman, *(fresh(boot=boot, seq=7) for boot in range(MAX_BOOTS))))
    assert taken(doorman, fresh(boot=99, seq=0)) == [True]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "wrong size"),
        (b"lyon.pdu1.\0", "wrong size"),
        (bytes(2 << 20), "wrong size"),
        (frame(key=key_from(b"the key of somebody else, 32 byte"), timestamp=NOW), "unknown key"),
        (fresh()[:-1] + bytes([fresh()[-1] ^ 1]), "bad signature"),
        (fresh()[:-5], "bad signature"),
        (fresh().replace(b"lyon.pdu1.", b"lyon.pdu2.", 1), "bad signature"),
        (sign(KEY, b"lyon.pdu2.", encode(message(timestamp=NOW))), "wrong topic"),
        (sign(KEY, b"lyon.pdu1.", b"not a payload"), "malformed"),
        (fresh(wattmeter="a/b"), "malformed"),
        (fresh(probes=["a/b"]), "malformed"),
        (fresh(w=[float("nan")]), "malformed"),
    ],
)
def test_everything_else_is_dropped_and_counted_by_reason(bad, reason):
    doorman = gate()
    assert doorman.take(bad) is None
    assert doorman.rejected == {reason: 1}
    assert doorman.accepted == 0
    assert taken(doorman, fresh()) == [True]  # and changes nothing


@given(st.binary(max_size=400))
def test_random_bytes_never_raise(junk):
    doorman = gate()
    assert doorman.take(junk) is None


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_a_message_with_other_bytes_in_it_is_dropped(position, junk):
    genuine = fresh()
    position %= len(genuine)
    forged = genuine[:position] + junk + genuine[position + len(junk) :]
    doorman = gate()
    assert (doorman.take(forged) is None) or forged == genuine


def test_the_topics_of_kwapi_itself_are_passed_over():
    doorman = gate()
    assert doorman.take(sign(KEY, b"kwapi.health.lyon.pdu1.", b"x")) is None
    assert not doorman.rejected
    assert doorman.take(b"kwapi.health.lyon.pdu1.\0" + bytes(100)) is None
    assert doorman.rejected == {"unknown key": 1}


def told(topic=None, **fields):
    health = new_health(**{"timestamp": NOW, **fields})
    return sign(KEY, topic or health_topic(health.wattmeter), encode_health(health))


def test_health_is_taken_once_by_a_gate_that_was_made_for_it():
    doorman = gate(health=True)
    first = doorman.take(told(seq=4))
    assert (first.wattmeter, first.state) == ("lyon.pdu1", "up")
    assert taken(doorman, told(seq=4), told(seq=9), told(boot=8, timestamp=NOW - 601)) == [False, True, False]
    assert doorman.rejected == {"seen before": 1, "too old": 1}
    assert doorman.lost == 0  # of what is measured


def test_health_and_measurements_are_numbered_apart():
    doorman = gate(health=True)
    assert taken(doorman, fresh(boot=7, seq=5), told(seq=0), fresh(boot=7, seq=6)) == [True, True, True]
    assert doorman.lost == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (told(topic=b"kwapi.health.lyon.pdu2."), "wrong topic"),
        (told(topic=b"kwapi.health."), "wrong topic"),
        (sign(KEY, b"kwapi.health.lyon.pdu1.", b"x"), "malformed"),
        (told()[:-1] + bytes([told()[-1] ^ 1]), "bad signature"),
    ],
)
def test_other_health_is_dropped_and_counted(bad, reason):
    doorman = gate(health=True)
    assert doorman.take(bad) is None
    assert doorman.rejected == {reason: 1}


def free_endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Listener:
    """A subscriber in a thread of its own."""

    def __init__(self, endpoint, *wattmeters):
        self.received = []
        self.gate = Gate(KeyRing([KEY]))
        self.stop = threading.Event()
        subscriber = Subscriber([endpoint], wattmeters or [""], self.gate)
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


def test_what_is_published_arrives_in_order():
    endpoint = free_endpoint()
    publisher = Publisher(endpoint, KEY)
    with Listener(endpoint) as listener:
        publish_until(publisher.sender("lyon.pdu1", 1.0), lambda: len(listener.received) > 5)
    publisher.close()
    first = listener.received[0]
    assert (first.wattmeter, first.probes, first.w, first.boot) == ("lyon.pdu1", ["taurus-1"], [118.0], publisher.boot)
    assert [each.seq for each in listener.received] == [first.seq + i for i in range(len(listener.received))]
    assert listener.gate.lost == 0


def test_whatever_an_intruder_sends_only_what_is_signed_and_new_is_heard():
    endpoint, context = free_endpoint(), zmq.Context()
    intruder = context.socket(zmq.PUB)
    intruder.bind(endpoint)
    forged = frame(key=key_from(b"the key of somebody else, 32 byte"), probes=["forged"])
    genuine, second = frame(seq=1, probes=["genuine"]), frame(seq=2, probes=["genuine"])
    old = frame(boot=7, timestamp=time.time() - 7200, probes=["old"])
    with Listener(endpoint) as listener:

        def once():
            for junk in (forged, genuine, genuine, second[:-9], old, b"", b"\0", bytes(range(256))):
                intruder.send(junk)
            intruder.send_multipart([b"lyon.pdu1.", b"parts"])
            return {"unknown key", "seen before", "bad signature", "too old", "wrong size"} <= set(
                listener.gate.rejected
            )

        eventually(once)
        intruder.send(second)
        eventually(lambda: len(listener.received) == 2)
    assert [each.probes for each in listener.received] == [["genuine"], ["genuine"]]
    assert listener.gate.accepted == 2
    intruder.close(linger=0)
    context.term()


def test_a_subscription_takes_whole_parts_of_names():
    endpoint = free_endpoint()
    publisher = Publisher(endpoint, KEY)
    names = ("lyon.pdu1", "lyon.pdu10", "lyonel.pdu1", "paris.pdu1")
    senders = [publisher.sender(name, 1.0) for name in names]
    with Listener(endpoint, "lyon") as lyon, Listener(endpoint, "lyon.pdu1", "paris") as some:

        def once():
            for sender in senders:
                sender.publish([Measurement(sender.wattmeter, watts=1.0)], time.time(), time.monotonic())
            return len(lyon.received) > 3 and len(some.received) > 3

        eventually(once)
    publisher.close()
    assert {each.wattmeter for each in lyon.received} == {"lyon.pdu1", "lyon.pdu10"}
    assert {each.wattmeter for each in some.received} == {"lyon.pdu1", "paris.pdu1"}


def test_a_revoked_sender_sends_nothing_and_the_numbers_go_on():
    endpoint = free_endpoint()
    publisher = Publisher(endpoint, KEY)
    hung, fresh_one = publisher.sender("lyon.pdu1", 1.0), publisher.sender("lyon.pdu1", 1.0)
    assert hung.publish([Measurement("a", watts=1.0)], time.time(), 0.0)
    hung.revoke()
    assert not hung.publish([Measurement("late", watts=1.0)], time.time(), 0.0)
    with Listener(endpoint) as listener:
        publish_until(fresh_one, lambda: listener.received)
    publisher.close()
    assert "late" not in {probe for each in listener.received for probe in each.probes}
    assert listener.received[0].seq >= 1
    assert not fresh_one.publish([Measurement("a", watts=1.0)], time.time(), 0.0)


def test_a_driver_that_gives_nonsense_is_our_bug():
    publisher = Publisher(free_endpoint(), KEY)
    with pytest.raises(BadMessage):
        publisher.sender("lyon.pdu1", 1.0).publish([Measurement("a", watts=float("nan"))], time.time(), 0.0)
    publisher.close()


def test_a_forwarder_passes_messages_down_and_subscriptions_up():
    upstream, downstream = free_endpoint(), free_endpoint()
    publisher = Publisher(upstream, KEY)
    proxy, bound = Proxy([upstream], downstream), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(bound.set,), daemon=True)
    thread.start()
    assert bound.wait(5)
    with Listener(downstream, "lyon") as first, Listener(downstream, "lyon") as second:
        publish_until(publisher.sender("lyon.pdu1", 1.0), lambda: first.received and second.received)
    proxy.stop()
    thread.join(5)
    assert not thread.is_alive()
    publisher.close()


def test_what_three_watch_is_asked_for_once_and_what_nobody_watches_not_at_all():
    upstream, downstream = free_endpoint(), free_endpoint()
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.bind(upstream)
    proxy, bound = Proxy([upstream], downstream), threading.Event()
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


def test_health_is_heard_beside_measurements_or_alone_and_by_prefix():
    endpoint = free_endpoint()
    publisher, heard, measured = Publisher(endpoint, KEY), [], []
    listeners = []
    for wattmeters, add in ((["lyon"], None), (["lyon"], measured.append), ([""], None)):
        stop, found = threading.Event(), []
        subscriber = Subscriber([endpoint], wattmeters, Gate(KeyRing([KEY]), health=True))
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
    publisher.tell(new_health())  # after the end: nothing


def test_publishers_may_connect_to_a_proxy_that_listens_for_them():
    inner, outer = free_endpoint(), free_endpoint()
    proxy = Proxy([inner], outer, bind_upstream=True)
    thread = threading.Thread(target=proxy.run, args=(lambda: None,), daemon=True)
    thread.start()
    publishers = [Publisher(inner, KEY, bind=False) for _ in range(2)]
    with Listener(outer) as listener:
        for number, publisher in enumerate(publishers):
            sender = publisher.sender(f"pdu{number}", 1.0)
            publish_until(sender, lambda sender=sender: sender.wattmeter in {m.wattmeter for m in listener.received})
    for publisher in publishers:
        publisher.close()
    proxy.stop()
    thread.join(5)
    assert not thread.is_alive()

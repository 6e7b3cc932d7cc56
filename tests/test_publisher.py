import threading
import time
from collections import defaultdict

import pytest
import zmq

from kwapi.bus import Publisher
from kwapi.health import decode_health, health_topic
from kwapi.measurement import END, Measurement, decode
from kwapi.signing import split
from tests.hasty import hasty
from tests.messages import KEY, health
from tests.waiting import eventually

THREADS, POLLS, BEGUN, LATE = 20, 500, 10, 100


@pytest.fixture
def heard(tmp_path):
    """Return a publisher, and what gives (topic, payload) of each frame that it has sent."""
    publisher = Publisher(f"ipc://{tmp_path}/bus", KEY)
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set_hwm(0)
        socket.connect(f"ipc://{tmp_path}/bus")
        socket.subscribe(b"")

        def is_there():
            publisher.tell(health(wattmeter="probe"))
            return socket.poll(50)

        eventually(is_there)

        def frames():
            while socket.poll(500):
                topic, _, payload = split(socket.recv())
                yield topic, payload

        yield publisher, frames
        publisher.close()


def test_however_many_publish_at_once_each_wattmeter_is_told_in_order_and_health_never_runs_ahead(heard):
    publisher, frames = heard
    names = [f"pdu{number}" for number in range(THREADS)]
    published = dict.fromkeys(names, 0)
    all_there = threading.Barrier(THREADS + 1)

    def work(name):
        sender = publisher.sender(name, 1.0)
        measurements = [Measurement(f"{name}-{outlet}", watts=100.0) for outlet in range(3)]
        all_there.wait(60)
        for _ in range(POLLS):
            published[name] += sender.publish(measurements, time.time(), time.monotonic())

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    with hasty():
        all_there.wait(60)
        have_all_begun, end = False, time.monotonic() + 60
        while not have_all_begun:
            have_all_begun = min(published[name] for name in names) >= BEGUN or time.monotonic() > end
            for name in names:
                publisher.tell(health(wattmeter=name, timestamp=time.time()))
        publisher.close()
        for thread in threads:
            thread.join(60)
    ends, told = {}, 0
    seen = defaultdict(int)  # by wattmeter: the seq that is next
    for topic, payload in frames():
        if topic.startswith(health_topic("")):
            one = decode_health(payload)
            if one.last_seq is not None:
                assert one.last_seq < seen[one.wattmeter]
                told += 1
            continue
        message = decode(payload)
        assert message.seq == seen[message.wattmeter]
        assert message.wattmeter not in ends
        seen[message.wattmeter] += 1
        if message.type == END:
            ends[message.wattmeter] = message.seq
    assert ends == published
    assert min(published.values()) >= BEGUN
    assert told >= THREADS


def test_of_two_senders_of_a_wattmeter_the_one_that_is_revoked_sends_nothing_more(heard):
    publisher, frames = heard
    old, new = publisher.sender("pdu1", 1.0), publisher.sender("pdu1", 1.0)
    both = threading.Barrier(3)
    is_revoked, late, sent = threading.Event(), [], []

    def work(sender):
        both.wait(60)
        while len(late) < LATE:
            was_revoked = is_revoked.is_set()
            is_sent = sender.publish([Measurement("a", watts=1.0)], time.time(), time.monotonic())
            sent.append(is_sent)
            if was_revoked and sender is old:
                late.append(is_sent)

    threads = [threading.Thread(target=work, args=(sender,)) for sender in (old, new)]
    for thread in threads:
        thread.start()
    with hasty():
        both.wait(60)
        while len(sent) < POLLS // 2:
            time.sleep(0)
        old.revoke()
        is_revoked.set()
        for thread in threads:
            thread.join(60)
    assert not any(late)
    seqs = [decode(payload).seq for topic, payload in frames() if topic == b"pdu1."]
    assert seqs == list(range(sum(sent)))

import math
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq

from kwapi.sockets import HEARTBEAT, connect, listen, open_socket, quick_send


@pytest.mark.parametrize(
    ("begin", "endpoint", "heartbeat"),
    [
        (listen, "tcp://127.0.0.1:*", HEARTBEAT),
        (connect, "tcp://127.0.0.1:1", HEARTBEAT),
        (listen, "ipc://@kwapi-test-{}", 0),
        (connect, "ipc://@kwapi-test-{}", 0),
    ],
)
def test_peers_on_this_machine_are_not_given_up_for_being_silent(tmp_path, begin, endpoint, heartbeat):
    context = zmq.Context()
    socket = open_socket(context, zmq.PUB)
    begin(socket, endpoint.format(tmp_path.name))
    assert socket.getsockopt(zmq.HEARTBEAT_IVL) == heartbeat
    socket.close(linger=0)
    context.term()


@pytest.fixture
def pair():
    context = zmq.Context()
    publisher, subscriber = open_socket(context, zmq.PUB), open_socket(context, zmq.SUB)
    publisher.bind("inproc://pair")
    subscriber.connect("inproc://pair")
    subscriber.subscribe(b"")
    yield publisher, subscriber
    for socket in (publisher, subscriber):
        socket.close(linger=0)
    context.term()


class Watched:
    """A socket that counts what pyzmq sends."""

    def __init__(self, socket):
        self.underlying = socket.underlying
        self.sent = 0
        self._send = socket.send

    def send(self, frame):
        self.sent += 1
        self._send(frame)


@pytest.mark.parametrize("kind", ["libzmq", "another pyzmq", "free threads"])
def test_what_many_threads_send_quickly_arrives_as_it_is(pair, monkeypatch, kind):
    publisher, subscriber = pair
    if kind == "another pyzmq":
        monkeypatch.setattr("kwapi.sockets.import_module", lambda name: math)
    if kind == "free threads":
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    send = quick_send(watched := Watched(publisher))
    frames = {b"", *(b"lyon.pdu%d.\0" % number + bytes(range(256)) * number for number in range(500))}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, frames))
    assert {subscriber.recv() for _ in frames} == frames
    assert watched.sent == (0 if kind == "libzmq" else len(frames))


def test_what_cannot_be_sent_raises(pair):
    send = quick_send(pair[1])  # a subscriber
    with pytest.raises(zmq.ZMQError) as found:
        send(b"frame")
    assert found.value.errno == zmq.ENOTSUP


def test_a_signal_in_between_costs_no_frame(pair):
    publisher, subscriber = pair
    send, sent, end = quick_send(publisher), 0, time.monotonic() + 1.0
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        while time.monotonic() < end:
            send(b"%d" % sent)
            assert subscriber.recv() == b"%d" % sent
            sent += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)

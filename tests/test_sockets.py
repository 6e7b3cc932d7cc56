import math
import signal
import time

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


@pytest.mark.parametrize("is_there", [True, False], ids=["libzmq", "another pyzmq"])
def test_what_is_sent_quickly_arrives_as_it_is(pair, monkeypatch, is_there):
    publisher, subscriber = pair
    if not is_there:
        monkeypatch.setattr("kwapi.sockets.import_module", lambda name: math)
    send = quick_send(publisher)
    assert (send == publisher.send) is not is_there
    for frame in (b"", b"lyon.pdu1.\0" + bytes(range(256)) * 100):
        send(frame)
        assert subscriber.recv() == frame


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

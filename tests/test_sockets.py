import pytest
import zmq

from kwapi.sockets import HEARTBEAT, connect, listen, open_socket


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

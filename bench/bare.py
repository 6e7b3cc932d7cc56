"""What ZeroMQ and Python take for a message when nobody does anything with it: what figures are compared with.

One thread sends frames through a proxy over TCP of loopback and takes them again, as many at once as a socket holds.
CPU is that of the process, with ZeroMQ's threads and the kernel's part.
"""

import socket
import threading
import time

import zmq

Socket = zmq.Socket[bytes]
AT_ONCE = 100  # messages on their way
LIMIT = 200  # ms


def bare_cpu(size: int, messages: int = 20_000, *, published: str = "", forwarded: str = "") -> float:
    """Return the CPU seconds of a message of so many bytes: sent, passed on and taken.

    Given endpoints, somebody else passes on from the one to the other.
    """
    with zmq.Context() as context:
        sender, taker = context.socket(zmq.PUB), context.socket(zmq.SUB)
        sender.linger = taker.linger = 0
        threads = []
        if published:
            sender.bind(published)
        else:
            front, back = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
            front.linger = back.linger = 0
            forwarded = f"tcp://127.0.0.1:{front.bind_to_random_port('tcp://127.0.0.1')}"
            back.connect(f"tcp://127.0.0.1:{sender.bind_to_random_port('tcp://127.0.0.1')}")
            threads.append(threading.Thread(target=_pass_on, args=(front, back)))
        taker.subscribe(b"")
        taker.connect(forwarded)
        for thread in threads:
            thread.start()
        try:
            return _cpu(sender, taker, bytes(size), messages)
        finally:
            sender.close()
            taker.close()
            context.term()
            for thread in threads:
                thread.join()


def free_ports() -> tuple[str, str]:
    """Return two endpoints of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        first, second = (f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in (one, other))
        return first, second


def _cpu(sender: Socket, taker: Socket, frame: bytes, messages: int) -> float:
    while not taker.poll(10):  # until the subscription has come through
        sender.send(frame)
    time.sleep(0.1)
    while taker.poll(0):
        taker.recv()
    begun = time.process_time()
    for _ in range(messages // AT_ONCE):
        for _ in range(AT_ONCE):
            sender.send(frame)
        _take(taker, AT_ONCE)
    return (time.process_time() - begun) / (messages // AT_ONCE * AT_ONCE)


def _take(taker: Socket, count: int) -> None:
    """Take so many messages as a subscriber does, or as many as come: now and then ZeroMQ's proxy loses one."""
    while count:
        try:
            taker.recv(zmq.NOBLOCK)
            count -= 1
        except zmq.Again:
            if not taker.poll(LIMIT):
                return


def _pass_on(front: Socket, back: Socket) -> None:
    try:
        zmq.proxy(front, back)
    except zmq.ContextTerminated:
        front.close()
        back.close()

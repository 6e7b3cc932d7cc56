"""What carries the bus between ZeroMQ endpoints, in C: for forwarders, and kwapi-drivers with worker processes."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import zmq

from kwapi.gate import OWN_TOPICS
from kwapi.measurement import topic_of
from kwapi.sockets import open_socket
from kwapi.spool.store import Spool
from kwapi.transport import Transport

LOG = logging.getLogger(__name__)
SUBSCRIBE = b"\1"  # begins a subscription on its way upstream, and b"\0" its end
CAPTURE, CONTROL = "inproc://capture", "inproc://control"


@dataclass(frozen=True, slots=True)
class Passage:
    """From where to where messages pass; ``keep`` is given each frame of measurements, of those ``kept``."""

    upstream: Sequence[str]
    downstream: str
    bind_upstream: bool = False  # publishers connect to us
    keep: Callable[[bytes], None] | None = None
    kept: Sequence[str] = ("",)  # subscribed to for it
    spool: Spool | None = None  # which it fills
    transport: Transport = field(default_factory=Transport)


class Proxy:
    """Passes messages downstream and subscriptions upstream, in C.

    libzmq merges equal subscriptions, so what nobody watches does not travel and what several watch travels once.
    """

    uplink = None  # nothing is stored at NATS servers

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._context = zmq.Context()

    def run(self, ready: Callable[[], None]) -> None:
        """Pass until stop() is called from another thread; ready() is called once the endpoint is bound."""
        front, back = open_socket(self._context, zmq.XPUB), open_socket(self._context, zmq.XSUB)
        capture = open_socket(self._context, zmq.PUB) if self._passage.keep is not None else None
        control = self._context.socket(zmq.PAIR)
        link = None
        try:
            control.bind(CONTROL)
            if capture is not None:
                capture.bind(CAPTURE)
            self._passage.transport.listen(front, self._passage.downstream)
            if self._passage.bind_upstream:
                for endpoint in self._passage.upstream:
                    self._passage.transport.listen(back, endpoint)
            else:
                link = self._passage.transport.connect(back, self._passage.upstream, CONTROL)
            if capture is not None:
                for name in self._passage.kept:
                    back.send(SUBSCRIBE + (topic_of(name) if name else b""))
            ready()
            while True:
                zmq.proxy_steerable(front, back, capture, control)
                if link is not None:
                    link.mend()
        except zmq.ContextTerminated:
            LOG.debug("the proxy was asked to stop")
        finally:
            for socket in (front, back, capture, control):
                if socket is not None:
                    socket.close(linger=0)

    def capture(self) -> None:
        """Hand what passes to ``keep`` until stop() is called. What is too much for it is dropped, and passes."""
        if self._passage.keep is None:
            return
        socket = open_socket(self._context, zmq.SUB)
        try:
            socket.subscribe(b"")
            socket.connect(CAPTURE)
            while True:
                frame = socket.recv()
                if frame[:1] > SUBSCRIBE and not frame.startswith(OWN_TOPICS):  # the rest are subscriptions that pass
                    self._passage.keep(frame)
        except zmq.ContextTerminated:
            LOG.debug("the proxy was asked to stop")
        finally:
            socket.close(linger=0)

    def stop(self) -> None:
        """End run() and capture(); returns when their sockets are closed."""
        self._context.term()

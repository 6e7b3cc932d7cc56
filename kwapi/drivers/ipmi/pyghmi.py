"""The process that speaks IPMI, by pyghmi: ``python -m kwapi.drivers.ipmi.pyghmi``, started by client.py.

One thread owns all that is pyghmi's and never waits for one BMC: sessions are opened and commands sent with callbacks,
which only note what came; each turn of the loop then moves every BMC on. One request is in flight for each, within its
time; a session whose BMC did not answer is dropped. The other thread reads requests and ends the process with them.

What in pyghmi 1.6 blocks, and would hold up every BMC, is kept from happening: looking up names (addresses are numeric
here), asking for a privilege level and keeping alive (LanSession does neither, Lan sends both as commands like any
other), closing a session in which a command is still unanswered (Lan.drop), and a race for its socket (send_datagram).

Source: IPMI 2.0 revision 1.1, 13 (sessions; 13.15 on time-outs), 22.18 (Set Session Privilege Level: every session
begins with that of a user), 20.1 (Get Device ID).
"""

import contextlib
import logging
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, Protocol

import msgspec
from pyghmi.exceptions import PyghmiException
from pyghmi.ipmi.private import localsession, session

from kwapi.drivers.ipmi.client import READY, Reply, Request, Target, to_key

LOG = logging.getLogger(__name__)
TURN = 0.1  # seconds for which the loop waits when nothing comes
IDLE = 20.0  # seconds after which a session is kept alive; a BMC closes it after 60
KEEP_ALIVE_LIMIT = 5.0  # seconds for its answer
PATIENCE = 8.0  # seconds for which pyghmi repeats a command; no request lives so long
LAST_LIMIT = 0.4  # seconds to log out of everything
TIMED_OUT = "timeout"  # pyghmi's text
USER = 2  # the privilege level
APP, GET_DEVICE_ID, SET_PRIVILEGE = 0x06, 0x01, 0x3B
REFUSALS = ("password", "Unauthorized", "Invalid role", "integrity c", "username")  # of pyghmi's texts and RAKP's
PACKET_ERRORS = (LookupError, ValueError, TypeError, AttributeError, struct.error)  # of pyghmi at malformed packets
LOOPBACK = "127.0.0.1"

Send = Callable[[Reply], None]


class LanSession(session.Session):  # type: ignore[misc]  # pyghmi has no types
    """A session that leaves it to Lan to ask for its privilege level and to keep it alive."""

    def _req_priv_level(self) -> None:
        self.logged, self.logging, self.logoutexpiry = 1, False, None
        self.maxtimeout, self.logontries = PATIENCE, 0  # and no login of its own when the BMC is gone
        self.onlogon({"success": True})


class Bmc(Protocol):
    """A BMC and the requests that wait for it."""

    def add(self, request: Request) -> None:
        """Let a request wait for its turn."""

    def move_on(self, now: float) -> None:
        """Do what can be done now, without waiting."""

    def drop(self) -> None:
        """Log out."""


class Lan:
    """A BMC on the network."""

    def __init__(
        self, target: Target, send: Send, clock: Callable[[], float], new_session: Callable[..., Any] = LanSession
    ) -> None:
        self.session: Any = None
        self._new_session = new_session
        self._target = target
        self._send = send
        self._clock = clock
        self._waiting: deque[tuple[float, Request]] = deque()  # and until when
        self._asked: tuple[float, Request] | None = None  # what is in flight
        self._noted: dict[str, dict[str, Any]] = {}  # by this session's callbacks: its "login", an "answer"
        self._must_raise = False  # the privilege level
        self._used_at = 0.0

    def add(self, request: Request) -> None:
        """Let a request wait for its turn."""
        self._waiting.append((self._clock() + request.seconds, request))

    def move_on(self, now: float) -> None:
        """Do what can be done now, without waiting."""
        self._take_answer(now)
        self._expire(now)
        if self.session is None:
            if self._waiting:
                self._log_in()
        elif "login" not in self._noted:
            if not self._waiting:
                self.drop()  # all who waited for it have gone
        elif (error := self._noted["login"].get("error")) == TIMED_OUT:
            self.drop()  # and begin anew, until the time of those who wait is over
        elif error:
            self._fail(f"login failed, {error}", refused=any(word in error for word in REFUSALS), at_login=True)
        elif self._asked is None:
            self._ask_next(now)

    def drop(self) -> None:
        """Log out, or forget a session that is broken."""
        if self.session is not None:
            # Or pyghmi waits for the end of the command that is unanswered, and does not send the farewell before it.
            self.session.incommand = self.session.lastpayload = None
            with contextlib.suppress(PyghmiException, OSError):
                self.session.logout(False)
        self.session = self._asked = None
        self._noted = {}  # what still comes of this session is of no interest

    def _log_in(self) -> None:
        target, noted = self._target, self._noted
        self._must_raise = target.privilege > USER
        self._used_at = self._clock()
        try:
            self.session = self._new_session(
                target.address,
                target.user.encode(),
                target.password.encode(),
                target.port,
                to_key(target.kg),
                onlogon=lambda result: noted.update(login=result),
                privlevel=target.privilege,
            )
        except (PyghmiException, OSError) as error:
            self._fail(f"cannot log in: {error}", at_login=True)

    def _ask_next(self, now: float) -> None:
        if self._waiting and self._must_raise:
            end, first = self._waiting[0]
            level = bytes([self._target.privilege])
            self._asked = end, Request(READY, self._target, APP, SET_PRIVILEGE, level, 0, first.seconds)
            self._must_raise = False
        elif self._waiting:
            self._asked = self._waiting.popleft()
        elif now - self._used_at > IDLE:
            request = Request(READY, self._target, APP, GET_DEVICE_ID, b"", 0, KEEP_ALIVE_LIMIT)
            self._asked = now + KEEP_ALIVE_LIMIT, request
        else:
            return
        self._ask(self._asked[1])

    def _ask(self, request: Request) -> None:
        session, noted = self.session, self._noted

        def note(answer: dict[str, Any]) -> None:
            noted["answer"] = answer
            session.incommand = False  # which is the caller's duty

        try:
            session.raw_command(request.netfn, request.command, data=request.payload, callback=note, rslun=request.lun)
        except (PyghmiException, OSError) as error:
            self._fail(f"cannot ask: {error}")

    def _take_answer(self, now: float) -> None:
        answer = self._noted.pop("answer", None)
        if answer is None or self._asked is None:
            return
        if "data" not in answer:  # pyghmi's own, when it has lost patience
            self._fail("no answer")
            return
        request = self._asked[1]
        self._asked = None
        self._used_at = now
        if request.number != READY:
            self._send(Reply(request.number, answer["code"], bytes(answer["data"])))
        elif request.command == SET_PRIVILEGE and answer["code"]:
            level, code = self._target.privilege, answer["code"]
            self._fail(f"privilege level {level} not granted, code {code:#04x}", refused=True)

    def _expire(self, now: float) -> None:
        # A BMC may be as silent to a user it does not know as one that is not there.
        is_logged_in = self.session is not None and self._noted.get("login", {}).get("success") is True
        if self._asked is not None and self._asked[0] < now:
            end, request = self._asked
            self.drop()
            self._waiting.appendleft((end, request))
        for end, request in list(self._waiting):
            if end < now:
                self._waiting.remove((end, request))
                if is_logged_in:
                    self._reply_error(request, f"no answer in {request.seconds:.1f} s")
                else:
                    user, seconds = self._target.user, request.seconds
                    doubt = "is the host right, and the user?"
                    self._reply_error(request, f"no login for user {user!r} in {seconds:.1f} s; {doubt}", at_login=True)

    def _fail(self, error: str, *, refused: bool = False, at_login: bool = False) -> None:
        """Forget the session and whatever was to be asked in it."""
        waiting = [*([self._asked] if self._asked else []), *self._waiting]
        self._waiting.clear()
        self.drop()
        for _, request in waiting:
            self._reply_error(request, error, refused=refused, at_login=at_login)

    def _reply_error(self, request: Request, error: str, *, refused: bool = False, at_login: bool = False) -> None:
        if request.number != READY:
            self._send(Reply(request.number, error=error, refused=refused, at_login=at_login))


class Local:
    """The BMC of this machine, by a device of its kernel. It blocks, so it is alone in its process."""

    def __init__(self, target: Target, send: Send) -> None:
        self._target = target
        self._send = send
        self._waiting: deque[Request] = deque()
        self._session: Any = None

    def add(self, request: Request) -> None:
        """Let a request wait for its turn."""
        self._waiting.append(request)

    def move_on(self, now: float) -> None:
        """Ask what waits, one after the other."""
        while self._waiting:
            request = self._waiting.popleft()
            try:
                self._session = self._session or localsession.Session(self._target.device)
                answer = self._session.raw_command(
                    request.netfn, request.command, data=request.payload, rslun=request.lun
                )
            except OSError as error:
                self._send(Reply(request.number, error=error.strerror or str(error)))
            else:
                self._send(Reply(request.number, answer["code"], bytes(answer["data"])))

    def drop(self) -> None:
        """The device needs no farewell."""


class Loop:
    """The BMCs of this process; run() moves them on until the last request."""

    def __init__(self, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._bmcs: dict[Target, Bmc] = {}
        self._inbox: SimpleQueue[Request | None] = SimpleQueue()
        self._socket: Any = None  # one of pyghmi's, which it never closes

    def put(self, request: Request | None) -> None:
        """Hand over a request, None after the last; from any thread."""
        self._inbox.put(request)
        if self._socket is not None:  # a datagram from nobody it knows wakes pyghmi up; one below 4 bytes may not
            host, port, *_ = self._socket.getsockname()
            self._socket.sendto(b"wake", (f"::ffff:{LOOPBACK}" if ":" in host else LOOPBACK, port))

    def run(self) -> None:
        """Serve the requests, and log out of everything after the last."""
        while self._take_requests():
            now = self._clock()
            for bmc in self._bmcs.values():
                bmc.move_on(now)
            if self._has_socket():
                self._turn()
        for bmc in self._bmcs.values():
            bmc.drop()

    def _take_requests(self) -> bool:
        """Give each BMC what has come for it; return False after the last request."""
        try:
            # Before the first session pyghmi has nothing to wait for, and would wait for ever.
            request = self._inbox.get(block=self._socket is None)
            while request is not None:
                self._bmc(request.target).add(request)
                request = self._inbox.get_nowait()
        except Empty:
            return True
        return False

    def _bmc(self, target: Target) -> Bmc:
        bmc = self._bmcs.get(target)
        if bmc is None:
            bmc = Local(target, self._send) if target.device else Lan(target, self._send, self._clock)
            self._bmcs[target] = bmc
        return bmc

    def _has_socket(self) -> bool:
        if self._socket is None:
            sessions = (bmc.session for bmc in self._bmcs.values() if isinstance(bmc, Lan))
            self._socket = next((each.socket for each in sessions if each is not None), None)
        return self._socket is not None

    def _turn(self) -> None:
        try:
            session.Session.wait_for_rsp(TURN)
        except (*PACKET_ERRORS, PyghmiException, OSError) as error:
            LOG.debug("pyghmi dropped a packet: %s", type(error).__name__)


def send_datagram(sock: socket.socket, packet: bytes, address: Any) -> None:
    """Send a datagram as pyghmi does, but leave the socket as it is.

    pyghmi makes it a blocking one before. If its other thread is then about to read, that waits for a datagram instead
    of for the time, and with it everything does.
    """
    with contextlib.suppress(OSError):  # pyghmi sends again what is not answered
        sock.sendto(packet, address)


def read_requests(stream: BinaryIO, loop: Loop) -> None:
    """Hand over each request; at their end leave time to log out, and then end the process whatever it does."""
    for line in stream:
        loop.put(msgspec.json.decode(line, type=Request))
    loop.put(None)
    time.sleep(LAST_LIMIT)
    os._exit(1)


def main() -> None:
    """Serve requests of standard input until there are no more."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # inherited from a daemon that takes its signals elsewhere
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # pyghmi prints

    def send(reply: Reply) -> None:
        try:
            os.write(replies, msgspec.json.encode(reply) + b"\n")
        except BrokenPipeError:  # nobody is there any more
            os._exit(1)

    session._io_sendto = send_datagram
    loop = Loop(send)
    threading.Thread(target=read_requests, args=(sys.stdin.buffer, loop), daemon=True).start()
    send(Reply(READY))
    loop.run()
    os._exit(0)


if __name__ == "__main__":
    main()

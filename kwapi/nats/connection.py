"""A connection to a NATS server: one asyncio loop in one thread, which connects again whenever that has ended.

nats-py could do so itself. It then sends once more what it had in its hands, and whoever reads learns nothing of the
end; here each connection is a new one, and who works with it begins anew.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from threading import Thread
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.errors import Error

from kwapi.endpoints import TLS, servers_of
from kwapi.errors import ConfigError, KwapiError
from kwapi.nats.login import Login

LOG = logging.getLogger(__name__)
RETRY = 0.5  # seconds until a server is tried again, and who works with it after an error
PATIENCE = 3.0  # seconds for a connection to come about, and for an answer
PING = 5  # seconds; a server that leaves three of them unanswered is gone
PENDING = 8 << 20  # bytes on their way to the socket
FAILED = "failed handshake"  # as connections.py counts it
NO_JETSTREAM = "it runs without JetStream; its configuration needs jetstream { store_dir: DIRECTORY }"

Work = Callable[[Client], Coroutine[Any, Any, None]]


class Unusable(KwapiError):
    """The server is there, and does not have what we need yet."""


class Connection:
    """Calls ``work`` with each connection to one of the servers of an endpoint; it ends by an error or is cancelled."""

    def __init__(self, endpoint: str, login: Login, work: Work, failures: "Counter[str] | None" = None) -> None:
        login.check()
        self.endpoint = endpoint
        self._login = login
        self._work = work
        self._failures = Counter() if failures is None else failures
        self._servers = servers_of(endpoint)
        self._stopping = asyncio.Event()
        self.is_well = False  # it is said so by who works with it
        self._bug: BaseException | None = None
        self._told = ""
        self._down_at = time.monotonic()
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="nats", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and return when it has ended."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        if not self.loop.is_closed():  # it was never started
            self.loop.close()

    def check(self) -> None:
        """Raise RuntimeError if the thread has ended by an error of ours."""
        if self._bug is not None or (not self._stopping.is_set() and not self._thread.is_alive()):
            raise RuntimeError("the thread of NATS has ended")

    def call(self, what: Callable[[], object]) -> None:
        """Have something done by the loop; for any thread."""
        with suppress(RuntimeError):  # it was stopped
            self.loop.call_soon_threadsafe(what)

    def fail(self, error: BaseException) -> None:
        """End the thread by an error of ours that nobody would learn of where it was raised; for any thread."""
        self._bug = self._bug or error
        self.call(self._stopping.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._keep_connected())
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _keep_connected(self) -> None:
        stopped = self.loop.create_task(self._stopping.wait())
        place = 0
        try:
            while not stopped.done():
                server = self._servers[place % len(self._servers)]
                await _until(stopped, self._serve(server), PATIENCE + RETRY)
                place += 1
                if not stopped.done():
                    await asyncio.wait((stopped,), timeout=RETRY / len(self._servers))
        finally:
            stopped.cancel()
        if self._bug is not None:
            raise self._bug

    async def _serve(self, server: str) -> None:
        """Connect to a server and work until the connection ends."""
        closed = self.loop.create_future()

        async def note_end() -> None:
            if not closed.done():
                closed.set_result(None)

        try:
            async with connected(server, self._login, note_end, self.fail) as client:
                self._learn(client, server)
                while not closed.done() and not self._stopping.is_set():
                    try:
                        await _until(closed, self._work(client), RETRY)
                    except (OSError, Error, TimeoutError, Unusable) as error:
                        self.tell(error)
                        await asyncio.wait((closed,), timeout=RETRY)
            self.tell(Unusable("the connection ended"))
        except (OSError, Error, TimeoutError, ConfigError) as error:
            self._failures[FAILED] += 1
            self.tell(error)

    def well(self) -> None:
        """Say that all is as it should be, if it was not; called by who works with a connection."""
        self.is_well = True
        if self._told:
            LOG.info("%s serves us again, after %.0f s", self.endpoint, time.monotonic() - self._down_at)
            self._told = ""

    def tell(self, error: Exception) -> None:
        """Log once what is wrong."""
        self.is_well = False
        text = str(error) or type(error).__name__
        if not self._told:
            self._down_at = time.monotonic()
            LOG.warning("%s does not serve us: %s", self.endpoint, text)
        elif text != self._told:
            LOG.debug("%s does not serve us: %s", self.endpoint, text)
        self._told = text

    def _learn(self, client: Client, server: str) -> None:
        """Take note of the other servers of its cluster."""
        scheme = server.partition("://")[0]
        found = [f"{scheme}://{other.netloc}" for other in client.servers]
        self._servers = list(dict.fromkeys((*servers_of(self.endpoint), *found)))


class Arrival(NamedTuple):
    """A message as it came; no headers are b""."""

    subject: bytes
    reply: bytes
    data: bytes
    headers: bytes


class _Client(Client):
    """nats-py's client, which would log in unencrypted where somebody on the way says that the server wants it so.

    Messages of some subscriptions it hands over as they come: its queue, its task and its dictionary of headers for
    each of them would cost as much as all that becomes of it.
    """

    def __init__(self, fail: Callable[[Exception], None]) -> None:
        super().__init__()
        self._fail = fail
        self.takers: dict[int, Callable[[Arrival], None]] = {}  # by number of the subscription

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if (take := self.takers.get(sid)) is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            take(Arrival(subject, reply, data, headers or b""))  # of none nats-py has None
        except Exception as error:  # or nats-py's reader would end without a word to us
            self._fail(error)

    def _connect_command(self) -> bytes:
        if "tls" in self.options and not self._server_info.get("tls_required"):
            raise Error("it does not encrypt")
        return super()._connect_command()


def _raise(error: Exception) -> None:
    raise error


@asynccontextmanager
async def connected(
    server: str,
    login: Login,
    note_end: Callable[[], Coroutine[Any, Any, None]] | None = None,
    fail: Callable[[Exception], None] = _raise,
) -> AsyncIterator[Client]:
    """Have a connection to a server, which is not made again when it ends; note_end() is called then.

    fail() is given what is raised by those who take what comes.
    """
    client = _Client(fail)
    credentials = login.credentials()
    tls = login.tls() if server.startswith(TLS) else None
    last: Exception | str = "it does not answer"

    async def note(error: Exception) -> None:
        nonlocal last
        last = error
        LOG.debug("%s: %s", server, error)

    try:
        async with _in_time(lambda: str(last)):
            await client.connect(
                [server],
                error_cb=note,
                closed_cb=note_end,
                allow_reconnect=False,
                connect_timeout=int(PATIENCE),
                ping_interval=PING,
                pending_size=PENDING,
                tls=tls,
                **credentials,
            )
        yield client
    finally:
        await _close(client)


@asynccontextmanager
async def _in_time(why: Callable[[], str]) -> AsyncIterator[None]:
    """Have TimeoutError say what was in the way: nats-py tries a server that refuses again and again."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError as error:
        raise TimeoutError(why()) from error


@asynccontextmanager
async def taking(client: Client, subject: str, take: Callable[[Arrival], None]) -> AsyncIterator[None]:
    """Have what comes for a subject taken by the loop itself."""
    subscription = await client.subscribe(subject)
    takers = client.takers  # type: ignore[attr-defined]  # of one that is connected()
    takers[subscription._id] = take
    try:
        yield
    finally:
        takers.pop(subscription._id)
        if not client.is_closed:
            await subscription.unsubscribe()


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Work at several things until one of them ends; raise what that raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(end: "asyncio.Future[Any]", work: Coroutine[Any, Any, None], again: float) -> None:
    """Work until it is done, or until something else is; raise what it raises.

    nats-py passes over being cancelled here and there, so it is cancelled again, every so many seconds.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
    finally:
        while not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):  # we end anyway
                await asyncio.wait((task,), timeout=again)
        if not task.cancelled():
            task.result()


async def _close(client: Client) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await client.close()
    except (OSError, Error, TimeoutError) as error:
        LOG.debug("a connection is given up: %s", error)

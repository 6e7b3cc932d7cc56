"""Links between daemons that a test cuts, holds and delays: relays of TCP in a thread of the test."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

HERE = "127.0.0.1"
CHUNK = 1 << 16
WAITING = 1000  # chunks that a delayed link holds


@dataclass(slots=True, eq=False)
class Link:
    """What is wrong with a link now, and the connections over it."""

    delay: float = 0.0  # seconds
    is_cut: bool = False
    flows: asyncio.Event = field(default_factory=asyncio.Event)  # or nothing comes through, and nobody is told
    writers: set[asyncio.StreamWriter] = field(default_factory=set)


class Links:
    """Links by name; each has any number of ports."""

    def __init__(self, names: Iterable[str]) -> None:
        self._links = {name: Link() for name in names}
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._run, name="links", daemon=True)

    def __enter__(self) -> "Links":
        self._thread.start()
        for name in self._links:
            self.heal(name)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def over(self, name: str, port: int, *, here: str = HERE, there: str = HERE) -> str:
        """Return where a port of an address is reached over a link, at an address of ours: host:port."""
        opening = asyncio.run_coroutine_threadsafe(self._open(self._links[name], here, (there, port)), self._loop)
        return f"{here}:{opening.result(5)}"

    def cut(self, name: str) -> None:
        """End all connections, and let none begin."""
        self._call(self._cut, name)

    def hold(self, name: str) -> None:
        """Let nothing come through, while connections stay as they are."""
        self._call(lambda link: link.flows.clear(), name)

    def delay(self, name: str, seconds: float) -> None:
        """Let everything come through so much later."""
        self._call(lambda link: setattr(link, "delay", seconds), name)

    def heal(self, name: str) -> None:
        """Let everything come through at once, what was held too."""
        self._call(_heal, name)

    def _call(self, what: Callable[[Link], None], name: str) -> None:
        self._loop.call_soon_threadsafe(what, self._links[name])

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for server in self._servers:
            server.close()
        for link in self._links.values():
            self._cut(link)
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _open(self, link: Link, here: str, beyond: tuple[str, int]) -> int:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _relay(link, beyond, reader, writer)

        server = await asyncio.start_server(connected, here, 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    @staticmethod
    def _cut(link: Link) -> None:
        link.is_cut = True
        for writer in link.writers:
            writer.transport.abort()


def _heal(link: Link) -> None:
    link.delay, link.is_cut = 0.0, False
    link.flows.set()


async def _relay(
    link: Link, address: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass on what comes over one connection, both ways, until one end closes it or the link is cut."""
    link.writers.add(writer)
    beyond = None
    try:
        await link.flows.wait()
        if link.is_cut:
            return
        further, beyond = await asyncio.open_connection(*address)
        link.writers.add(beyond)
        ways = [asyncio.create_task(_pass(link, *way)) for way in ((reader, beyond), (further, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    except OSError:
        return  # nobody listens
    finally:
        for end in (writer, beyond):
            if end is not None:
                link.writers.discard(end)
                end.transport.abort()


async def _pass(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes one way, each piece when it is due."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING)

    async def deliver() -> None:
        while True:
            due, chunk = await waiting.get()
            if (late := due - loop.time()) > 0:
                await asyncio.sleep(late)
            await link.flows.wait()
            writer.write(chunk)
            await writer.drain()

    with suppress(OSError):
        delivering = asyncio.create_task(deliver())
        try:
            while chunk := await reader.read(CHUNK):
                await waiting.put((loop.time() + link.delay, chunk))
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

"""A real nats-server, with a store of the test's own, on a free port of loopback."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig, StreamInfo

from tests.integration.daemons import free_port
from tests.integration.programs import needed_program
from tests.waiting import eventually


class NatsServer:
    """One server, which can be killed and started again; it is ended at the end of the ``with``."""

    def __init__(self, directory: Path, *, stream: bool = True, options: str = "") -> None:
        """Without ``stream`` nobody has made one yet; the options stand in its file."""
        self.port = free_port()
        self.endpoint = f"nats://127.0.0.1:{self.port}"
        self._program = needed_program("nats-server", "nats-server")
        self._file = directory / "nats.conf"
        self._log = directory / "nats.log"
        store = json.dumps(str(directory / "nats"))
        self._file.write_text(f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: {store} }}\n{options}\n')
        self._has_stream = stream
        self.login: dict[str, Any] = {}  # arguments of nats-py's connect()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "NatsServer":
        self.start()
        if self._has_stream:
            self.make_stream()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._file)], stderr=log, stdout=log)
        eventually(self._listens)

    def kill(self) -> None:
        """End it as kill -9 does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def make_stream(self) -> None:
        """Make the stream."""
        self.run(_make)

    def run(self, work, *arguments):
        """Return what a coroutine makes of a connection."""
        return asyncio.run(_connected(self.endpoint, self.login, work, arguments))

    def stored(self) -> list[tuple[str, bytes]]:
        """Return the subjects and the frames of the stream, in order."""
        return self.run(_read)

    def info(self) -> StreamInfo:
        """Return how the stream is."""
        return self.run(_info)

    def delete_stream(self) -> None:
        """Delete the stream with all that is stored."""
        self.run(lambda client: client.jetstream().delete_stream("kwapi"))

    def purge(self, keep: int) -> None:
        """Delete all but the newest messages."""
        self.run(lambda client: client.jetstream().purge_stream("kwapi", keep=keep))

    def delete_consumer(self, name: str) -> None:
        """Delete a consumer of the stream."""
        self.run(lambda client: client.jetstream().delete_consumer("kwapi", name))

    def consumers(self) -> list[str]:
        """Return the names of the stream's consumers."""
        return self.run(_consumers)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as caller:
            return caller.connect_ex(("127.0.0.1", self.port)) == 0


class Connected:
    """Somebody with a connection, who stores whatever he likes."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.new_event_loop()
        self._client = Client()

    def __enter__(self) -> "Connected":
        self._loop.run_until_complete(self._client.connect([self._endpoint], allow_reconnect=False))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def send(self, frame: bytes) -> None:
        """Have a frame stored."""
        self._loop.run_until_complete(self._client.jetstream().publish("kwapi.lyon.pdu1._", frame))


async def _connected(endpoint, login: dict[str, Any], work, arguments: Sequence[object]):
    client = Client()
    await client.connect([endpoint], allow_reconnect=False, **login)
    try:
        for _ in range(100):  # JetStream may still be reading its files
            try:
                return await work(client, *arguments)
            except Error as error:
                problem = error
                await asyncio.sleep(0.05)
        raise problem
    finally:
        await client.close()


async def _make(client: Client) -> None:
    await client.jetstream().add_stream(StreamConfig(name="kwapi", subjects=["kwapi.>"], duplicate_window=120))


async def _info(client: Client) -> StreamInfo:
    return await client.jetstream().stream_info("kwapi")


async def _consumers(client: Client) -> list[str]:
    return sorted(info.name for info in await client.jetstream().consumers_info("kwapi"))


async def _read(client: Client) -> list[tuple[str, bytes]]:
    stream = client.jetstream()
    state = (await stream.stream_info("kwapi")).state
    messages = [await stream.get_msg("kwapi", seq) for seq in range(state.first_seq, state.last_seq + 1)]
    return [(message.subject, message.data) for message in messages]

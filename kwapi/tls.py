"""HTTPS in front of a server that speaks HTTP on a Unix socket: waitress knows no TLS.

waitress reads and writes a connection in two threads, which an SSL object of OpenSSL does not survive; so TLS has a
thread of its own, asyncio's, in which a slow handshake holds up nobody else.
"""

import asyncio
import logging
import ssl
import threading
from pathlib import Path

from kwapi.errors import ConfigError
from kwapi.service import TICK, listen

LOG = logging.getLogger(__name__)
HANDSHAKE_LIMIT = 10.0  # seconds
GOODBYE_LIMIT = 5.0  # seconds
CHUNK = 1 << 16  # bytes


class Front:
    """Takes TLS connections and passes what they carry; run() is the work of a task."""

    def __init__(self, host: str, port: int, certificate_file: str, key_file: str, behind: Path) -> None:
        self._files = (Path(certificate_file), Path(key_file))
        self._behind = behind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["http/1.1"])
        try:
            self._loaded = self._times()
            self._load()
        except OSError as error:  # an SSLError is one too
            raise ConfigError(f"cannot use {certificate_file} with {key_file}: {error}") from error
        self._sockets = listen(host, port)

    def run(self, stopping: threading.Event) -> None:
        """Pass until stopping is set."""
        asyncio.run(self._run(stopping))

    async def _run(self, stopping: threading.Event) -> None:
        servers = [
            await asyncio.start_server(
                self._pass,
                sock=listener,
                ssl=self._context,
                limit=CHUNK,
                ssl_handshake_timeout=HANDSHAKE_LIMIT,
                ssl_shutdown_timeout=GOODBYE_LIMIT,
            )
            for listener in self._sockets
        ]
        asyncio.get_running_loop().set_exception_handler(_note)
        while not stopping.is_set():
            await asyncio.sleep(TICK)
            self._reload()
        for server in servers:
            server.close()

    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        try:
            server, to_server = await asyncio.open_unix_connection(self._behind, limit=CHUNK)
        except OSError as error:
            LOG.debug("a connection is refused: %s", error)
            to_client.close()
            return
        ways = [asyncio.create_task(_copy(client, to_server)), asyncio.create_task(_copy(server, to_client))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            to_server.close()
            to_client.close()

    def _reload(self) -> None:
        """Read the files again if they have changed; while they do not fit each other what was read before is used."""
        try:
            if (times := self._times()) == self._loaded:
                return
            self._loaded = times
            self._load()
            LOG.info("the certificate was read again")
        except OSError as error:
            LOG.warning("the certificate cannot be read again: %s", error)

    def _times(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in self._files]

    def _load(self) -> None:
        # Tried on another context first: half of a pair that does not fit would stay in the one in use.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._context):
            context.load_cert_chain(*self._files, password=_no_password)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError as error:
        LOG.debug("a connection ended: %s", error)


def _no_password() -> str:
    """Refuse a key that needs a password; OpenSSL would ask for it at the terminal."""
    raise OSError("the key is encrypted")


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Log what asyncio would log as errors: handshakes of what is no TLS, and connections that broke off."""
    LOG.debug("%s: %s", context.get("message"), context.get("exception"))

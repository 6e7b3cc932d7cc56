"""Getting a page by HTTP within one deadline, whatever the server does, and no more of it than a limit.

httpx knows addresses and credentials, httpcore speaks HTTP. Their own timeouts begin anew with every byte, so a server
that drips could hold a worker for hours: here each step gets what is left until the deadline. A connection serves one
request, because the small servers in plugs have few of them and close idle ones. Proxies of the environment are not
used, redirects not followed, and nothing is logged: an address may hold a password.
"""

import ssl
import time
from collections.abc import Generator, Iterable

import httpcore
import httpx

from kwapi.drivers.base import Clock
from kwapi.drivers.names import Names, at_any
from kwapi.errors import CredentialsRefused, DeviceError

MAX_BYTES = 1_000_000
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
REFUSED = (401, 403)


class QueryAuth(httpx.Auth):
    """User and password as parameters of the address."""

    def __init__(self, user: str, password: str) -> None:
        self._parameters = {"user": user, "password": password}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the request with the parameters."""
        request.url = request.url.copy_merge_params(self._parameters)
        yield request


class HttpClient:
    """Gets pages of one server."""

    def __init__(
        self,
        url: str,
        *,
        auth: httpx.Auth | None = None,
        tls: ssl.SSLContext | None = None,
        timeout: float = 3.0,
        names: Names | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._url = httpx.URL(url)
        self._auth = auth or httpx.Auth()
        self._timeout = timeout
        self._tls = tls
        self._names = names or Names()
        self._clock = clock
        self.where = f"{self._url.host}:{self._url.port or {'http': 80, 'https': 443}[self._url.scheme]}"

    def get(self, page: str) -> bytes:
        """Return the content of a page; DeviceError if there is no usable answer in time."""
        deadline = self._clock() + self._timeout
        request = httpx.Request("GET", self._url.join(page) if page else self._url, headers=HEADERS)
        asked = f"{self.where}{request.url.path}"
        try:
            flow = self._auth.sync_auth_flow(request)
            request = next(flow)
            while True:
                response = self._send(request, deadline)
                try:
                    request = flow.send(response)
                except StopIteration:
                    break
                except (KeyError, ValueError, NotImplementedError, httpx.ProtocolError) as error:
                    challenge = response.headers.get("www-authenticate")
                    raise DeviceError(f"{asked} asks for credentials in an unknown way: {challenge!r:.200}") from error
        except httpcore.TimeoutException as error:
            raise DeviceError(f"{asked} has not answered within {self._timeout:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise DeviceError(f"{asked}: {str(error) or type(error).__name__}") from error
        if response.status_code in REFUSED:
            raise CredentialsRefused(f"{asked} refuses user and password: {response.status_code}")
        if response.status_code != httpx.codes.OK:
            raise DeviceError(f"{asked} answers {response.status_code} {response.reason_phrase}")
        return response.content

    def _send(self, request: httpx.Request, deadline: float) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        backend = _Backend(self._names, deadline, self._clock)
        with (
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream(request.method.encode(), url, headers=request.headers.raw) as answer,
        ):
            content = b""
            for part in answer.iter_stream():
                content += part
                if len(content) > MAX_BYTES:
                    raise DeviceError(f"{self.where}{request.url.path} answers with more than {MAX_BYTES} bytes")
        headers = [(name, value) for name, value in answer.headers if name.lower() != b"content-encoding"]
        return httpx.Response(answer.status, headers=headers, content=content, request=request)


class _Backend(httpcore.SyncBackend):
    """Opens connections that end at a deadline, to addresses; HTTP and TLS go on with the name."""

    def __init__(self, names: Names, deadline: float, clock: Clock) -> None:
        self._names = names
        self._deadline = deadline
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        def attempt(address: str, seconds: float) -> httpcore.NetworkStream:
            return super(_Backend, self).connect_tcp(address, port, seconds, local_address, socket_options)

        addresses = self._names.addresses(host, self._left())
        stream = at_any(addresses, attempt, self._left(), (httpcore.ConnectError, httpcore.ConnectTimeout))
        return _Stream(stream, self._deadline, self._clock)

    def _left(self) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            raise httpcore.ConnectTimeout
        return left


class _Stream(httpcore.NetworkStream):
    """A connection whose every step gets what is left until the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float, clock: Clock) -> None:
        self._stream = stream
        self._deadline = deadline
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._deadline, self._clock)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def _left(self) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left

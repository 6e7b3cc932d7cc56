"""Resources of Redfish services over HTTPS: login, sessions, deadlines.

A Service is one device. All services of a process share one Loop, so that a device costs one socket and every request
has an end: httpx's own time-outs start anew with each byte that arrives, those of asyncio do not.

A session that the device has forgotten is made once more; a refusal after that is one of our credentials.
Source: DMTF DSP0266 (Redfish Specification): sessions, basic authentication, $expand, pages of collections.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from kwapi.drivers.names import Addresses, Names
from kwapi.drivers.network import silence_http, tls_context, tls_problem
from kwapi.drivers.redfish.resources import Resource, child, link
from kwapi.errors import CredentialsRefused, DeviceError

T = TypeVar("T")

ROOT = "/redfish/v1/"
SESSIONS = "/redfish/v1/SessionService/Sessions"  # where they are if the root does not tell
MAX_ANSWER = 4 << 20  # bytes; 64 outlets in full are about 150 000
MAX_REDIRECTS = 3  # such as from Chassis to Chassis/
KEEP = 4.0  # seconds that a connection lies idle; web servers commonly close theirs after 5
SLACK = 0.1  # seconds by which httpx's own time-out is earlier, since it leaves the connections in better order
GRACE = 1.0  # seconds by which the loop may be late
LOGOUT = 1.0  # seconds; a session that stays ends by itself, mostly after 30 minutes
FAREWELL = 0.7  # seconds for all logouts when the loop ends
ENDED = "the loop of the Redfish drivers has ended"
REFUSED = (400, 401, 403)  # logins; 400 by two of the devices in DMTF/Redfish-Service-Validator #191
WITHHELD = (400, 403, 404, 405, 410, 501)  # by a device that has it not, or not for this user, licence or query


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and how; ``timeout`` is in seconds for one request."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    basic: bool = False
    verify: bool = True
    ca_file: str | None = None
    timeout: float = 2.0

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a device answered to one request."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """Return what the body says, None if that is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Loop:
    """An asyncio loop in a thread of its own, which runs the requests of all services.

    ``farewells`` are what is to be done at its end, whoever is under way then: devices have few sessions.
    """

    def __init__(self) -> None:
        silence_http()
        self.farewells: set[Callable[[], Coroutine[Any, Any, None]]] = set()
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="redfish", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Return what the work returns; raise TimeoutError if it takes longer than these seconds."""
        bounded = self._within(seconds, work)
        try:
            future = asyncio.run_coroutine_threadsafe(bounded, self._loop)
        except RuntimeError:  # it is closed
            bounded.close()
            work.close()
            raise DeviceError(ENDED) from None
        try:
            return future.result(seconds + GRACE)
        except futures.CancelledError:
            work.close()  # which perhaps was not begun
            raise DeviceError(ENDED) from None

    def close(self) -> None:
        """Cancel what is under way, log out everywhere and end the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(GRACE)

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._serve())

    async def _serve(self) -> None:
        await self._stopping.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await asyncio.gather(*(farewell() for farewell in self.farewells.copy()), return_exceptions=True)

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        if self._stopping.is_set():
            work.close()
            raise DeviceError(ENDED)
        async with asyncio.timeout(seconds):  # which makes no second task: connections do not survive two cancellations
            return await work


class _Transport(httpx.AsyncHTTPTransport):
    """Connects to the addresses of a device; its certificate and the header Host are still those of its name."""

    addresses: Addresses = ()

    def lead_to(self, addresses: Addresses) -> None:
        """Connect to these addresses from now on, first to the one that is in use."""
        in_use = self.addresses[:1]
        self.addresses = sorted(addresses, key=lambda address: address not in in_use)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer to a request; an address that takes no connection is done with."""
        while True:
            try:
                return await super().handle_async_request(self._addressed(request))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if len(self.addresses) < 2:
                    raise
                self.addresses = self.addresses[1:]

    def _addressed(self, request: httpx.Request) -> httpx.Request:
        timeouts = request.extensions["timeout"]
        timeouts = {**timeouts, "connect": timeouts["connect"] / len(self.addresses)}
        return httpx.Request(
            request.method,
            request.url.copy_with(host=self.addresses[0]),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host, "timeout": timeouts},
        )


class Service:
    """One Redfish service, as a driver sees it. Its calls come from one thread."""

    def __init__(
        self,
        loop: Loop,
        target: Target,
        *,
        names: Names | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = target
        self.expands = False  # whether a collection is known to come with its members in full
        self._loop = loop
        self._names = names or Names()
        self._clock = clock
        self._end = clock()
        self._expand = ""  # the query that does it
        self._sessions = SESSIONS
        self._session = ""  # address of ours
        self._transport = _Transport(
            verify=tls_context(target.ca_file, verify=target.verify),
            limits=httpx.Limits(max_connections=1, keepalive_expiry=KEEP),
            trust_env=False,
        )
        self._http = httpx.AsyncClient(
            base_url=f"https://{target}",
            auth=httpx.BasicAuth(target.user, target.password) if target.basic else None,
            # Nothing compressed: it would cost the device time, and could be of any size inside.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "OData-Version": "4.0"},
            transport=self._transport,
            trust_env=False,  # a proxy has no way to a management network
        )
        loop.farewells.add(self._leave)

    def allow(self, seconds: float) -> None:
        """Give all requests from now on so many seconds together, and find out where the device is."""
        self._end = self._clock() + seconds
        self._transport.lead_to(self._names.addresses(self.target.host))

    def get_root(self) -> Resource:
        """Return the service's root, having learnt from it where to log in and whether collections expand."""
        root = self.get(ROOT)
        self._sessions = link(root, "Links", "Sessions") or SESSIONS
        query = child(root, "ProtocolFeaturesSupported", "ExpandQuery")
        self.expands = child(query, "NoLinks") is True
        self._expand = "?$expand=.($levels=1)" if child(query, "Levels") is True else "?$expand=."
        return root

    def get(self, path: str) -> Resource:
        """Return the resource at an address."""
        resource = self.find(path)
        if resource is None:
            raise DeviceError(f"{self.target} has no {path}, or not for user {self.target.user!r}")
        return resource

    def find(self, path: str) -> Resource | None:
        """Return the resource at an address, None if the device has it not, or not for us."""
        answer = self._ask("GET", path)
        if answer.status == 401 and not self.target.basic:
            self._log_in()
            answer = self._ask("GET", path)
        if answer.status == 401:
            raise CredentialsRefused(f"{self.target} refuses user {self.target.user!r}: 401 for {path}")
        if answer.status in WITHHELD:
            return None
        resource = answer.json()
        if answer.status != 200 or not isinstance(resource, dict):
            raise DeviceError(f"{self.target} answers {answer.status}, {answer.body[:80]!r} for {path}")
        return resource

    def members(self, path: str) -> dict[str, Resource]:
        """Return the resources of a collection by address, in order; by one request if the device can do that."""
        found: dict[str, Resource] = {}
        for member in self._entries(path, self.expands):
            in_full = "Id" in member or "Name" in member
            self.expands = self.expands and in_full  # or the device only says that it can
            address = link(member)
            resource = member if in_full else self.find(address)
            if resource is not None:
                found[address] = resource
        return found

    def addresses(self, path: str) -> list[str]:
        """Return the addresses of the resources of a collection, in order."""
        return [link(member) for member in self._entries(path, False)]

    def close(self) -> None:
        """Log out, if there is a session, and let the connection go."""
        try:
            self._loop.call(self._leave(), LOGOUT + SLACK)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise DeviceError(f"{self.target} did not let us log out: {error!r}") from error

    async def _leave(self) -> None:
        self._loop.farewells.discard(self._leave)
        session, self._session = self._session, ""
        try:
            if session:
                await self._exchange("DELETE", session, None, LOGOUT)
        finally:
            await self._http.aclose()

    def _entries(self, path: str, expand: bool) -> Iterator[Resource]:
        """Yield the members of a collection, page by page; those that are on another device are left out."""
        page = self.find(path + self._expand) if expand else None
        page = page or self.find(path)
        while page is not None:
            members = page.get("Members")
            yield from (member for member in (members if isinstance(members, list) else ()) if link(member))
            onward = page.get("Members@odata.nextLink")
            page = self.find(onward) if isinstance(onward, str) and onward.startswith("/") else None

    def _log_in(self) -> None:
        session, self._session = self._session, ""
        if session:  # which has expired, or has too few rights and would fill one of few places
            self._ask("DELETE", session)
        self._http.headers.pop("X-Auth-Token", None)
        credentials = {"UserName": self.target.user, "Password": self.target.password}
        answer = self._ask("POST", self._sessions, credentials)
        if answer.status in REFUSED:
            raise CredentialsRefused(f"{self.target} refuses user {self.target.user!r}: {answer.status} at login")
        token = answer.headers.get("X-Auth-Token")
        if answer.status not in (200, 201) or not token:
            raise DeviceError(f"{self.target} answers {answer.status} and opens no session; auth = basic may do")
        self._http.headers["X-Auth-Token"] = token
        self._session = _path_of(answer.headers.get("Location") or link(answer.json()))

    def _ask(self, method: str, path: str, content: Any = None) -> Answer:
        left = self._end - self._clock()
        # A login that was given up may still be granted, and then fills one of few places until it expires.
        seconds = left if method == "POST" else min(self.target.timeout, left)
        if seconds <= 0:
            raise DeviceError(f"{self.target} took too long for everything that is asked; {path} was to come")
        try:
            return self._loop.call(self._exchange(method, path, content, seconds), seconds + SLACK)
        except (TimeoutError, httpx.TimeoutException):
            raise DeviceError(f"{self.target} did not answer {method} {path} within {seconds:.1f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if problem := tls_problem(error):
                raise DeviceError(f"{self.target}: {problem}") from error
            raise DeviceError(f"{self.target}: {method} {path}: {error or type(error).__name__}") from error

    async def _exchange(self, method: str, path: str, content: Any, seconds: float) -> Answer:
        try:
            return await self._follow(method, path, content, seconds)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if method != "GET":
                raise
        return await self._follow(method, path, content, seconds)  # the device closed just as we asked once more

    async def _follow(self, method: str, path: str, content: Any, seconds: float) -> Answer:
        for _ in range(1 + MAX_REDIRECTS):
            async with self._http.stream(method, path, json=content, timeout=seconds) as response:
                body = await self._body(response)
            if method != "GET" or response.next_request is None:
                return Answer(response.status_code, response.headers, body)
            url = response.next_request.url
            if (url.scheme, url.netloc) != (self._http.base_url.scheme, self._http.base_url.netloc):
                raise DeviceError(f"{self.target} sends us to another device, {str(url)!r}, for {path}")
            path = url.raw_path.decode("ascii")
        raise DeviceError(f"{self.target} sends us on and on, now to {path}")

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_ANSWER:
                raise DeviceError(f"{self.target} answers more than {MAX_ANSWER} bytes for {response.url.path}")
        return bytes(body)


def _path_of(address: str) -> str:
    """Return an address without the device's name, which some put before it, "" if it is malformed."""
    try:
        return urlsplit(address).path
    except ValueError:
        return ""

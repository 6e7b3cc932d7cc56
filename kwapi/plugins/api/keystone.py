"""Asks Keystone who a token belongs to: keystonemiddleware.auth_token, which itself asks through python-keystoneclient.

The middleware runs by itself, not around the application, so what it lets through is the owner of a token, never data.
It keeps what it learns for ``token_cache_time``. Three things are added: one memory of tokens for all threads (its own
has one for each thread that was ever busy at the same time); a deadline, since a question may be several requests, each
with its own time-out, and threads queue for the service user's token; and a log that tells a change once.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from keystoneauth1.exceptions import ClientException
from keystonemiddleware.auth_token import AuthProtocol
from oslo_config import cfg
from webob.exc import HTTPServiceUnavailable
from werkzeug import Response
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import ServiceUnavailable, Unauthorized

LOG = logging.getLogger(__name__)
MEMORY, OWNERS = "kwapi.tokens", "kwapi.owners"  # keys of the WSGI environment
RETRY_AFTER = 2  # seconds
T = TypeVar("T")


class Keystone:
    """Tells whose a token is."""

    def __init__(self, conf: cfg.ConfigOpts, most_questions: int) -> None:
        self._memory = Memory()
        questions = Questions(most_questions, deadline=2 * conf.keystone_authtoken.http_connect_timeout)
        self._middleware = _Middleware(conf, questions)

    def owner(self, environ: Mapping[str, Any]) -> dict[str, Any]:
        """Return the roles, user_id, project_id ... of the token of a request.

        Raises Unauthorized without a valid token, ServiceUnavailable where Keystone does not tell.
        """
        owners: list[Any] = []
        answer = Response.from_app(self._middleware, {**environ, MEMORY: self._memory, OWNERS: owners})
        if answer.status_code == 401:
            header = WWWAuthenticate.from_header(answer.headers["WWW-Authenticate"])
            raise Unauthorized("a valid token of Keystone is needed, as X-Auth-Token", www_authenticate=header)
        if answer.status_code != 204 or not owners:
            raise ServiceUnavailable("Keystone cannot say now whether the token is valid", retry_after=RETRY_AFTER)
        token = owners[0]
        known = ("user_id", "project_id", "domain_id", "user_domain_id", "project_domain_id")
        system = "all" if token.system_scoped else None
        return {"roles": token.role_names, "system_scope": system, **{name: getattr(token, name) for name in known}}


def _note_owner(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Note, as the application behind the middleware, whom it has let through."""
    environ[OWNERS].append(environ["keystone.token_auth"].user)
    start_response("204 No Content", [])
    return []


class _Middleware(AuthProtocol):  # type: ignore[misc]  # keystonemiddleware has no types
    def __init__(self, conf: cfg.ConfigOpts, questions: "Questions") -> None:
        super().__init__(_note_owner, {"oslo_config_config": conf, "cache": MEMORY})
        self._questions = questions
        self._outage = Outage()

    def fetch_token(self, token: str, allow_expired: bool = False) -> Any:
        """Return what is known of a token, from the memory or from Keystone."""
        if known := self._token_cache.get(token):
            return known
        try:
            answer = self._questions.ask(partial(super().fetch_token, token, allow_expired=allow_expired))
        except TooManyQuestions as error:  # no reason by itself, but what follows from one
            raise HTTPServiceUnavailable from error
        except (ClientException, HTTPServiceUnavailable, TimeoutError) as error:
            self._outage.begin(error.__context__ or error)  # the middleware's own 503 hides the reason there
            raise HTTPServiceUnavailable from error
        self._outage.end()  # a token that is not valid tells nothing: those who may not ask learn of unknown ones too
        return answer


class TooManyQuestions(Exception):
    """So many questions wait for an answer that no more are asked."""


class Questions:
    """Asks in threads of their own, no more at a time than allowed, and waits for no answer beyond the deadline."""

    def __init__(self, most: int, deadline: float) -> None:
        self._free = threading.Semaphore(most)
        self._deadline = deadline

    def ask(self, question: Callable[[], T]) -> T:
        """Return what a question returns, raise what it raises; TimeoutError if there is no answer in time.

        Raises TooManyQuestions at once rather than wait until there are fewer.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyQuestions
        answer: Future[T] = Future()
        threading.Thread(target=self._answer, args=(question, answer), name="keystone", daemon=True).start()
        try:
            return answer.result(self._deadline)
        except TimeoutError as error:
            raise TimeoutError(f"no answer in {self._deadline:g} s") from error

    def _answer(self, question: Callable[[], T], answer: Future[T]) -> None:
        try:
            result = question()
        except BaseException as error:  # goes on in the thread that asks
            answer.set_exception(error)
        else:
            answer.set_result(result)
        finally:
            self._free.release()


class Memory:
    """Keeps what the middleware has learnt of tokens; its methods are those of a memcached client, which it expects."""

    def __init__(self, most: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}  # by key: until when, what; the oldest first

    def get(self, key: str) -> bytes | None:
        """Return what was kept, None if it was not or its time is over."""
        until, value = self._kept.get(key, (0.0, None))
        return value if self._clock() < until else None

    def set(self, key: str, value: bytes, time: int = 0) -> None:
        """Keep a value for so many seconds."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (self._clock() + time, value)
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]


class Outage:
    """Logs that Keystone cannot be asked when that begins and when it ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None

    def begin(self, reason: BaseException) -> None:
        """Note that a question was not answered, or that we may not ask it."""
        with self._lock:
            if self._since is None:
                self._since = self._clock()
                LOG.error("tokens cannot be checked, so nobody may read: %s", reason)

    def end(self) -> None:
        """Note that a question was answered."""
        with self._lock:
            if self._since is not None:
                LOG.info("tokens can be checked again, after %.0f s", self._clock() - self._since)
                self._since = None

"""How the API answers: HTTP by waitress, or HTTPS with a front before it; threads and limits."""

import gc
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from oslo_config import cfg
from waitress.task import ErrorTask, WSGITask

from kwapi import service
from kwapi.plugins.api.durations import BEGUN
from kwapi.plugins.api.problems import PROBLEM_TYPE, problem
from kwapi.plugins.api.turns import Turns
from kwapi.tls import Front

LIMITS = {  # of waitress
    "max_request_header_size": 1 << 15,
    "max_request_body_size": 1 << 16,  # nothing takes a body
    "connection_limit": 1_000,
    "channel_timeout": 60,  # seconds that a connection may be idle
    "channel_request_lookahead": 1,  # or a stream would not notice that its reader has gone
    "outbuf_overflow": 1 << 26,  # an answer of megabytes goes through memory rather than through a file
    "outbuf_high_watermark": 1 << 16,  # beyond it a stream waits for its reader
}
THREAD_TURN = 0.0002  # seconds; threads that wait for theirs look that often, a tenth more CPU than with 1 ms
# Objects until the young are collected, such runs until one of the older too, and those until one of all.
YOUNG, RUNS, FULL_RUNS = 1_000, 10, 1_000
SOCKET = "http"  # the Unix socket behind the front
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")  # as browsers send it: no path, not even a /, no capitals


class _Refusal(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """The answer to what never becomes a request, such as one that is too big: problem details as of any other."""

    def execute(self) -> None:
        error = self.request.error
        body = problem(error.code, error.reason, error.body)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Task(WSGITask):  # type: ignore[misc]
    """A request that knows since when it waits for its turn."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[BEGUN] = self.channel.begun
        return environ


class _Channel(service.Channel):
    error_task_class = _Refusal
    task_class = _Task
    begun = 0.0  # when a thread took the request

    def __init__(self, turns: Turns, *args: Any, **given: Any) -> None:
        self._turns = turns
        super().__init__(*args, **given)

    def service(self) -> None:
        """Answer a request."""
        self.begun = perf_counter()
        with self._turns.turn():
            super().service()


def keep_pauses_short() -> None:
    """Have requests hold up the thread of the bus as little as Python allows; called once, before any thread starts.

    It waits anew for every message, each time until a thread that computes has had its turn, 5 ms by default. And the
    garbage collector stops all threads, the longer the more objects it has to walk: it shall come often and find few.
    What is measured is no concern of its (gc=False), but for the newest message of each wattmeter, 2 ms for 10 000
    probes; and the probes themselves, 4 ms, in a run of all.
    """
    sys.setswitchinterval(THREAD_TURN)
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, RUNS, FULL_RUNS)


def serving_problems(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) of the options about how requests are answered."""
    if conf.streams >= conf.threads:
        yield "streams", f"{conf.streams} streams would hold all {conf.threads} threads; have fewer of them"
    if bool(conf.tls_certificate_file) != bool(conf.tls_key_file):
        yield "tls_key_file", "a certificate and its key are needed both, or neither"
    for origin in conf.cors_origins:
        if not ORIGIN.fullmatch(origin):
            yield "cors_origins", f"{origin!r} is no origin, such as https://example.org or http://localhost:8080"


def serving_tasks(conf: cfg.ConfigOpts, application: Any, directory: Path) -> list[service.Task]:
    """Return the tasks that answer; the directory holds a socket that nobody else may use."""
    channel = partial(_Channel, Turns())
    if not conf.tls_certificate_file:
        server = service.HttpServer(application, conf.host, conf.port, conf.threads, channel, **LIMITS)
        return [service.Task("http", server.run)]
    # By its descriptor, which stays open: the path of a socket may have 107 bytes.
    behind = Path(f"/proc/self/fd/{os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}") / SOCKET
    front = Front(conf.host, conf.port, conf.tls_certificate_file, conf.tls_key_file, behind)
    server = service.HttpServer(
        application, conf.host, conf.port, conf.threads, channel, unix_socket=str(behind), url_scheme="https", **LIMITS
    )
    return [service.Task("https", front.run), service.Task("http", server.run)]

"""Rows of how long a measurement takes: from the driver's stamp to a plugin, to GET and to the stream."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from statistics import median, quantiles
from urllib.error import HTTPError

from bench.chain import Chain, Load, chain
from bench.table import Row, row
from bench.way import SETTLE, Options
from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.measurement import Message

SECONDS = 8.0
FEWEST = 20  # samples
BOUNDED = 1_000.0  # measurements a second
LOADS = (Load(960, 48, BOUNDED), Load(1_000, 1, BOUNDED), Load(10_000, 48, BOUNDED), Load(10_000, 48, 100_000.0))
BOUNDS = {"a plugin": "p50 1 ms, p99 5 ms", "GET": "p50 4 ms"}


def latencies(options: Options) -> Iterator[Row]:
    """Yield latencies at a thousand measurements a second, also of wattmeters that are seldom asked, and at more."""
    seconds = SECONDS if options.windows > 1 else SECONDS / 4
    for load in LOADS:
        with chain(load.sections()) as daemons:
            daemons.start()
            if load.rate >= load.wattmeters * load.each:  # each of them at 1 Hz, at least
                daemons.wait_for(load.probes)
            time.sleep(SETTLE)
            found = {"a plugin": [], "GET": [], "the stream": []} | watch(daemons, seconds)
        for where, values in found.items():
            if len(values) < FEWEST:
                raise RuntimeError(f"{len(values)} messages came to {where} in {seconds:g} s")
            cuts = quantiles(values, n=100)
            bound = BOUNDS.get(where, "") if load.rate == BOUNDED else ""
            name = f"latency, {load.rate:g}/s of {load.probes} probes, {load.each} a message, stamp to {where}"
            how = f"{len(values)} messages; p50 {median(values):.2f} ms, p99 {cuts[98]:.2f} ms"
            yield row(f"{name}: p50", [median(values)], "ms", how, bound=bound)
            yield row(f"{name}: p99", [cuts[98]], "ms", how)


def watch(daemons: Chain, seconds: float) -> dict[str, list[float]]:
    """Return the ms that messages took to each place, as far as they were looked at."""
    stop, came = threading.Event(), SimpleQueue[Message]()
    taken: list[float] = []

    def take(message: Message) -> None:
        taken.append((time.time() - message.timestamp) * 1e3)
        if came.empty():  # else one is asked for
            came.put(message)

    subscriber = Subscriber([daemons.forwarded], [], Gate(KeyFile(daemons.key_file)))
    hearing = threading.Thread(target=subscriber.run, args=(stop, take))
    hearing.start()
    try:
        asked = list(_ask(daemons, came, time.monotonic() + seconds))
    finally:
        stop.set()
        hearing.join()
    return {"a plugin": taken, "GET": asked, "the stream": list(_read(daemons, time.monotonic() + seconds))}


def _ask(daemons: Chain, came: "SimpleQueue[Message]", end: float) -> Iterator[float]:
    """Yield how long it took until the API had a message that came here."""
    while time.monotonic() < end:
        try:
            message = came.get(timeout=0.5)
        except Empty:
            continue
        while not _has(daemons, message.probes[-1], message.timestamp):
            pass
        yield (time.time() - message.timestamp) * 1e3


def _has(daemons: Chain, probe: str, timestamp: float) -> bool:
    try:
        return bool(daemons.get(f"/v1/probes/{probe}/")[probe]["timestamp"] >= timestamp)
    except HTTPError:  # it is not known yet
        return False


def _read(daemons: Chain, end: float) -> Iterator[float]:
    """Yield how long it took until the stream had a message."""
    with urllib.request.urlopen(daemons.address("/v2/stream"), timeout=30) as events:  # noqa: S310 -- our own
        for line in events:
            if line.startswith(b"data: {"):
                event = json.loads(line.removeprefix(b"data: "))
                if "timestamp" in event:
                    yield (time.time() - event["timestamp"]) * 1e3
            if time.monotonic() > end:
                return

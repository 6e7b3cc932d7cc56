"""Measures the bus over NATS JetStream: ``python -m bench.nats``; it needs nats-server, on a port of its own.

What a message costs the bridge: a process publishes by ZeroMQ at a steady rate, a second one, kwapi-forwarder's bridge,
stores at a server. How fast a plugin catches up: the stream gets an hour of messages, as fast as it can; then a plugin
that has seen the first second of it reads all, while a source goes on at its rate and another plugin reads that live.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path

import zmq
from nats.aio.client import Client

from bench.frames import BOOT, KEY, frame_of, names_of
from bench.processes import cpu_seconds, rss_mb, started
from bench.spool import percentiles
from kwapi.bus import Publisher, Subscriber
from kwapi.gate import Gate
from kwapi.measurement import Measurement, Message, topic_of
from kwapi.nats.bridge import Bridge
from kwapi.nats.layout import Layout
from kwapi.nats.login import Login
from kwapi.nats.subjects import EVERYTHING, message_id, subject_of
from kwapi.plugins.api.collector import Collector
from kwapi.proxy import Passage
from kwapi.signing import KeyRing
from kwapi.sockets import open_socket
from kwapi.spool.store import Spool
from kwapi.stream import Mark, Position
from kwapi.streams import Streams
from kwapi.transport import Transport

PROGRAM = "bench.nats"
BRIDGE_BOUND, CATCH_UP_BOUND = 100.0, 300.0  # us a message, s
TICK = 0.002  # seconds
Row = tuple[str, str]


class Frames:
    """Signed frames of some wattmeters, each of so many probes: a second of all, then the next."""

    def __init__(self, wattmeters: int, probes: int) -> None:
        self._probes = {
            name: [f"{name.rpartition('.')[2]}-{outlet}" for outlet in range(probes)] for name in names_of(wattmeters)
        }
        self._watts = [100.0 + outlet for outlet in range(probes)]

    def second(self, seq: int, timestamp: float) -> Iterator[tuple[bytes, bytes]]:
        """Yield topic and frame of each wattmeter."""
        for name, probes in self._probes.items():
            yield topic_of(name), frame_of(name, seq, timestamp, probes, self._watts)


@contextmanager
def server(directory: Path) -> Iterator[tuple[str, int]]:
    """Have a nats-server; yield its endpoint and its pid."""
    ports = directory / "ports"
    ports.mkdir()
    store = directory / "store"
    command = ["nats-server", "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(store), "--ports_file_dir", str(ports)]
    path = f"{os.environ['PATH']}:/usr/sbin"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PATH": path}) as process:  # noqa: S603
        try:
            while not (files := list(ports.iterdir())) or not files[0].read_text():
                time.sleep(0.02)
            yield json.loads(files[0].read_text())["nats"][0], process.pid
        finally:
            process.terminate()


async def store_all(endpoint: str, frames: Frames, seconds: int, layout: Layout) -> None:
    """Make the stream, and store so many seconds of messages, which end now."""
    client = Client()
    await client.connect([endpoint], pending_size=16 << 20, skip_subject_validation=True)
    await client.jetstream().add_stream(layout.config())
    begun = time.time() - seconds
    for seq in range(seconds):
        for topic, frame in frames.second(seq, begun + seq):
            subject = subject_of(topic)
            await client.publish(subject, frame, headers={"Nats-Msg-Id": message_id(subject, BOOT, seq)})
        await client.flush()
    await client.close()


async def stream_of(endpoint: str) -> tuple[str, int, int]:
    """Return since when the stream is there, the number of its last message, and how many it has."""
    client = Client()
    await client.connect([endpoint])
    info = await client.jetstream().stream_info("kwapi")
    await client.close()
    return str(info.created), info.state.last_seq, info.state.messages


def bridged(directory: Path, options: argparse.Namespace, *, has_spool: bool) -> Iterator[Row]:
    """Yield what a message costs the bridge and the server."""
    what = "with a spool" if has_spool else "without a spool"
    frames = Frames(options.wattmeters, options.probes)
    with (
        server(directory) as (endpoint, pid),
        zmq.Context() as context,
        open_socket(context, zmq.PUB) as source,
        started(
            PROGRAM, "bridge", f"ipc://{directory}/bus", endpoint, directory / "spool" if has_spool else ""
        ) as bridge,
    ):
        source.bind(f"ipc://{directory}/bus")
        asyncio.run(store_all(endpoint, frames, 0, Layout("kwapi", (EVERYTHING,))))
        assert bridge.stdout is not None  # noqa: S101
        bridge.stdout.readline()
        time.sleep(1.0)  # until the subscription is there
        used, served = cpu_seconds(bridge.pid), cpu_seconds(pid)
        sent, begun = 0, time.monotonic()
        for seq in range(max(int(options.seconds * options.rate / options.wattmeters), 1)):
            for _, frame in frames.second(seq, time.time()):
                source.send(frame)
                sent += 1
                if sent % int(options.rate * TICK) == 0:
                    time.sleep(max(begun + sent / options.rate - time.monotonic(), 0))
        lasted = time.monotonic() - begun
        while (stored := asyncio.run(stream_of(endpoint))[2]) < sent and time.monotonic() - begun < 2 * lasted + 10:
            time.sleep(0.1)
        settled = time.monotonic() - begun
        used, served = cpu_seconds(bridge.pid) - used, cpu_seconds(pid) - served
        bridge.terminate()
        memory = json.loads(bridge.communicate()[0])
    yield f"bridge {what}: messages a second of {options.probes} probes", f"{sent / lasted:.0f}"
    yield f"bridge {what}: bytes of a message", f"{len(frame)}"
    yield f"bridge {what}: stored, of those sent", f"{stored} of {sent}"
    yield f"bridge {what}: stored after the last was sent, within", f"{(settled - lasted) * 1e3:.0f} ms"
    yield f"bridge {what}: CPU of a message (bound {BRIDGE_BOUND:.0f} us)", f"{used / sent * 1e6:.1f} us"
    yield f"bridge {what}: CPU of a message, of nats-server", f"{served / sent * 1e6:.1f} us"
    yield f"bridge {what}: memory", f"{memory:.0f} MB"


def caught_up(directory: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Yield how long a plugin takes for an hour, and what others notice of it."""
    frames = Frames(options.missed_rate, options.missed_probes)
    with server(directory) as (endpoint, pid):
        begun = time.monotonic()
        layout = Layout("kwapi", (EVERYTHING,))
        asyncio.run(store_all(endpoint, frames, options.missed_seconds, layout))
        since, last, count = asyncio.run(stream_of(endpoint))
        yield "messages stored in the stream", f"{count} in {time.monotonic() - begun:.0f} s"
        with (
            started(PROGRAM, "other", endpoint) as other,
            started(PROGRAM, "source", endpoint, options.missed_rate, options.missed_probes),
        ):
            assert other.stdout is not None  # noqa: S101
            other.stdout.readline()
            time.sleep(options.seconds)
            other.send_signal(signal.SIGUSR1)
            served = cpu_seconds(pid)
            with started(PROGRAM, "plugin", endpoint, since, options.missed_rate, last) as plugin:
                figures = json.loads(plugin.communicate()[0])
            served = cpu_seconds(pid) - served
            other.terminate()
            alone, beside = json.loads(other.communicate()[0])
    hours = f"{options.missed_seconds} s at {options.missed_rate}/s of {options.missed_probes} probes"
    yield f"{hours}: messages got", f"{figures['taken']} of {count - options.missed_rate}"
    yield f"{hours}: lost", f"{figures['lost']}"
    yield f"{hours}: caught up within (bound {CATCH_UP_BOUND:.0f} s)", f"{figures['seconds']:.1f} s"
    yield f"{hours}: messages a second", f"{figures['taken'] / figures['seconds']:.0f}"
    yield f"{hours}: CPU of a message, of the plugin", f"{figures['cpu'] / figures['taken'] * 1e6:.1f} us"
    yield f"{hours}: CPU of a message, of nats-server", f"{served / figures['taken'] * 1e6:.1f} us"
    yield f"{hours}: memory of the plugin", f"{figures['memory']:.0f} MB"
    for who, (middle, late, longest) in (("alone", alone), ("beside it", beside)):
        yield f"latency of another plugin, {who}: median", f"{middle:.2f} ms"
        yield f"latency of another plugin, {who}: 99 of 100 within", f"{late:.2f} ms"
        yield f"latency of another plugin, {who}: longest", f"{longest:.1f} ms"


def bridge(source: str, endpoint: str, spool_directory: str) -> None:
    """Store what comes until ended."""
    spool = Spool(spool_directory, max_bytes=1 << 30, max_age=86400.0) if spool_directory else None
    stop = threading.Event()
    thread = threading.Thread(target=spool.run, args=(stop,)) if spool else None
    if thread:
        thread.start()
    one = Bridge(Passage([source], endpoint, keep=spool.hand if spool else None, spool=spool))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=one.stop).start())
    one.run(lambda: print(flush=True))  # ready
    stop.set()
    if thread:
        thread.join()
    print(json.dumps(rss_mb()))


def source(endpoint: str, rate: int, probes: int) -> None:
    """Publish one message of each of so many wattmeters each second, spread over it, until ended."""
    publisher = Publisher(endpoint, KEY)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    senders = [publisher.sender(f"paris.pdu{number}", 1.0) for number in range(rate)]
    sent, begun = 0, time.monotonic()
    while not stop.is_set():
        sender = senders[sent % rate]
        values = [Measurement(f"{sender.wattmeter}-{outlet}", watts=117.3) for outlet in range(probes)]
        sender.publish(values, time.time(), time.monotonic())
        sent += 1
        time.sleep(max(begun + sent / rate - time.monotonic(), 0))
    publisher.close()


def other(endpoint: str) -> None:
    """Read live until ended; print latencies before and after a signal."""
    stop = threading.Event()
    latencies: tuple[list[float], list[float]] = ([], [])
    is_beside = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: is_beside.set())
    print(flush=True)  # ready

    def add(message: Message) -> None:
        latencies[is_beside.is_set()].append(time.time() - message.timestamp)

    Subscriber([endpoint], ["paris"], Gate(KeyRing([KEY]))).run(stop, add)
    print(json.dumps([percentiles(each) if len(each) > 1 else [nan] * 3 for each in latencies]))


def plugin(endpoint: str, since: str, first: int, last: int) -> None:
    """Read from a message of the stream to another one, as kwapi-api does; print how that was."""
    stop, collector, taken = threading.Event(), Collector(), 0
    wanted = last - first

    def add(message: Message) -> None:
        nonlocal taken
        collector.add_late(message)
        if message.boot == BOOT:
            taken += 1
            if taken == wanted:
                stop.set()

    seen = {topic_of(name): Position(BOOT, 1) for name in names_of(first)}  # a second of it, or it would be too old
    gate = Gate(KeyRing([KEY]), streams=Streams(seen, resumes=True))
    subscriber = Subscriber([endpoint], [], gate, transport=Transport(nats=Login()))
    if subscriber.reading is not None:
        subscriber.reading.resume("bench", {f"0 {EVERYTHING}": Mark(since, first, time.time())})
    begun, cpu = time.monotonic(), time.process_time()
    subscriber.run(stop, add, add_late=add)
    lasted, used = time.monotonic() - begun, time.process_time() - cpu
    print(json.dumps({"taken": taken, "lost": gate.lost, "seconds": lasted, "cpu": used, "memory": rss_mb()}))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return the exit status, 1 if a bound does not hold."""
    roles = {"bridge": bridge, "source": source, "other": other, "plugin": plugin}
    if argv is None and sys.argv[1:2] and sys.argv[1] in roles:
        roles[sys.argv[1]](*(int(word) if word.isdigit() else word for word in sys.argv[2:]))  # type: ignore[operator]
        return 0
    parser = argparse.ArgumentParser(prog="bench.nats", description="Measure the bus over NATS JetStream.")
    parser.add_argument("--wattmeters", type=int, default=10_000, help="that the bridge carries")
    parser.add_argument("--probes", type=int, default=48, help="of each wattmeter")
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second over the bridge")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--missed-rate", type=int, default=1_000, help="messages a second that a plugin has missed")
    parser.add_argument("--missed-seconds", type=int, default=3_600)
    parser.add_argument("--missed-probes", type=int, default=12, help="of each of these messages")
    parser.add_argument("--directory", help="where the server stores; that of temporary files by default")
    options = parser.parse_args(argv)
    rows: list[Row] = []
    for has_spool in (False, True):
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            rows += bridged(Path(directory), options, has_spool=has_spool)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        rows += caught_up(Path(directory), options)
    for what, value in rows:
        print(f"{what:<70}{value:>24}")
    print(f"{'load average':<70}{os.getloadavg()[0]:>24.2f}")
    bounds = {BRIDGE_BOUND: "us)", CATCH_UP_BOUND: "s)"}
    over = [
        what
        for what, value in rows
        for bound, unit in bounds.items()
        if what.endswith(f"(bound {bound:.0f} {unit}") and float(value.split()[0]) > bound
    ]
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())

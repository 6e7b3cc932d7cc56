"""The bare prototype of a message, with which the bounds of the path began: what this machine takes for it.

A driver packs and signs, a forwarder in C passes on, a collector verifies, unpacks and adds up watts: each a process of
one thread, without names checked, numbers, accounts, registers on a disk, a spool, or anybody to be asked. On the
machine where the bounds were set it took 0.475 us for each of 48 measurements, so that what is measured elsewhere can
be compared with them: 1.2 us are 2.5 prototypes.
"""

import hmac
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from statistics import median

import msgspec
import zmq

from bench.bare import free_ports
from bench.chain import Load
from bench.load import measurements
from bench.processes import started
from bench.table import Row, row
from bench.way import BOUNDS, Options, cost
from kwapi.measurement import MEASUREMENT, VERSION, Message, to_columns

KEY = hmac.new(b"a signing key of the benchmark...", digestmod="sha256")
SIGNATURE = 32  # bytes
WATTMETERS = 200
MESSAGES = 20_000
TOGETHER = 20  # messages between two looks at the clock
QUEUE = 20_000
END = b"end"


def bounded(options: Options) -> Iterator[Row]:
    """Yield what a measurement costs at the rates of the bounds, and what it does in prototypes of the same minute."""
    for each, probes, rate in ((48, 10_000, 500_000.0), (1, 1_000, 20_000.0)):
        values = [cpu(each, rate / each, MESSAGES) / each * 1e6 for _ in range(options.windows)]
        yield row(f"prototype, {each} a message", values, "us", f"CPU of three bare processes at {rate:g}/s")
        name = f"CPU of a measurement, {each} a message, at {rate:g}/s"
        found = cost(name, Load(probes, each, rate), options, bound=BOUNDS[f"cpu {each}"])
        yield found
        yield row(f"{name}, in prototypes", [found.value / median(values)], "", "of the median of the prototype")


def cpu(each: int, rate: float, messages: int) -> float:
    """Return the CPU seconds of a message of so many probes at a rate, messages a second, in all three processes."""
    published, forwarded = free_ports()
    with (
        started("bench.prototype", "forward", published, forwarded) as forwarder,
        started("bench.prototype", "collect", forwarded) as collector,
        started("bench.prototype", "drive", published, each, rate, messages) as driver,
    ):
        told = [process.stdout.readline().split() for process in (driver, collector) if process.stdout]
        seconds, counted = (float(one[0]) for one in told), [int(one[1]) for one in told]
        if counted != [messages, messages]:
            raise RuntimeError(f"{counted} messages of {messages}")
        forwarder.terminate()
        return (sum(seconds) + float(forwarder.communicate()[0])) / messages


def drive(published: str, each: int, rate: float, messages: int) -> None:
    """Send at a rate."""
    pack = msgspec.msgpack.Encoder().encode
    polls = [_message(number, each) for number in range(WATTMETERS)]
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.set_hwm(QUEUE)
        socket.bind(published)
        time.sleep(1.0)  # until the others are there
        began, at = time.process_time(), time.monotonic()
        for sent in range(messages):
            message = msgspec.structs.replace(polls[sent % WATTMETERS], seq=sent, timestamp=time.time())
            content = b"%s.\0key.%s" % (message.wattmeter.encode(), pack(message))
            mac = KEY.copy()
            mac.update(content)
            socket.send(content + mac.digest())
            if sent % TOGETHER == 0:
                time.sleep(max(at + sent / rate - time.monotonic(), 0.0))
        print(time.process_time() - began, messages, flush=True)
        socket.send(END)
        time.sleep(1.0)


def collect(forwarded: str) -> None:
    """Add up until the end."""
    unpack = msgspec.msgpack.Decoder(Message).decode
    sums: dict[str, list[float]] = {}
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set_hwm(QUEUE)
        socket.subscribe(b"")
        socket.connect(forwarded)
        socket.poll()
        began, count = time.process_time(), 0
        while (frame := socket.recv()) != END:
            mac = KEY.copy()
            mac.update(frame[:-SIGNATURE])
            if not hmac.compare_digest(mac.digest(), frame[-SIGNATURE:]):
                raise ValueError("a signature is wrong")
            message = unpack(frame[frame.index(b"\0key.") + 5 : -SIGNATURE])
            watts: list[float] = message.w or []  # type: ignore[assignment]  # none of them is None
            before = sums.get(message.wattmeter) or [0.0] * len(watts)
            sums[message.wattmeter] = [kwh + each / 3.6e6 for kwh, each in zip(before, watts, strict=True)]
            count += 1
        print(time.process_time() - began, count, flush=True)


def forward(published: str, forwarded: str) -> None:
    """Pass on until SIGTERM, which a proxy in the same thread would not see between two messages."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    context = zmq.Context()
    front, back = context.socket(zmq.XPUB), context.socket(zmq.XSUB)
    front.set_hwm(QUEUE)
    back.set_hwm(QUEUE)
    front.bind(forwarded)
    back.connect(published)
    began = time.process_time()
    threading.Thread(target=zmq.proxy, args=(front, back), daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    print(time.process_time() - began, flush=True)
    os._exit(0)  # the proxy is still in its thread


def _message(number: int, each: int) -> Message:
    columns = to_columns(measurements(Load(each * WATTMETERS, each, 1.0).names(number), 0))
    columns.pop("level")
    return Message(
        version=VERSION,
        type=MEASUREMENT,
        wattmeter=f"lyon.pdu{number}",
        boot=time.time_ns(),
        seq=0,
        timestamp=time.time(),
        monotonic=time.monotonic(),
        interval=1.0,
        **columns,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["drive", published, each, rate, messages]:
            drive(published, int(each), float(rate), int(messages))
        case ["collect", forwarded]:
            collect(forwarded)
        case ["forward", published, forwarded]:
            forward(published, forwarded)

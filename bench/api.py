"""Measures one kwapi-api that knows 10 000 probes: ``python -m bench.api``.

The daemon is the real one, a process, but that its collector notes when each message is taken; another process
publishes, each wattmeter once a second and all of them evenly spread, and a third one asks without rest. How long a
message took from there to here is the pause of ingestion; without clients it shows what this machine does by itself.
CPU of a request is what the daemon used beyond what it uses without requests.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import cpu_seconds
from bench.traffic import Client
from kwapi.measurement import Message
from kwapi.plugins.api import app
from kwapi.plugins.api.collector import Collector
from kwapi.signing import make_key_file

PATHS = ("/v1/probes/", "/v2/probes?limit=10000")
SETTLE = 3.0  # seconds
Figures = dict[str, float]


class NotingCollector(Collector):
    """A collector that notes (Unix seconds, seconds since the measurement) of each message when it has taken it."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.taken: list[tuple[float, float]] = []
        self.subscribe(self._note)

    def _note(self, message: Message) -> None:
        now = time.time()
        self.taken.append((now, now - message.timestamp))


def serve(directory: Path) -> None:
    """Be the daemon; at its end write what was noted."""
    collectors: list[NotingCollector] = []

    def noting(*args: Any, **given: Any) -> Collector:
        collectors.append(NotingCollector(*args, **given))
        return collectors[-1]

    app.Collector = noting  # type: ignore[assignment, misc]
    status = app.main(["--config-file", str(directory / "api.conf")])
    (directory / "taken.json").write_text(json.dumps(collectors[0].taken))
    sys.exit(status)


@contextmanager
def running(*command: str, **given: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a module of the benchmark as a process, and ask it to end."""
    with subprocess.Popen([sys.executable, "-m", *command], **given) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


class Daemon:
    """The daemon under measurement."""

    def __init__(self, port: int, pid: int) -> None:
        self._port = port
        self._pid = pid
        self.resting = 0.0  # CPU seconds in a second without requests
        self.windows: dict[str, tuple[float, float]] = {}

    def get(self, path: str) -> Any:
        """Return what it answers, {} while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:  # noqa: S310
                return json.load(answer)
        except OSError:
            return {}

    def rest(self, seconds: float) -> None:
        """Learn what it uses without requests."""
        with self.window("without clients"):
            before = cpu_seconds(self._pid)
            time.sleep(seconds)
            self.resting = (cpu_seconds(self._pid) - before) / seconds

    def request(self, path: str, count: int, period: float = 0.0) -> float:
        """Return the milliseconds of CPU that a request takes of it, asked one after the other."""
        client = Client(self._port, path)
        client.ask()
        before, begun = cpu_seconds(self._pid), time.monotonic()
        for _ in range(count):
            client.ask()
            time.sleep(period)
        used = cpu_seconds(self._pid) - before - self.resting * (time.monotonic() - begun)
        client.close()
        return 1000 * used / count

    def bear(self, path: str, clients: int, seconds: float) -> Figures:
        """Return how many answers clients get that ask without rest, and what the daemon uses for each."""
        arguments = ("bench.traffic", "ask", str(self._port), path, str(clients))
        with running(*arguments, stdout=subprocess.PIPE) as process:
            with self.window(path):
                before = cpu_seconds(self._pid)
                time.sleep(seconds)
                used = cpu_seconds(self._pid) - before - self.resting * seconds
            process.send_signal(signal.SIGTERM)
            answers = int(process.communicate()[0])
        return {"answers in a second": answers / seconds, "CPU of each, ms": 1000 * used / answers}

    @contextmanager
    def window(self, name: str) -> Iterator[None]:
        """Remember when something was done."""
        begun = time.time()
        yield
        self.windows[name] = (begun, time.time())


def measure(wattmeters: int, outlets: int, clients: int, seconds: float, port: int) -> Figures:
    """Return the figures of one run."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_key_file(directory / "signing.key")
        (directory / "api.conf").write_text(
            f"[DEFAULT]\nstate_dir = {directory}\nprobes_endpoint = ipc://{directory}/bus\n"
            f"acl_enabled = false\nport = {port}\n"
        )
        with (
            running("bench.traffic", "publish", name, str(wattmeters), str(outlets)),
            running("bench.api", "--serve", name) as process,
        ):
            daemon = Daemon(port, process.pid)
            while len(daemon.get("/v1/probe-ids/").get("probe_ids", ())) < wattmeters * outlets:
                time.sleep(0.1)
            time.sleep(SETTLE)
            daemon.rest(seconds)
            figures: Figures = {"probes": wattmeters * outlets, "CPU in a second without clients": daemon.resting}
            for path in PATHS:
                figures[f"{path}: CPU of a request, ms"] = daemon.request(path, 300)
                figures[f"{path}: CPU of a request once in a second, ms"] = daemon.request(path, 10, 1.0)
            figures["/metrics: CPU of a request once in a second, ms"] = daemon.request("/metrics", 5, 1.0)
            for path in PATHS:
                for what, value in daemon.bear(path, clients, seconds).items():
                    figures[f"{path}, {clients} clients: {what}"] = value
            counts = daemon.get("/healthz")
            figures["messages taken"] = counts["accepted"]
            figures["messages lost or refused"] = counts["lost"] + sum(counts["rejected"].values())
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        taken = json.loads((directory / "taken.json").read_text())
    return figures | pauses(taken, daemon.windows)


def pauses(taken: list[tuple[float, float]], windows: dict[str, tuple[float, float]]) -> Figures:
    """Return for each window how long messages took from their publisher to the collector."""
    figures = {}
    for name, (begun, ended) in windows.items():
        delays = sorted(1000 * delay for at, delay in taken if begun <= at <= ended)
        figures[f"pause of ingestion, {name}: 99 of 100 within, ms"] = delays[int(len(delays) * 0.99)]
        figures[f"pause of ingestion, {name}: longest, ms"] = delays[-1]
    return figures


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wattmeters", type=int, default=209)
    parser.add_argument("--outlets", type=int, default=48)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="what is measured without clients, and with them")
    parser.add_argument("--runs", type=int, default=1, help="runs, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
    runs = [measure(args.wattmeters, args.outlets, args.clients, args.seconds, free_port()) for _ in range(args.runs)]
    figures = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    figures |= {"load average": round(os.getloadavg()[0], 2), "cores": os.cpu_count() or 0}
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"one kwapi-api, median of {args.runs} runs")
    for name, value in figures.items():
        print(f"{name:80}{value:12.10g}")


if __name__ == "__main__":
    main()

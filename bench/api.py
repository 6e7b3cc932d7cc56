"""Measures one kwapi-api that knows 10 000 probes: ``python -m bench.api``.

The daemon is the real one, a process, but that it notes when it takes each message; other processes publish, each
wattmeter once a second and all of them evenly spread, ask without rest, and read the same bus and do nothing else. A
pause of ingestion is how much later than that reader the daemon took a message. On a machine that has something else to
do some of it is that: ``--first`` puts daemon, publisher and reader before all others (as root, and nothing else gets
on), and the CPU that the daemon used in the pause tells what it did itself, on all cores together.
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import cpu_seconds
from bench.traffic import Client, Notes
from kwapi.keys import make_key_file
from kwapi.measurement import Message
from kwapi.plugins.api import app
from kwapi.plugins.api.collector import Collector

PATHS = ("/v1/probes/", "/v2/probes?limit=10000", "/metrics")
NOTHING = "/v1/"  # costs what any request does
SETTLE = 12.0  # seconds, until as many messages are kept for streams as ever are
AFTERMATH = 0.01  # seconds that a daemon is busy at most when the answer is here
Figures = dict[str, float]
Note = tuple[float, float]


class NotingCollector(Collector):
    """A collector that notes when it was given each message."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.taken = Notes(os.getpid())

    def add(self, message: Message) -> None:
        self.taken.add(message)
        super().add(message)


def serve(directory: Path) -> None:
    """Be the daemon; at its end write what was noted."""
    collectors: list[NotingCollector] = []

    def noting(*args: Any, **given: Any) -> Collector:
        collectors.append(NotingCollector(*args, **given))
        return collectors[-1]

    app.Collector = noting  # type: ignore[assignment, misc]
    status = app.main(["--config-file", str(directory / "api.conf")])
    (directory / "taken.json").write_text(json.dumps(collectors[0].taken.notes))
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

    def client(self, path: str) -> Client:
        """Return a client that has asked once."""
        client = Client(self._port, path)
        client.ask()
        return client

    def request(self, client: Client, count: int = 1) -> float:
        """Return the milliseconds of CPU that a request takes of it, of so many asked one after the other."""
        before, begun = cpu_seconds(self._pid), time.monotonic()
        for _ in range(count):
            client.ask()
        time.sleep(AFTERMATH)
        used = cpu_seconds(self._pid) - before - self.resting * (time.monotonic() - begun)
        return 1000 * used / count

    def rare_request(self, client: Client, count: int = 10) -> float:
        """Return the same of requests that come once in a second, so that none gets the answer of another."""
        used = 0.0
        for _ in range(count):
            time.sleep(1.0)
            used += self.request(client)
        return used / count

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
            f"acl_enabled = false\nport = {port}\nlog_level = warning\n"
        )
        with (
            running("bench.traffic", "publish", name, str(wattmeters), str(outlets)),
            running("bench.api", "--serve", name) as process,
            running("bench.traffic", "listen", name, str(process.pid), stdout=subprocess.PIPE) as listener,
        ):
            daemon = Daemon(port, process.pid)
            while len(daemon.get("/v1/probe-ids/").get("probe_ids", ())) < wattmeters * outlets:
                time.sleep(0.1)
            time.sleep(SETTLE)
            figures: Figures = {"probes": wattmeters * outlets} | ask(daemon, clients, seconds)
            listener.send_signal(signal.SIGTERM)
            heard = json.loads(listener.communicate()[0])
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        taken = json.loads((directory / "taken.json").read_text())
    return figures | pauses(taken, heard, daemon.windows)


def ask(daemon: Daemon, clients: int, seconds: float) -> Figures:
    """Ask in every way; return what that cost."""
    daemon.rest(seconds)
    figures = {"CPU in a second without clients": daemon.resting}
    for path in (NOTHING, *PATHS):
        client = daemon.client(path)
        figures[f"{path}: CPU of a request, ms"] = daemon.request(client, 100)
        figures[f"{path}: CPU of a request once in a second, ms"] = daemon.rare_request(client)
        client.close()
    for path in PATHS:
        for what, value in daemon.bear(path, clients, seconds).items():
            figures[f"{path}, {clients} clients: {what}"] = value
    counts = daemon.get("/healthz")
    figures["messages taken"] = counts["accepted"]
    figures["messages lost or refused"] = counts["lost"] + sum(counts["rejected"].values())
    return figures


def pauses(taken: Mapping[str, Note], heard: Mapping[str, Note], windows: Mapping[str, Note]) -> Figures:
    """Return for each window how much later messages were taken than they were heard, and CPU used meanwhile."""
    figures = {}
    for name, (begun, ended) in windows.items():
        noted = [(taken[key], heard[key]) for key in heard if key in taken and begun <= heard[key][0] <= ended]
        late, cpu = (sorted(1000 * max(one[i] - other[i], 0.0) for one, other in noted) for i in range(2))
        figures[f"pause of ingestion, {name}: 99 of 100 within, ms"] = late[int(len(late) * 0.99)]
        figures[f"pause of ingestion, {name}: longest, ms"] = late[-1]
        figures[f"pause of ingestion, {name}: most CPU used in one, ms"] = cpu[-1]
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
    parser.add_argument("--runs", type=int, default=1, help="runs, of which median and highest are printed")
    parser.add_argument("--first", action="store_true", help="go before all others on this machine; for root")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
    if args.first:  # for those that are started, too, except the clients
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    runs = [measure(args.wattmeters, args.outlets, args.clients, args.seconds, free_port()) for _ in range(args.runs)]
    figures = {name: sorted(run[name] for run in runs) for name in runs[0]}
    figures |= {"load average": [os.getloadavg()[0]], "cores": [os.cpu_count() or 0]}
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{f'one kwapi-api, {args.runs} runs':80}{'median':>12}{'highest':>12}")
    for name, values in figures.items():
        print(f"{name:80}{statistics.median(values):12.6g}{values[-1]:12.6g}")


if __name__ == "__main__":
    main()

"""Two sites, two forwarders side by side and two plugins, all of them as processes that can be killed.

    lyon  (worker processes) --+--> left  --+--> api
    paris (in one process) ----+--> right --+--> rrd

Or over NATS servers, each of which can be killed, stopped and cut off as well:

    lyon  (worker processes) ----------+
                                       +--> nats1, nats2, nats3 --+--> api
    paris (in one process) --> left  --+                          +--> rrd
                           +-> right --+

Every arrow is a link (chaos_links.py), those of forwarders over wires too where there are any (chaos_wires.py). Plugins
also reach the spools of lyon and paris over links of their own. The clock of lyon can be set. What is signed and what
is given, the daemons write down (chaos_record.py).
"""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.integration.chaos_links import HERE, Links
from tests.integration.chaos_record import WORKER
from tests.integration.chaos_wires import Wires
from tests.integration.daemons import program
from tests.integration.misbehaving import Farm
from tests.integration.programs import needed, needed_program
from tests.ports import free_port
from tests.waiting import eventually

SITES, FORWARDERS, PLUGINS = ("lyon", "paris"), ("left", "right"), ("api", "rrd")
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
STEP = (
    20.0  # seconds that the clock of lyon is off, at most: what a subscriber bears of a publisher that it does not know
)
REST = 3.0  # seconds after which one that was stopped may be killed: what it had to do meanwhile is done by then

FARM = """
[[wattmeter]]
name = "{site}.pdu"
kind = "snmp"
count = 2
outlets = 4
start_wh = -2
wrap = "99999.9 kWh"
options = {{timeout = 2, retries = 1, slow_interval = 2}}

[[wattmeter]]
name = "{site}.main"
kind = "modbus"
outlets = 3
options = {{timeout = 1.5}}

[[wattmeter]]
name = "{site}.strip"
kind = "http"
outlets = 4
options = {{timeout = 2}}
"""
BMC = """
[[wattmeter]]
name = "paris.node"
kind = "ipmi"
interval = 2
options = {timeout = 2, min_interval = 2}
"""  # read by a process apart, whose time.sleep() libfaketime breaks
FAST = "[{site}.fast{number}]\ndriver = dummy\ninterval = {interval}\nprobes = {probes}\n"  # without a register
FASTS, FAST_PROBES, FAST_INTERVAL = 3, 8, 0.2


class Process:
    """One daemon, which can be started again."""

    def __init__(self, name: str, command: list[str], directory: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.log_path = directory / f"{name}.log"
        self._command = command
        self._environ = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"} | environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_up(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log, stdout=log, env=self._environ)

    def check(self) -> None:
        """Fail if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"{self.name} has ended: {self.log_path.read_text('utf-8')[-2000:]}")

    def kill(self) -> None:
        """End it as kill -9 does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            status = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None
        assert status == 0, f"{self.name}: status {status}"

    def workers(self) -> list[int]:
        """Return the pids of its worker processes that are at work."""
        if self._process is None:
            return []
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children if WORKER.encode() in _command_of(pid).split(b"\0")]


def _command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


class World:
    """All of it; what was started is ended at the end of the ``with``."""

    def __init__(self, directory: Path, repair_wait: float, wires: Wires | None = None, servers: int = 0) -> None:
        """With ``servers``, so many of NATS carry the bus."""
        self.directory = directory
        self.servers = [f"nats{number + 1}" for number in range(servers)]
        self.record = directory / "record"
        self.processes: dict[str, Process] = {}
        self.ended: dict[int, int] = {}  # by pid of one that signs: when it was killed, ns of the monotonic clock
        self.wires = wires  # to the forwarders
        self.link_names = [f"{site}-{to}" for site in SITES for to in (*FORWARDERS, "plugins")]
        self.link_names += [f"{forwarder}-plugins" for forwarder in FORWARDERS]
        self.link_names += [f"{server}-{to}" for server in self.servers for to in (SITES[0], *FORWARDERS, "plugins")]
        self._ends: dict[str, tuple[str, str]] = {}  # addresses of wires
        self._repair_wait = repair_wait
        self._undo = ExitStack()
        self._clock = directory / "clock"
        self.api_port, self.rrd_port = free_port(), free_port()

    def __enter__(self) -> "World":
        try:
            self._build()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _build(self) -> None:
        self.record.mkdir()
        self.set_clock(0.0)
        if self.wires is not None:
            self._undo.enter_context(self.wires)
        self.farm = Farm(self.directory, "".join(FARM.format(site=site) for site in SITES) + BMC)
        self._undo.callback(self.farm.stop)
        self.links = self._undo.enter_context(Links(self.link_names))
        published = {site: free_port() for site in SITES}
        forwarded = {forwarder: free_port() for forwarder in FORWARDERS}
        replayed = {name: free_port() for name in (*SITES, *FORWARDERS)}
        sections = self.farm.sections.read_text("utf-8")
        self._add_servers()
        for site in SITES:
            direct = site == SITES[0] and self.servers
            at = self._to_servers(site) if direct else _at(published[site])
            own = f"probes_endpoint = {at}\nreplay_endpoint = {_at(replayed[site])}\n"
            own += f"workers = {2 if site == SITES[0] else 0}\n" + "".join(_sections(sections, site))
            self._add(site, "drivers", own)
        for name in FORWARDERS:
            ends = {link: self._lay(link, name) for link in self.link_names if name in link.split("-")}
            upstream = [
                self.links.over(link, published[site], here=ends[link][0])
                for site in SITES
                for link in [f"{site}-{name}"]
            ]
            at = self._to_servers(name) if self.servers else _at(forwarded[name], ends[f"{name}-plugins"][1])
            own = f"probes_endpoint = {_endpoints(upstream)}\nspool_dir = $state_dir/kept\nforwarder_endpoint = {at}\n"
            own += f"replay_endpoint = {_at(replayed[name], ends[f'{name}-plugins'][1])}\n"
            self._add(name, "forwarder", own)
        for plugin in PLUGINS:
            live = [self._to_plugins(name, forwarded[name]) for name in FORWARDERS]
            again = [self._to_plugins(name, replayed[name]) for name in (*FORWARDERS, *SITES)]
            at = self._to_servers("plugins") if self.servers else _endpoints(live)
            own = f"probes_endpoint = {at}\nreplay_endpoint = {_endpoints(again)}\n"
            own += f"repair_wait = {self._repair_wait}\nsigning_key_file = {self.directory}/lyon/signing.key\n"
            own += f"port = {self.api_port}\nacl_enabled = false\n" if plugin == "api" else f"port = {self.rrd_port}\n"
            self._add(plugin, plugin, own)

    def _add_servers(self) -> None:
        """Add the NATS servers: one, or a cluster that tells nobody of the others, who are reached over links only."""
        self._ports = {name: free_port() for name in self.servers}
        routes = {name: free_port() for name in self.servers}
        for name in self.servers:
            store = json.dumps(str(self.directory / name))
            text = f'server_name: {name}\nlisten: "{HERE}:{self._ports[name]}"\njetstream {{ store_dir: {store} }}\n'
            if len(self.servers) > 1:
                others = ", ".join(f'"nats://{HERE}:{routes[other]}"' for other in self.servers if other != name)
                text += f'cluster {{ name: kwapi, listen: "{HERE}:{routes[name]}", no_advertise: true, '
                text += f"routes: [{others}] }}\n"
            path = self.directory / f"{name}.conf"
            path.write_text(text, "utf-8")
            command = [needed_program("nats-server", "nats-server"), "-c", str(path)]
            self.processes[name] = Process(name, command, self.directory, {})
            self._undo.callback(self._end, self.processes[name])

    def _to_servers(self, who: str) -> str:
        """Return where the NATS servers are reached, each over a link of its own."""
        ends = {name: self._ends.get(f"{name}-{who}", (HERE, HERE))[0] for name in self.servers}
        places = [self.links.over(f"{name}-{who}", self._ports[name], here=ends[name]) for name in self.servers]
        return "nats://" + ";".join(places)

    def _make_stream(self) -> None:
        """Start the NATS servers and make their stream, as soon as they have found each other."""
        for name in self.servers:
            self.processes[name].start()
        path = self.directory / "init" / "api.conf"
        path.parent.mkdir()
        at = ";".join(f"{HERE}:{port}" for port in self._ports.values())
        path.write_text(f"[DEFAULT]\nprobes_endpoint = nats://{at}\n", "utf-8")
        command = [program(""), "nats", "init", "--config-file", str(path), "--replicas", str(len(self.servers))]
        eventually(lambda: subprocess.run(command, capture_output=True).returncode == 0, 60)

    def _lay(self, link: str, forwarder: str) -> tuple[str, str]:
        """Return the addresses at our end of a link and at that of a forwarder, over a wire if there are any."""
        if self.wires is None:
            return HERE, HERE
        self._ends[link] = ends = self.wires.lay(link, forwarder)
        return ends

    def _to_plugins(self, name: str, port: int) -> str:
        """Return where plugins reach a port of a site or a forwarder."""
        link = f"{name}-plugins"
        return self.links.over(link, port, there=self._ends.get(link, (HERE, HERE))[1])

    def _add(self, name: str, role: str, options: str) -> None:
        path = self.directory / f"{name}.conf"
        common = f"[DEFAULT]\nstate_dir = {self.directory}/{name}\nlog_level = debug\n"
        if name == SITES[1]:
            common += f"signing_key_file = {self.directory}/{SITES[0]}/signing.key\n"
        path.write_text(common + options, "utf-8")
        if role == "forwarder":
            command = [*(self.wires.inside(name) if self.wires else ()), program(role)]
        else:
            command = [sys.executable, "-m", "tests.integration.chaos_record", role, str(self.record)]
        environ = self._faketime() if name == SITES[0] else {}
        self.processes[name] = Process(name, [*command, "--config-file", str(path)], self.directory, environ)
        self._undo.callback(self._end, self.processes[name])

    def _end(self, process: Process) -> None:
        if process.is_up:
            process.kill()

    def _faketime(self) -> dict[str, str]:
        library = next((path for pattern in LIBRARIES for path in glob.glob(pattern)), None)
        return {
            "LD_PRELOAD": needed("libfaketime; apt-get install faketime", library),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, seconds: float) -> None:
        """Set the clock of lyon so many seconds off."""
        beside = self._clock.with_suffix(".new")
        beside.write_text(f"{seconds:+.3f}\n")
        beside.replace(self._clock)

    def start(self) -> None:
        """Start all, the plugins first, so that they hear what is published from the start on."""
        if self.servers:
            self._make_stream()
        for name in (SITES[0], *FORWARDERS):
            self.processes[name].start()
        eventually((self.directory / SITES[0] / "signing.key").exists)
        for name in (*PLUGINS, SITES[1]):
            self.processes[name].start()

    def get(self, path: str) -> Any:
        """Return what kwapi-api answers, None while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}{path}", timeout=5) as answer:  # noqa: S310
                return json.load(answer)
        except OSError:
            return None

    def probes(self) -> dict[str, dict[str, Any]]:
        """Return the probes of kwapi-api by id, {} while it does not answer."""
        answer = self.get("/v2/probes?limit=1000")
        return {probe["id"]: probe for probe in answer["probes"]} if answer else {}

    def topics(self) -> set[bytes]:
        """Return the topics of all wattmeters."""
        sections = "".join(path.read_text("utf-8") for site in SITES for path in [self.directory / f"{site}.conf"])
        return {f"{name}.".encode() for name in re.findall(r"^\[(.+)\]$", sections, re.M) if name != "DEFAULT"}

    def has_traceback(self, name: str) -> bool:
        """Return whether a daemon has logged a traceback."""
        return "Traceback" in self.processes[name].log_path.read_text("utf-8")

    def kill(self, name: str) -> None:
        """End a daemon as kill -9 does, and its workers with it."""
        process = self.processes[name]
        workers, pid, now = process.workers(), process.pid, time.monotonic_ns()
        process.kill()
        if name in SITES:
            self.ended |= dict.fromkeys([pid, *workers], now)

    def kill_worker(self, pid: int) -> None:
        """End a worker as kill -9 does."""
        self.ended[pid] = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)


def _at(port: int, address: str = HERE) -> str:
    return f"tcp://{address}:{port}"


def _endpoints(addresses: Sequence[str]) -> str:
    return ", ".join(f"tcp://{address}" for address in addresses)


def _sections(farm: str, site: str) -> Iterator[str]:
    """Yield the sections of a site: those of the farm and the fast ones."""
    for section in farm.split("\n[")[1:]:
        if section.startswith(f"{site}."):
            yield f"[{section}\n"
    for number in range(FASTS):
        probes = ", ".join(f"{site}-fast{number}-{place}" for place in range(FAST_PROBES))
        yield FAST.format(site=site, number=number, interval=FAST_INTERVAL, probes=probes)

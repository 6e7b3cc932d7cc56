"""Measures the pages of one kwapi-rrd: ``python -m bench.pages``.

The daemon is the real one, a process that takes from the bus what another publishes, every wattmeter once a second.
Chromium says when it has first painted the page. Then windows are open, as many browsers as that: every 5 s each asks
what the page's script asks for, the numbers of the probes on the screen, and those of their graphs that it may not keep
any longer, and once a minute for the view as a whole. What the daemon uses beyond what it uses without them is their
cost.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.api import free_port, running
from bench.processes import cpu_seconds
from kwapi.keys import make_key_file
from kwapi.plugins.rrd.pages import VIEW_AGAIN
from kwapi.plugins.rrd.pictures import CARDS, SUMMARY
from kwapi.plugins.rrd.selection import MOST
from tests.integration.browser import chromium

REFRESH = 5.0  # seconds
ON_SCREEN = 12  # graphs of probes
PAINTS = 5
SETTLE = 8.0  # seconds
PERIOD = "minute"  # whose graphs are new every second
Figures = dict[str, float]


class Window:
    """An open page, as its server sees it."""

    def __init__(self, port: int, names: list[str]) -> None:
        self.refreshes = self.answers = self.changed = 0
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._live = f"/live?{urllib.parse.urlencode([('see', name) for name in names])}"
        summary, card = SUMMARY[1], CARDS[0]
        self._graphs = {summary.address(f"/graph/{PERIOD}.png", "")}
        self._graphs |= {card.address(f"/graph/{PERIOD}/{urllib.parse.quote(name)}.png", "") for name in names}
        self._kept: dict[str, tuple[str, float]] = {}  # fingerprint, and until when it may be kept
        self._view_due = time.monotonic() + VIEW_AGAIN * random.random()  # noqa: S311 -- no secret

    def keep_open(self, delay: float) -> None:
        """Refresh every 5 s."""
        due = time.monotonic() + delay
        while True:
            time.sleep(max(due - time.monotonic(), 0))
            self.refresh()
            self.refreshes += 1
            due = max(due + REFRESH, time.monotonic())

    def refresh(self) -> None:
        """Ask for all that is new."""
        self._ask(self._live, {})
        if time.monotonic() > self._view_due:
            self._ask(f"/last/{PERIOD}/?count={MOST}", {"Accept-Encoding": "gzip"})
            self._view_due += VIEW_AGAIN
        for path in sorted(self._graphs):
            mark, fresh_until = self._kept.get(path, ("", 0.0))
            if time.monotonic() < fresh_until:
                continue
            status, headers = self._ask(path, {"If-None-Match": mark} if mark else {})
            age = int(headers["Cache-Control"].partition("max-age=")[2].split(",")[0])
            self._kept[path] = headers["ETag"], time.monotonic() + age
            self.changed += status == 200

    def _ask(self, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status not in (200, 304):
            raise RuntimeError(f"{path}: {answer.status}")
        self.answers += 1
        return answer.status, answer.headers


def look(port: int, windows: int, apart: bool) -> None:
    """Keep windows open until a signal ends it, all at the same probes or each at others; print how much they asked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    names = probes(port)
    places = [window * ON_SCREEN % len(names) if apart else 0 for window in range(windows)]
    opened = [Window(port, (names + names)[place : place + ON_SCREEN]) for place in places]
    for number, window in enumerate(opened):
        threading.Thread(target=window.keep_open, args=(number * REFRESH / windows,), daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    told = {what: sum(getattr(window, what) for window in opened) for what in ("refreshes", "answers", "changed")}
    print(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # whatever the threads wait for


def probes(port: int) -> list[str]:
    """Return the names of the first thousand probes."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/last/minute/?count=1000&view=table") as answer:  # noqa: S310
        page = answer.read().decode()
    return [line.partition('"')[0] for line in page.split('data-probe="')[1:]]


def painted(port: int, path: str, number: int) -> Figures:
    """Return when Chromium has painted a page of so many probes, and when all that it shows of them are there."""
    paints, filled, sizes = [], [], []
    with chromium() as browser:
        for _ in range(PAINTS):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(f"http://127.0.0.1:{port}{path}")
            page.locator(f".probe[data-probe] >> nth={min(number, MOST) - 1}").wait_for(state="attached")
            filled.append(page.evaluate("performance.now()"))
            paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            sizes.append(page.evaluate("performance.getEntriesByType('navigation')[0].transferSize"))
            page.close()
    return {
        "first paint, ms": statistics.median(paints),
        "up to 1000 probes there, ms": statistics.median(filled),
        "page, kB": statistics.median(sizes) / 1000,
    }


def borne(port: int, pid: int, windows: int, seconds: float, apart: bool) -> Figures:
    """Return what the daemon uses for windows that are open."""
    arguments = ["bench.pages", "--look", str(port), "--windows", str(windows), *(["--apart"] if apart else [])]
    resting = -cpu_seconds(pid)
    time.sleep(seconds)
    resting += cpu_seconds(pid)
    with running(*arguments, stdout=subprocess.PIPE) as process:
        time.sleep(2 * REFRESH)  # the first time each of them asks for everything
        used = -cpu_seconds(pid)
        time.sleep(seconds)
        used += cpu_seconds(pid)
        process.send_signal(signal.SIGTERM)
        told = json.loads(process.communicate()[0])
    return {
        "cores without them": resting / seconds,
        "cores for them": (used - resting) / seconds,
        **{what: float(value) for what, value in told.items()},
    }


def measure(wattmeters: int, outlets: int, windows: int, seconds: float) -> Figures:
    """Return the figures of one run."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_key_file(directory / "signing.key")
        (directory / "rrd.conf").write_text(
            f"[DEFAULT]\nstate_dir = {directory}\nprobes_endpoint = ipc://{directory}/bus\nport = {port}\n"
        )
        with (
            running("bench.traffic", "publish", name, str(wattmeters), str(outlets)),
            running("bench.pages", "--serve", name) as process,
        ):
            while known(port) < wattmeters * outlets:
                time.sleep(0.1)
            time.sleep(SETTLE)
            figures: Figures = {"probes": wattmeters * outlets}
            for path in ("/last/minute/", "/last/minute/?view=table"):
                figures |= {
                    f"{path}: {what}": value for what, value in painted(port, path, wattmeters * outlets).items()
                }
            for apart in (False, True):
                where = "each at other probes" if apart else "at the same probes"
                for what, value in borne(port, process.pid, windows, seconds, apart).items():
                    figures[f"{windows} windows {where}: {what}"] = value
    return figures


def known(port: int) -> int:
    """Return how many probes the daemon knows, 0 while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/live", timeout=5) as answer:  # noqa: S310
            return int(json.load(answer)["number"])
    except OSError:
        return 0


def serve(directory: Path) -> int:
    """Be the daemon."""
    from kwapi.plugins.rrd import app

    return app.main(["--config-file", str(directory / "rrd.conf")])


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wattmeters", type=int, default=25)
    parser.add_argument("--outlets", type=int, default=40)
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--look", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        sys.exit(serve(args.serve))
    if args.look:
        look(args.look, args.windows, args.apart)
        return
    figures = measure(args.wattmeters, args.outlets, args.windows, args.seconds)
    figures |= {"load average": os.getloadavg()[0], "cores": os.cpu_count() or 0}
    if args.json:
        print(json.dumps(figures, indent=2))
        return
    print("the pages of one kwapi-rrd")
    for what, value in figures.items():
        print(f"{what:80}{value:12.4g}")


if __name__ == "__main__":
    main()

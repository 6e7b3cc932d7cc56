"""Real Chromium, and the pages of kwapi-rrd over a store that a test fills, on a port of loopback."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from kwapi import service
from kwapi.plugins.rrd.pages import Settings
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.views import create_app
from tests.integration.programs import needed_program
from tests.messages import message
from tests.ports import free_port

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HISTORY = 60  # seconds


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium; Playwright gives it a profile of its own."""
    program = needed_program("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


class Served:
    """The pages of a store, served as the daemon does it."""

    def __init__(self, directory: Path, refresh: float = 5.0, zone: str = "", **given: Any) -> None:
        self.skipped = 0.0  # seconds for which nothing was measured; a slow machine makes no probe stale
        self.store = Store(directory, steady_clock=lambda: self.skipped)
        self._settings = Settings(refresh=refresh, endpoints=("tcp://127.0.0.1:5556",), zone=zone)
        self._given = given
        self._seq = 0
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._task = self._serve(port)

    def _serve(self, port: int) -> service.Task:
        pages = create_app(self.store, settings=self._settings, **self._given)
        task = service.Task("http", service.HttpServer(pages, "127.0.0.1", port, 4).run)
        task.start()
        return task

    def measure(
        self, watts: Mapping[str, float], wattmeter: str = "lyon.pdu1", levels: Sequence[str] = (), *, ago: float = 0.0
    ) -> None:
        """Report the watts of probes, now or a while ago."""
        self._seq += 1
        fields = {"level": list(levels)} if levels else {}
        self.store.add(
            message(
                wattmeter,
                seq=self._seq,
                timestamp=time.time() - ago,
                probes=list(watts),
                w=list(watts.values()),
                **fields,
            )
        )

    def fill(self, watts: Mapping[str, float], wattmeter: str = "lyon.pdu1", step: int = 2) -> None:
        """Report the same watts of a wattmeter's probes all the time for a minute."""
        for ago in range(HISTORY, -1, -step):
            self.measure(watts, wattmeter, ago=ago)

    def stop(self) -> None:
        """Serve no longer."""
        service.stop([self._task])


@contextmanager
def served(directory: Path, **given: Any) -> Iterator[Served]:
    """Serve the pages of a new store."""
    pages = Served(directory, **given)
    try:
        yield pages
    finally:
        pages.stop()

"""A real Prometheus on free ports of loopback."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.programs import needed_program
from tests.ports import free_port


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **query: str) -> Any:
        """Return what it answers, None while it does not; ValueError for what is no question."""
        address = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code in (400, 422):
                raise ValueError(f"{query}: {json.load(error)['error']}") from error
            return None
        except OSError:
            return None

    def values(self, query: str) -> dict[str | None, float]:
        """Return the values of a query now, by probe."""
        found = self.ask("query", query=query) or {"result": []}
        return {each["metric"].get("probe"): float(each["value"][1]) for each in found["result"]}


@contextmanager
def prometheus(directory: Path, configuration: str) -> Iterator[Prometheus]:
    """Run one with a configuration, whose files are in the directory."""
    program, port = needed_program("prometheus", "prometheus"), free_port()
    (directory / "prometheus.yml").write_text(configuration)
    command = [program, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    with (
        (directory / "prometheus.log").open("wb") as log,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log) as process,
    ):
        try:
            yield Prometheus(port)
        finally:
            process.terminate()

"""A real ceilometer-polling as docs/openstack.md has it, with the pollsters of etc/ceilometer.

But it polls every second, and its samples go to a file in place of a message bus.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.integration.environments import needed_environment
from tests.test_documents import code_blocks
from tests.test_layers import ROOT
from tests.waiting import eventually

POLLSTERS = ROOT / "etc" / "ceilometer" / "pollsters.d"
METERS = ("energy", "power")
POLLING, _ = code_blocks("docs/openstack.md", "yaml")
*_, CONFIGURATION = code_blocks("docs/openstack.md", "ini")
PLACES = """
[DEFAULT]
pollsters_definitions_dirs = {0}/pollsters.d
[polling]
cfg_file = {0}/polling.yaml
[publisher_notifier]
telemetry_driver = file
"""
ENTRY_POINT = "[oslo.messaging.notify.drivers]\nfile = ceilometer_notifications:File\n"
METADATA = "Metadata-Version: 2.1\nName: ceilometer-notifications\nVersion: 1\n"


class Polling:
    """ceilometer-polling as a process, which polls every second as long as the ``with`` lasts."""

    def __init__(self, directory: Path, keystone: str, files: Iterable[str], user: str, password: str) -> None:
        self._environment = needed_environment("ceilometer")
        self._directory = directory
        self._notifications = directory / "notifications"
        self._notifications.touch()
        (directory / "pollsters.d").mkdir()
        for name in files:
            shutil.copy(POLLSTERS / name, directory / "pollsters.d")
        (directory / "polling.yaml").write_text(POLLING.replace("interval: 300", "interval: 1"))
        given = {
            "http://keystone.example.org:5000": keystone,
            "rabbit://guest:guest@localhost": "fake://",
            "username = ceilometer": f"username = {user}",
            "PASSWORD": password,
        }
        configuration = CONFIGURATION
        for documented, value in given.items():
            assert documented in configuration
            configuration = configuration.replace(documented, value)
        (directory / "ceilometer.conf").write_text(configuration + PLACES.format(directory))
        installed = directory / "installed"
        (installed / "ceilometer_notifications-1.dist-info").mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("ceilometer_notifications.py"), installed)
        (installed / "ceilometer_notifications-1.dist-info" / "METADATA").write_text(METADATA)
        (installed / "ceilometer_notifications-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINT)

    def __enter__(self) -> "Polling":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        with (self._directory / "ceilometer.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._environment / "bin" / "ceilometer-polling",
                    f"--config-file={self._directory}/ceilometer.conf",
                    "--polling-namespaces=central",
                ],
                stdout=log,
                stderr=log,
                env={
                    **kept,
                    "NOTIFICATIONS": str(self._notifications),
                    "PYTHONPATH": str(self._directory / "installed"),
                    "XDG_CACHE_HOME": str(self._directory / "cache"),  # of entry points
                },
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # and its children
            self._process.wait()
            raise

    def log(self) -> str:
        """Return what it has logged."""
        return (self._directory / "ceilometer.log").read_text()

    def samples(self) -> list[dict]:
        """Return all samples so far."""
        lines = self._notifications.read_text().splitlines(keepends=True)
        messages = [json.loads(line) for line in lines if line.endswith("\n")]
        return [sample for message in messages for sample in message["payload"]["samples"]]

    def poll(self) -> dict[tuple[str, str], dict]:
        """Return the samples, by meter and probe, of the first poll of each meter that begins from now on."""
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()
        done = {meter: _polls(meter, self.log()) for meter in METERS}
        self.await_log(lambda log: all(_polls(meter, log) >= done[meter] + 2 for meter in METERS))
        samples = [sample for sample in self.samples() if sample["timestamp"] >= now]
        first: dict[str, str] = {}
        for sample in samples:
            first.setdefault(sample["counter_name"], sample["timestamp"])
        return {
            (sample["counter_name"], sample["resource_id"]): sample
            for sample in samples
            if sample["timestamp"] == first[sample["counter_name"]]
        }

    def await_log(self, condition: Callable[[str], bool]) -> None:
        """Wait until a condition holds on what it has logged; fail at once if it has ended."""

        def holds() -> bool:
            assert self._process.poll() is None, self.log()[-2000:]
            return condition(self.log())

        eventually(holds, timeout=60)


def _polls(meter: str, log: str) -> int:
    return log.count(f"Finished polling pollster {meter} ")

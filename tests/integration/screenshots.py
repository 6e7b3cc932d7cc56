"""Takes the pictures of the README: ``python -m tests.integration.screenshots DIRECTORY``.

The demonstration runs with its real daemons on free ports until its graphs are full, then Chromium opens the page: on a
desk, and on a telephone at night.
"""

import argparse
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.integration.browser import chromium
from tests.integration.daemons import DAEMONS, Site, program
from tests.ports import free_port
from tests.test_layers import ROOT
from tests.waiting import eventually

FULL = 320.0  # seconds until a graph of 5 minutes is
VIEWS: dict[str, dict[str, Any]] = {
    "page.png": {"viewport": {"width": 1400, "height": 980}},
    "phone.png": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "dark",
        "device_scale_factor": 2,
        "is_mobile": True,
    },
}


def demonstration(port: int) -> str:
    """Return the wattmeters of the demonstration, with its simulated PDU on this port."""
    text = (ROOT / "etc" / "demo" / "drivers.conf").read_text("utf-8")
    wattmeters = text[text.index("[rack1.pdu]") :]
    return re.sub(r"(?m)^port = .*", f"port = {port}", wattmeters)


def take(site: Site, directory: Path) -> None:
    """Take every picture."""
    with chromium() as browser:
        for name, options in VIEWS.items():
            context = browser.new_context(**options)
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{site.rrd_port}/last/minute/", wait_until="networkidle")
            page.wait_for_selector("#clock:not(:empty)")
            page.screenshot(path=directory / name)
            context.close()


def main() -> None:
    """Run the demonstration for a while, and take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=FULL, help="that the demonstration runs before")
    arguments = parser.parse_args()
    port = free_port(socket.SOCK_DGRAM)
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen([program("simulator"), "--port", str(port)], stdout=subprocess.PIPE) as simulator,
    ):
        try:
            with Site(Path(name), demonstration(port)) as site:
                with (Path(name) / "rrd.conf").open("a", encoding="utf-8") as conf:
                    conf.write("title = Kwapi demonstration\n")
                site.start(*DAEMONS)
                eventually(lambda: b'data-probe="web-1"' in site.page("/last/minute/"), timeout=60)
                time.sleep(arguments.seconds)
                take(site, arguments.directory)
        finally:
            simulator.terminate()


if __name__ == "__main__":
    main()

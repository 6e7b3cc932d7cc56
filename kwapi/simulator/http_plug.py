"""A plug, or a strip of them, with a page of JSON, as a Shelly of the second generation has it.

``/rpc/Shelly.GetStatus`` has one ``switch:N`` for each outlet: W, V, A, power factor, Hz, and the register in Wh with
three decimals; in ``sys`` the device's own time and for how long it has been up.

Source: Shelly Gen2 API, Shelly.GetStatus, Switch, Sys.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kwapi.simulator.device import Device, Shown
from kwapi.simulator.http_server import HttpServer, Request, Response
from kwapi.simulator.servers import Group, Served

PAGE = "/rpc/Shelly.GetStatus"
MICROJOULES_PER_MWH = 3_600_000


def switch(number: int, shown: Shown, millihertz: int) -> dict[str, Any]:
    """Return what the page says of an outlet."""
    reading = shown.reading
    apparent = reading.microvolt_amperes
    return {
        "id": number,
        "output": True,
        "apower": round(reading.milliwatts / 1000, 1),
        "voltage": round(reading.millivolts / 1000, 1),
        "current": round(reading.milliamps / 1000, 3),
        "pf": round(min(reading.milliwatts * 1000 / apparent, 1), 2) if apparent else 0,
        "freq": round(millihertz / 1000, 1),
        "aenergy": {"total": shown.microjoules // MICROJOULES_PER_MWH / 1000},
    }


def status(device: Device) -> dict[str, Any]:
    """Return the page."""
    switches = {
        f"switch:{number}": switch(number, outlet, device.millihertz) for number, outlet in enumerate(device.outlets)
    }
    return {**switches, "sys": {"unixtime": int(device.unix_time), "uptime": device.milliseconds // 1000}}


class Plug(HttpServer):
    """The plug's server."""

    def __init__(self, device: Device) -> None:
        super().__init__(self._page)
        self._device = device

    def _page(self, request: Request) -> Response:
        if request.path != PAGE:
            return Response({"code": 404, "message": f"No handler for {request.path}"}, 404)
        self._device.advance()
        return Response(status(self._device))


def plugs(served: Sequence[Served], directory: Path) -> Group:
    """Return what answers for several plugs."""
    return Group(Plug(each.device) for each in served)

"""A server's BMC with a Redfish service: HTTPS, sessions, and one chassis that tells power and energy.

EnvironmentMetrics has PowerWatts in tenths, with apparent power and power factor, and EnergykWh in thousandths. A login
makes a session, and a device has few of them: the oldest makes room. A restart forgets them all.

Source: DMTF DSP0266 (sessions, basic authentication), DSP0268 (EnvironmentMetrics).
"""

import base64
import json
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kwapi.simulator.certificate import make_certificate
from kwapi.simulator.device import Device
from kwapi.simulator.http_server import HttpServer, Request, Response
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.servers import CERTIFICATE, USER, Group, Served

MOST_SESSIONS = 8
ROOT = "/redfish/v1"
SESSIONS = f"{ROOT}/SessionService/Sessions"
CHASSIS = f"{ROOT}/Chassis"
MACHINE = f"{CHASSIS}/1"
METRICS = f"{MACHINE}/EnvironmentMetrics"


def resource(path: str, **content: Any) -> dict[str, Any]:
    """Return a resource of this address."""
    return {"@odata.id": path, "Id": path.rpartition("/")[2], "Name": path.rpartition("/")[2], **content}


def link(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def metrics(device: Device) -> dict[str, Any]:
    """Return what the chassis tells of power and energy."""
    shown = device.outlets[0]
    reading = shown.reading
    volt_amperes = reading.microvolt_amperes / 1e6
    watts = reading.milliwatts / 1000
    power = {
        "Reading": round(watts, 1),
        "ApparentVA": round(volt_amperes, 1),
        "PowerFactor": round(min(watts / volt_amperes, 1), 2) if volt_amperes else 0,
    }
    return resource(METRICS, PowerWatts=power, EnergykWh={"Reading": shown.microjoules // MICROJOULES_PER_WH / 1000})


def resources(device: Device) -> dict[str, dict[str, Any]]:
    """Return all that the service has, by address."""
    return {
        ROOT: resource(
            ROOT,
            Vendor="Kwapi",
            Product="simulated BMC",
            RedfishVersion="1.15.0",
            Chassis=link(CHASSIS),
            Links={"Sessions": link(SESSIONS)},
        ),
        CHASSIS: resource(CHASSIS, Members=[link(MACHINE)]),
        MACHINE: resource(MACHINE, ChassisType="RackMount", EnvironmentMetrics=link(METRICS)),
        METRICS: metrics(device),
    }


class Chassis(HttpServer):
    """The service of one machine."""

    def __init__(self, served: Served, tls: ssl.SSLContext) -> None:
        super().__init__(self.respond, tls)
        self._device = served.device
        self._secret = served.secret
        self._sessions: dict[str, str] = {}  # address by token, the oldest first
        self._booted_at = 0

    def respond(self, request: Request) -> Response:
        """Return the answer to a request."""
        self._device.advance()
        if self._device.booted_at != self._booted_at:
            self._booted_at = self._device.booted_at
            self._sessions.clear()
        path = request.path.rstrip("/")
        if request.method == "POST" and path == SESSIONS:
            return self._log_in(request)
        if path != ROOT and not self._knows(request):
            return failure(401, "NoValidSession")
        if request.method == "DELETE" and path in self._sessions.values():
            self._sessions = {token: at for token, at in self._sessions.items() if at != path}
            return Response({})
        if request.method != "GET":
            return failure(405, "OperationNotAllowed")
        found = resources(self._device).get(path)
        return Response(found) if found else failure(404, "ResourceMissingAtURI")

    def _log_in(self, request: Request) -> Response:
        content = json.loads(request.body)
        if not isinstance(content, dict) or content.get("UserName") != USER or content.get("Password") != self._secret:
            return failure(401, "ResourceAtUriUnauthorized")
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_hex(16)
        self._sessions[token] = place = f"{SESSIONS}/{secrets.token_hex(4)}"
        return Response(resource(place), 201, {"X-Auth-Token": token, "Location": place})

    def _knows(self, request: Request) -> bool:
        basic = base64.b64encode(f"{USER}:{self._secret}".encode()).decode()
        has_password = request.headers.get("authorization") == f"Basic {basic}"
        return has_password or request.headers.get("x-auth-token") in self._sessions


def failure(status: int, code: str) -> Response:
    """Return the answer that says so."""
    return Response({"error": {"code": f"Base.1.18.{code}", "message": code}}, status)


def chassis(served: Sequence[Served], directory: Path) -> Group:
    """Return what answers for several machines, and write the certificate that they share."""
    path = directory / CERTIFICATE
    make_certificate(path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    return Group(Chassis(each, tls) for each in served)

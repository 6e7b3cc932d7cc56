"""A Redfish service of our own over HTTPS: any dict of resources, sessions, basic authentication, faults on demand."""

import base64
import json
import ssl
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.drivers import certificates

ROOT = "/redfish/v1"
SESSIONS = f"{ROOT}/SessionService/Sessions"
USER, PASSWORD = "kwapi", "s3same open"
PATIENCE = 10  # seconds after which a connection that was forgotten is closed


def make_certificate(directory):
    """Write a certificate of 127.0.0.1 and its key; return the file with both."""
    file, _ = certificates.make_certificate(directory)
    return file


class RedfishServer(ThreadingHTTPServer):
    """Answers what stands in ``resources`` by address, a dict or a text, and notes requests in ``asked``.

    ``faults`` has, by address, what happens instead: a status, bytes that are sent as they are, "silence" or
    "trickle"; or a list of these, one for each request; or the seconds, a float, that the answer takes. ``sessions``
    are the tokens that are valid, ``handshakes`` counts connections, ``called`` has what clients take our name for.
    """

    daemon_threads = False

    def __init__(self, resources, certificate):
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources = {path.rstrip("/"): resource for path, resource in resources.items()}
        self.asked = []
        self.faults = {}
        self.sessions = {}
        self.password = PASSWORD
        self.login_status = 401  # of a login that is refused
        self.handshakes = 0
        self.called = set()
        self.closing = threading.Event()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)

    @property
    def port(self):
        return self.server_address[1]

    def process_request_thread(self, request, client_address):
        request.settimeout(PATIENCE)
        try:
            request = self.context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):  # a client that does not trust us
            request.close()
            return
        self.handshakes += 1
        super().process_request_thread(request, client_address)

    def handle_error(self, request, client_address):
        """Clients that leave in mid-answer are part of the tests."""

    def counted(self):
        """Return how often each request came since the last call."""
        asked, self.asked = self.asked, []
        return Counter(asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        """Stay quiet."""

    def do_GET(self):
        path = self._noted()
        if self._fails(path):
            return
        if path.rstrip("/") != ROOT and not self._knows_client():
            self._answer(401, {"error": {"code": "Base.1.8.NoValidSession"}})
            return
        address, _, query = path.partition("?")
        resource = self.server.resources.get(address.rstrip("/"))
        if resource is not None and query.startswith("$expand=."):
            resource = {**resource, "Members": [self.server.resources[at] for at in addresses_of(resource)]}
        self._answer(404 if resource is None else 200, resource or {"error": {"code": "Base.1.8.ResourceMissing"}})

    def do_POST(self):
        path = self._noted()
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._fails(path):
            return
        token = self.headers.get("X-Auth-Token")
        if path != SESSIONS:
            self._answer(404, {})
        elif token is not None and token not in self.server.sessions:  # as strict devices do
            self._answer(401, {})
        elif (content["UserName"], content["Password"]) != (USER, self.server.password):
            self._answer(self.server.login_status, {"error": {"code": "Base.1.8.ResourceAtUriUnauthorized"}})
        else:
            token = f"token{len(self.server.asked)}"
            place = self.server.sessions[token] = f"{SESSIONS}/{len(self.server.asked)}"
            self._answer(201, {"@odata.id": place}, {"X-Auth-Token": token, "Location": f"https://bmc.local{place}"})

    def do_DELETE(self):
        path = self._noted()
        token = self.headers.get("X-Auth-Token")
        if self._fails(path):
            return
        if self.server.sessions.get(token) != path:
            self._answer(401, {})
            return
        del self.server.sessions[token]
        self._answer(200, {})

    def _noted(self):
        self.server.called.add(self.headers["Host"])
        self.server.asked.append((self.command, self.path))
        return self.path

    def _knows_client(self):
        basic = base64.b64encode(f"{USER}:{self.server.password}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {basic}":
            return True
        return self.headers.get("X-Auth-Token") in self.server.sessions

    def _fails(self, path):
        fault = self.server.faults.get(path)
        if isinstance(fault, list):
            fault = fault.pop(0) if fault else None
        if isinstance(fault, float):
            self.server.closing.wait(fault)
            return False
        if isinstance(fault, int):
            self._answer(fault, {"error": {"code": "Base.1.8.GeneralError"}})
        elif isinstance(fault, bytes):
            self.wfile.write(fault)
            self.close_connection = True
        elif fault == "silence":
            self.server.closing.wait(PATIENCE)
            self.close_connection = True
        elif fault == "trickle":  # a byte now and then, so that no wait for a single one is long
            while not self.server.closing.wait(0.02):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Filler: "[:1])
        return fault is not None

    def _answer(self, status, content, headers=None):
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def addresses_of(collection):
    return [member["@odata.id"] for member in collection["Members"]]


@contextmanager
def serve_redfish(resources, certificate):
    """Serve these resources by address, until the end of the context."""
    server = RedfishServer(resources, certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def collection(path, members):
    """Return a collection and its members, given by name, as resources by address."""
    resources = {
        f"{path}/{name}": {"Id": name, **member, "@odata.id": f"{path}/{name}"} for name, member in members.items()
    }
    return {path: {"Members": [{"@odata.id": member} for member in resources]}, **resources}


def root(expands=False, **collections):
    """Return the root of a service, with links to these collections."""
    query = {"ProtocolFeaturesSupported": {"ExpandQuery": {"NoLinks": True, "Levels": True}}} if expands else {}
    links = {name: {"@odata.id": f"{ROOT}/{path}"} for name, path in collections.items()}
    return {ROOT: {"Links": {"Sessions": {"@odata.id": SESSIONS}}, **links, **query}}


def bmc(chassis, expands=False):
    """Return the resources of a BMC.

    ``chassis`` has by name of a chassis what is below it by name; of Sensors and PowerSupplies those by their names,
    where a power supply is its metrics, None if it has none; and Links as they are.
    """
    resources = root(expands, Chassis="Chassis")
    members = {}
    for name, parts in chassis.items():
        path = f"{ROOT}/Chassis/{name}"
        members[name] = {part: {"@odata.id": f"{path}/{part}"} for part in parts}
        for part, content in parts.items():
            if part == "Links":
                members[name]["Links"] = content
            elif part == "Sensors":
                resources |= collection(f"{path}/Sensors", content)
            elif part == "PowerSupplies":
                members[name]["PowerSubsystem"] = {"@odata.id": f"{path}/PowerSubsystem"}
                resources |= supplies(f"{path}/PowerSubsystem", content)
            else:
                resources[f"{path}/{part}"] = content
    return resources | collection(f"{ROOT}/Chassis", members)


def supplies(path, metrics):
    """Return a PowerSubsystem with power supplies that have these metrics."""
    at = {name: f"{path}/PowerSupplies/{name}/Metrics" for name, content in metrics.items() if content is not None}
    members = {name: {"Metrics": {"@odata.id": at[name]}} if name in at else {} for name in metrics}
    return {
        path: {"PowerSupplies": {"@odata.id": f"{path}/PowerSupplies"}},
        **collection(f"{path}/PowerSupplies", members),
        **{place: metrics[name] for name, place in at.items()},
    }


def rack_pdu(expands=False, metrics=None, **circuits):
    """Return the resources of rack PDU 1: its metrics, and the members of Mains, Branches and Outlets by name."""
    path = f"{ROOT}/PowerEquipment/RackPDUs"
    pdu = {kind: {"@odata.id": f"{path}/1/{kind}"} for kind in circuits}
    resources = root(expands, PowerEquipment="PowerEquipment", Chassis="Chassis")
    resources[f"{ROOT}/PowerEquipment"] = {"RackPDUs": {"@odata.id": path}}
    if metrics is not None:
        pdu["Metrics"] = {"@odata.id": f"{path}/1/Metrics"}
        resources[f"{path}/1/Metrics"] = metrics
    for kind, members in circuits.items():
        resources |= collection(f"{path}/1/{kind}", members)
    return resources | collection(path, {"1": pdu})

"""A small upsd for tests, over TCP on loopback, that misbehaves where asked to; and the driver that reads it."""

import socket
import ssl
import struct
import threading

from kwapi.drivers.nut.client import quote
from kwapi.drivers.nut.driver import Nut
from kwapi.measurement import Measurement

BEGIN = b"BEGIN LIST VAR rack\n"
RESET = b"reset"


class Cut(bytes):
    """An answer after which the server closes the connection."""


DEFAULTS = {option.dest: option.default for option in Nut.options} | {"interval": 1.0, "timeout": 3.0}
RACK = {
    "device.type": "ups",
    "ups.realpower": "504",
    "ups.power": "611",
    "output.voltage": "235.0",
    "output.current": "2.60",
    "output.powerfactor": "0.82",
    "output.frequency": "49.9",
    "outlet.1.realpower": "162",
    "outlet.2.realpower": "68",
    "outlet.10.realpower": "7",
}
WHOLE = Measurement("rack", 504.0, 611.0, 235.0, 2.6, 0.82, 49.9)


class Upsd(threading.Thread):
    """A server of one UPS. ``answers`` takes a request's place in it: bytes to send, or None to stay silent."""

    def __init__(self, variables=None, ups="rack", certificate=None):
        super().__init__(daemon=True)
        self.variables = dict(RACK if variables is None else variables)
        self.ups = ups
        self.certificate = certificate
        self.answers = {}
        self.requests = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._listener.close()

    def run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                self.serve(connection)
            except OSError:  # the client left
                connection.close()

    def serve(self, connection):
        while True:
            received = b""
            while not received.endswith(b"\n"):
                if not (part := connection.recv(4096)):
                    connection.close()
                    return
                received += part
            request = received.decode().rstrip("\n")
            self.requests.append(request)
            answer = self.answers.get(request, self.answers.get(request.split()[0], self.answer(request)))
            if answer in (b"", RESET):
                if answer:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
                return
            if answer:
                connection.sendall(answer)
            if isinstance(answer, Cut):
                connection.close()
                return
            if request == "STARTTLS" and self.certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.certificate)
                connection = context.wrap_socket(connection, server_side=True)

    def answer(self, request):
        if request == "LIST UPS":
            return f'BEGIN LIST UPS\nUPS {self.ups} "A rack"\nEND LIST UPS\n'.encode()
        if request == f"LIST VAR {self.ups}":
            lines = "".join(f"VAR {self.ups} {name} {quote(value)}\n" for name, value in self.variables.items())
            return f"BEGIN {request}\n{lines}END {request}\n".encode()
        if request.startswith("LIST VAR"):
            return b"ERR UNKNOWN-UPS\n"
        if request == "STARTTLS":
            return b"OK STARTTLS\n" if self.certificate else b"ERR FEATURE-NOT-CONFIGURED\n"
        return b"OK\n"


def make(port=1, probes=("rack",), **options):
    return Nut("lyon.rack", {**DEFAULTS, "port": port, "probes": list(probes), **options})


def read(server, probes=("rack",), **options):
    driver = make(server.port, probes, **options)
    try:
        driver.open()
        return driver.read()
    finally:
        driver.close()

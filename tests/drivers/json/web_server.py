"""A web server that does what a test says, and a driver for it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kwapi.drivers.json.http import HttpJson


class Device(ThreadingHTTPServer):
    """A web server whose handler does what the test says."""

    daemon_threads = False  # so that closing it waits for every answer

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.behave = answer_json({})
        self.requests = []
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up, as ours does at its deadline."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self)
        self.server.behave(self)

    def log_message(self, *arguments):
        """Say nothing."""


def send(handler, status, body, *headers):
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def answer_json(document):
    return lambda handler: send(handler, 200, json.dumps(document).encode())


@contextmanager
def serving(device):
    thread = threading.Thread(target=device.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield device
    finally:
        device.released.set()
        device.shutdown()
        device.server_close()
        thread.join()


DEFAULTS = {option.dest: option.default for option in HttpJson.options}
SHELLY1 = {
    "meters": [
        {"power": 81.5, "is_valid": True, "timestamp": 1, "counters": [80.1, 0, 0], "total": 6000},
        {"power": 0, "is_valid": True, "total": 0},
    ],
}
SONOFF_DUAL = {
    "StatusSNS": {
        "Time": "1970-01-01T00:00:10",
        "ENERGY": {
            "Total": [2.813, 0.254], "Power": [52, 5], "ApparentPower": [66, 10], "Factor": [0.79, 0.5],
            "Voltage": 235, "Current": [0.278, 0.044],
        },
    }
}  # fmt: skip


def driver(url, *probes, **values):
    values = {**DEFAULTS, "url": url, "probes": list(probes), "interval": 1.0, "timeout": 5.0, **values}
    return HttpJson("plug", values)


def read_once(url, *probes, **values):
    meter = driver(url, *probes, **values)
    meter.open()
    try:
        return meter.read()
    finally:
        meter.close()

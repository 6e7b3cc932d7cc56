"""A broker that says what a test says, in MQTT 3.1.1, and a driver for it."""

import json
import socket
import struct
import threading
import time
from contextlib import contextmanager

from kwapi.drivers.json.mqtt import Mqtt

CONNACK, SUBACK, PUBLISH, PINGREQ = 0x20, 0x90, 0x30, 0xC0
RETAINED = 1


def packet(kind, content):
    length, left = b"", len(content)
    while True:
        left, part = divmod(left, 128)
        length += bytes([part | (128 if left else 0)])
        if not left:
            return bytes([kind]) + length + content


def publish(topic, payload, flags=0):
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return packet(PUBLISH | flags, struct.pack(">H", len(topic)) + topic.encode() + text)


def receive(connection):
    """Return type and content of a packet of the client's, which is short."""
    kind, length = connection.recv(1), connection.recv(1)
    content = b""
    while length and len(content) < length[0] & 127:
        content += connection.recv((length[0] & 127) - len(content))
    return kind, content


def greet(connection, code=0):
    receive(connection)
    connection.sendall(packet(CONNACK, bytes([0, code])))


def subscribe(connection, code=0):
    _, content = receive(connection)
    connection.sendall(packet(SUBACK, content[:2] + bytes([code])))


class Broker:
    """A peer that says what the test says, once for each connection."""

    def __init__(self, *scripts):
        self.released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(scripts,))

    def _run(self, scripts):
        for script in scripts:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(20)
                script(self, connection)

    @contextmanager
    def running(self):
        self._thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._thread.join()
            self._listener.close()


def saying(*packets):
    """Return a script that greets, takes a subscription and sends these packets."""

    def script(broker, connection):
        greet(connection)
        subscribe(connection)
        for each in packets:
            connection.sendall(each)
        broker.released.wait(20)

    return script


DEFAULTS = {option.dest: option.default for option in Mqtt.options}
GENERIC = {"topic": "site/{device}", "w": "p W"}


def driver(*probes, port=None, clock=time.monotonic, **values):
    values = {**DEFAULTS, "host": "127.0.0.1", "port": port, "probes": list(probes), "interval": 60.0, **values}
    return Mqtt("broker", values, monotonic_clock=clock)


def first_read(*scripts, probes=("a@plug",), **values):
    with Broker(*scripts).running() as broker:
        meter = driver(*probes, port=broker.port, **values)
        try:
            meter.open()
            while not (measurements := meter.read()):
                pass
            return measurements
        finally:
            meter.close()

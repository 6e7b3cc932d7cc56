"""A subscription at an MQTT broker, 3.1.1 or 5, served by the thread that calls it.

The library's own thread is not used, nor its way of connecting again: a lost connection is an error, as with any other
device. A retained message may be of any age, so it is left out.

Source: MQTT 3.1.1, 3.2.2.3 (return codes), 3.3.1.3 (retain); MQTT 5, 3.1.2.11.4 (largest packet).
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from kwapi.drivers.base import Clock
from kwapi.drivers.names import Names, connect
from kwapi.errors import CredentialsRefused, DeviceError

PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, "5": MQTTProtocolVersion.MQTTv5}
REFUSED = ("Bad user name or password", "Not authorized", "Bad authentication method", "Banned")
MALFORMED = (MQTTException, ValueError, IndexError, KeyError, struct.error)  # what the library makes of a broken packet
KEEPALIVE = 10  # seconds; a broker that is silent for two of them is lost
MAX_BYTES = 65_536  # of a message; none that holds measurements is as long

Arrived = tuple[str, bytes]  # topic and payload


class _Client(paho.Client):
    """paho's client, which has no other place where it can be told how to connect; TLS comes after that."""

    names: Names

    def _create_socket_connection(self) -> socket.socket:
        return connect(self.names.addresses(self.host), self.port, self.connect_timeout)


class MqttClient:
    """One connection and its topics."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        version: str = "3.1.1",
        user: str = "",
        password: str = "",  # noqa: S107 -- none
        tls: ssl.SSLContext | None = None,
        client_id: str = "",
        timeout: float = 1.5,
        keepalive: int = KEEPALIVE,
        names: Names | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._host, self._port, self._version = host, port, version
        self._timeout = timeout
        self._keepalive = keepalive
        self._clock = clock
        self._where = f"{host}:{port}"
        self._answered = False
        self._refused: str | None = None
        self._arrived: list[Arrived] = []
        self._client = _Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=PROTOCOLS[version], reconnect_on_failure=False
        )
        self._client.connect_timeout = timeout
        self._client.names = names or Names()
        if user:
            self._client.username_pw_set(user, password)
        if tls:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def open(self, topics: Sequence[str]) -> None:
        """Connect, and subscribe to these topics."""
        properties = None
        if self._version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # by paho
            properties.MaximumPacketSize = MAX_BYTES
        try:
            self._client.connect(self._host, self._port, self._keepalive, properties=properties)
        except OSError as error:
            raise DeviceError(f"{self._where}: {error}") from error
        self._await("the connection")
        if topics:
            self._client.subscribe([(topic, 0) for topic in topics])
            self._await("the subscription")

    def serve(self, seconds: float) -> list[Arrived]:
        """Wait so long for a packet from the broker, and return the messages that have arrived."""
        socket = self._client.socket()
        if socket is None:
            raise DeviceError(f"{self._where} has closed the connection")
        poller = select.poll()  # of any number of descriptors, unlike the library's own loop
        poller.register(socket, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        in_tls = isinstance(socket, ssl.SSLSocket) and socket.pending()
        readable = bool(in_tls or poller.poll(seconds * 1000))
        try:
            result = self._turn(readable)
        except MALFORMED as error:
            raise DeviceError(f"{self._where} sends a malformed packet: {error!r}") from error
        if result and not self._refused:
            raise DeviceError(f"{self._where}: {paho.error_string(result)}")
        arrived, self._arrived = self._arrived, []
        return arrived

    def close(self) -> None:
        """Take leave of the broker."""
        client = self._client
        client.on_connect = client.on_subscribe = client.on_message = None  # else client and we keep each other alive
        if client.is_connected():
            client.disconnect()
        if (socket := client.socket()) is not None:
            socket.close()

    def _turn(self, readable: bool) -> MQTTErrorCode:
        result = self._client.loop_read() if readable else MQTTErrorCode.MQTT_ERR_SUCCESS
        if not result and self._client.want_write():
            result = self._client.loop_write()
        return result or self._client.loop_misc()

    def _await(self, what: str) -> None:
        """Serve the connection until the broker has agreed."""
        self._answered = False
        end = self._clock() + self._timeout
        early: list[Arrived] = []
        while not self._answered:
            if (left := end - self._clock()) <= 0:
                raise DeviceError(f"{self._where} has not confirmed {what} within {self._timeout:g} s")
            early += self.serve(left)
        self._arrived = early
        if self._refused:
            failure = CredentialsRefused if self._refused in REFUSED else DeviceError
            raise failure(f"{self._where} refuses {what}: {self._refused}")

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._answered, self._refused = True, str(reason) if reason.is_failure else None

    def _on_subscribe(self, client: Any, userdata: Any, mid: Any, reasons: Any, properties: Any) -> None:
        failures = [str(reason) for reason in reasons if reason.is_failure]
        self._answered, self._refused = True, failures[0] if failures else None

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        if not message.retain:
            self._arrived.append((message.topic, bytes(message.payload)))

import socket

import pytest

from kwapi.drivers.json.mqtt_client import MqttClient
from kwapi.errors import CredentialsRefused, DeviceError
from tests.drivers.json.broker import (
    GENERIC,
    PINGREQ,
    PUBLISH,
    SUBACK,
    Broker,
    driver,
    first_read,
    greet,
    packet,
    publish,
    receive,
    saying,
    subscribe,
)


def test_a_message_in_pieces_is_put_together():
    whole = publish("site/plug", {"p": 7, "filler": "x" * 300})

    def script(broker, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        saying(whole[:1], whole[1:2], whole[2:20], whole[20:])(broker, connection)

    assert first_read(script, **GENERIC)[0].watts == 7


def stay_silent(broker, connection):
    broker.released.wait(20)


def greet_only(broker, connection):
    greet(connection)
    broker.released.wait(20)


def refuse(code):
    return lambda broker, connection: greet(connection, code)


def refuse_subscription(broker, connection):
    greet(connection)
    subscribe(connection, 0x80)
    broker.released.wait(20)


def send_raw(raw):
    def script(broker, connection):
        receive(connection)
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        broker.released.wait(20)

    return script


def hang_up(broker, connection):
    receive(connection)


@pytest.mark.parametrize(
    "script, failure, message",
    [
        (stay_silent, DeviceError, "has not confirmed the connection within 1 s"),
        (greet_only, DeviceError, "has not confirmed the subscription within 1 s"),
        (hang_up, DeviceError, "connection was lost"),
        (refuse(4), CredentialsRefused, "refuses the connection: Bad user name or password"),
        (refuse(5), CredentialsRefused, "refuses the connection: Not authorized"),
        (refuse(1), DeviceError, "127.0.0.1"),
        (refuse(3), DeviceError, "refuses the connection: Server unavailable"),
        (refuse_subscription, DeviceError, "refuses the subscription: Unspecified error"),
        (send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), DeviceError, "127.0.0.1"),
        (send_raw(b"\x20\x00"), DeviceError, "127.0.0.1"),
        (send_raw(b"\x20\xff\xff\xff\xff\xff"), DeviceError, "127.0.0.1"),
        (send_raw(b"\xf0\x02ab"), DeviceError, "127.0.0.1"),
        (send_raw(b""), DeviceError, "connection was lost"),
    ],
)
def test_every_fault_is_the_brokers_failure_and_names_it(script, failure, message):
    with pytest.raises(failure, match=message) as raised:
        first_read(script, timeout=1.0 if "within" in message else 10.0, user="me", password="se:cret", **GENERIC)
    assert "127.0.0.1:" in str(raised.value)
    assert "se:cret" not in str(raised.value)


@pytest.mark.parametrize(
    "raw",
    [
        packet(PUBLISH, b""),
        packet(PUBLISH, b"\x00\x05ab"),
        packet(PUBLISH, b"\x00\x01\xff{}"),
        packet(PUBLISH | 6, b"\x00\x01a"),
        packet(SUBACK, b""),
        packet(0x40, b"\x00"),
        packet(0xD0, b"x"),
        packet(PINGREQ, b"x"),
        b"\x00\x00",
    ],
)
def test_a_malformed_packet_is_the_brokers_failure_or_is_passed_over(raw):
    good = publish("site/plug", {"p": 1})
    try:
        assert [each.watts for each in first_read(saying(raw + good), **GENERIC)] == [1]
    except DeviceError as error:
        assert "127.0.0.1:" in str(error)


def test_a_lost_connection_is_a_failure_and_the_next_one_measures():
    def lose(broker, connection):
        greet(connection)
        subscribe(connection)
        connection.sendall(publish("site/plug", {"p": 1})[:-2])

    with Broker(lose, saying(publish("site/plug", {"p": 2}))).running() as broker:
        meter = driver("a@plug", port=broker.port, **GENERIC)
        meter.open()
        with pytest.raises(DeviceError, match="connection was lost"):
            meter.read()
        meter.close()
        meter.open()
        assert [each.watts for each in meter.read()] == [2]
        meter.close()


def test_a_broker_that_falls_silent_is_lost():
    with Broker(saying()).running() as broker:
        client = MqttClient("127.0.0.1", broker.port, keepalive=1)
        client.open(["site/plug"])
        with pytest.raises(DeviceError, match=f"127.0.0.1:{broker.port}: The connection was lost"):
            while True:
                client.serve(0.1)
        client.close()


def test_a_closed_port_is_the_brokers_failure():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    meter = driver("a", port=port, **GENERIC)
    with pytest.raises(DeviceError, match=f"127.0.0.1:{port}: .*refused"):
        meter.open()
    meter.close()

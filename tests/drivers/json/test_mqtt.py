import json
import logging
import socket
import struct
import threading
import time
from contextlib import contextmanager

import pytest

from kwapi.drivers.json.mqtt import Mqtt, bind, merge, parse_name
from kwapi.drivers.json.mqtt_client import MqttClient
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root

DEFAULTS = {option.dest: option.default for option in Mqtt.options}
CONNACK, SUBACK, PUBLISH, PINGREQ = 0x20, 0x90, 0x30, 0xC0
RETAINED = 1


class Clock:
    """Stands still, or goes on by a step whenever it is asked."""

    def __init__(self):
        self.now = self.step = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def driver(*probes, port=None, clock=time.monotonic, **values):
    values = {**DEFAULTS, "host": "127.0.0.1", "port": port, "probes": list(probes), "interval": 60.0, **values}
    return Mqtt("broker", values, monotonic_clock=clock)


@pytest.mark.parametrize(
    "name, parts",
    [
        ("rack7", ("rack7", "rack7", "")),
        ("rack7@plug3", ("rack7", "plug3", "")),
        ("rack7@strip/left#2", ("rack7", "strip/left", "2")),
        ("rack7#1", ("rack7#1", "rack7", "1")),
    ],
)
def test_a_name_holds_device_and_channel(name, parts):
    assert parse_name(name) == parts


def test_a_topic_serves_every_probe_that_it_speaks_of():
    tables = ({"topic": "t/{device}", "w": "sum W"}, {"topic": "t/{device}", "w": "phase[*] W", "level": "phase"})
    bound = bind(["a@strip", "", "b@strip#1", "c@other"], tables)
    assert {topic: [probe for probe, _ in probes] for topic, probes in bound.items()} == {
        "t/strip": ["a", "b"],
        "t/other": ["c"],
    }
    assert [channel.readings[0].path for _, channel in bound["t/strip"]] == [("sum",), ("phase", "1")]


def test_a_device_that_only_has_numbered_channels_begins_at_0():
    assert list(bind(["a@plug"], ({"topic": "{device}/relay/*", "w": ". W"},))) == ["plug/relay/0"]


def test_quantities_that_come_apart_are_merged_and_the_newer_one_wins():
    merged = merge(
        Measurement("a", watts=1, volts=230, level="outlet"), Measurement("a", watts=2, kwh=3, level="outlet")
    )
    assert merged == Measurement("a", watts=2, volts=230, kwh=3, level="outlet")


# What a broker sends, MQTT 3.1.1: one byte of type and flags, the length in parts of 7 bits, the content.


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


GENERIC = {"topic": "site/{device}", "w": "p W"}


def test_what_is_published_is_measured():
    assert first_read(saying(publish("site/plug", {"p": 12.5})), **GENERIC) == [
        Measurement("a", watts=12.5, level="outlet")
    ]


def test_what_is_retained_is_no_measurement():
    packets = publish("site/plug", {"p": 99}, RETAINED), publish("site/plug", {"p": 1})
    assert [each.watts for each in first_read(saying(*packets), **GENERIC)] == [1]


def test_what_was_read_is_not_read_again():
    clock = Clock()
    with Broker(saying(publish("site/plug", {"p": 1}))).running() as broker:
        meter = driver("a@plug", port=broker.port, clock=clock, **GENERIC)
        meter.open()
        assert len(meter.read()) == 1
        assert meter.answered_at is not None
        clock.step = 2.0  # the waiting is over at once
        assert meter.read() == []
        meter.close()


def test_a_message_in_pieces_is_put_together():
    whole = publish("site/plug", {"p": 7, "filler": "x" * 300})

    def script(broker, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        saying(whole[:1], whole[1:2], whole[2:20], whole[20:])(broker, connection)

    assert first_read(script, **GENERIC)[0].watts == 7


def test_one_device_that_sends_nonsense_does_not_stop_the_others(caplog):
    packets = [publish("site/bad", b"<html>")] * 3 + [publish("site/plug", {"p": 4})]
    with caplog.at_level(logging.WARNING):
        measured = first_read(saying(*packets), probes=("b@bad", "a@plug"), **GENERIC)
    assert measured == [Measurement("a", watts=4, level="outlet")]
    assert [record.getMessage() for record in caplog.records] == ["broker: site/bad sends no JSON but b'<html>'"]


PROFILES = [
    (
        "tasmota",
        "a@plug",
        [("tele/plug/SENSOR", {"ENERGY": {"Total": 1.5, "Power": 24, "ApparentPower": 25, "Voltage": 237}})],
        [Measurement("a", watts=24, volt_amperes=25, volts=237, kwh=1.5)],
    ),
    (
        "tasmota",
        "a@plug#1",
        [("tele/plug/SENSOR", {"ENERGY": {"Total": [2.8, 0.2], "Power": [52, 5], "Voltage": 235}})],
        [Measurement("a", watts=5, kwh=0.2, level="phase")],
    ),
    (
        "shelly1",
        "a@shellyplug-s-1",
        [("shellies/shellyplug-s-1/relay/0/power", 81.5), ("shellies/shellyplug-s-1/relay/0/energy", 60000)],
        [Measurement("a", watts=81.5, kwh=1, level="outlet")],
    ),
    (
        "shelly1",
        "a@shellyem3-1#2",
        [
            ("shellies/shellyem3-1/emeter/2/power", -3.5),
            ("shellies/shellyem3-1/emeter/2/total", 1000),
            ("shellies/shellyem3-1/emeter/2/total_returned", 500),
        ],
        [Measurement("a", watts=0, kwh=1, level="phase"), Measurement("a@export", watts=3.5, kwh=0.5, level="phase")],
    ),
    (
        "shelly2",
        "a@rack/pdu#1",
        [("rack/pdu/status/switch:1", {"apower": 10.7, "voltage": 120.7, "current": 0.133, "aenergy": {"total": 500}})],
        [Measurement("a", watts=10.7, volts=120.7, amps=0.133, kwh=0.5, level="outlet")],
    ),
    (
        "shelly2",
        "a@pro3em",
        [
            ("pro3em/status/em:0", {"total_act_power": 495, "total_aprt_power": 520}),
            ("pro3em/status/emdata:0", {"total_act": 1000, "total_act_ret": 2000}),
        ],
        [
            Measurement("a", watts=495, volt_amperes=520, kwh=1, level="inlet"),
            Measurement("a@export", kwh=2, level="inlet"),
        ],
    ),
    (
        "shelly2",
        "a@pro3em#b",
        [("pro3em/status/em:0", {"a_act_power": 1, "b_act_power": 2, "total_act_power": 3})],
        [Measurement("a", watts=2, level="phase")],
    ),
    (
        "zigbee2mqtt",
        "a@Rack 7 links",
        [("zigbee2mqtt/Rack 7 links", {"power": 12, "energy": 1.23, "voltage": 230, "linkquality": 80})],
        [Measurement("a", watts=12, volts=230, kwh=1.23)],
    ),
    (
        "zigbee2mqtt",
        "a@strip#l2",
        [("zigbee2mqtt/strip", {"power_l1": 12, "power_l2": 13, "state_l2": "ON"})],
        [Measurement("a", watts=13, level="outlet")],
    ),
]  # fmt: skip


@pytest.mark.parametrize("profile, name, messages, measurements", PROFILES)
def test_profiles_know_topics_and_units(profile, name, messages, measurements):
    packets = b"".join(publish(*message) for message in messages)  # at once, so that they are read together
    measured = first_read(saying(packets), probes=(name,), profile=profile)
    assert measured == measurements


def test_recorded_tasmota_messages_are_read_as_written_down_by_hand():
    samples = json.loads((recordings_root() / "plugs/tasmota/samples.json").read_text("utf-8"))
    messages = [sample for sample in samples if "ENERGY" in sample["payload"]]
    for sample in messages:
        (measured,) = first_read(saying(publish("tele/plug/SENSOR", sample["payload"])), profile="tasmota")
        assert measured.watts == sample["expected"]["power_w"]
        assert measured.kwh == pytest.approx(sample["expected"]["energy_wh"] / 1000)
    assert len(messages) == 2


def test_recorded_shelly_switches_are_read_as_the_device_shows_them():
    samples = json.loads((recordings_root() / "plugs/shelly/gen2_switch_getstatus_samples.json").read_text("utf-8"))
    for sample in samples:
        measured, *_ = first_read(saying(publish("plug/status/switch:0", sample["payload"])), profile="shelly2")
        assert measured.watts == sample["expected"]["power_w"]
        assert measured.kwh == pytest.approx(sample["expected"]["energy_wh"] / 1000)
        assert (measured.volts, measured.amps) == (sample["payload"]["voltage"], sample["payload"]["current"])
    assert len(samples) == 3


def test_a_register_that_was_reset_is_told_as_it_is():
    with Broker(saying(*(publish("site/plug", {"e": each}) for each in (9, 0)))).running() as broker:
        meter = driver("a@plug", port=broker.port, topic="site/{device}", kwh="e kWh")
        meter.open()
        told = []
        while 0 not in told:
            told += [each.kwh for each in meter.read()]
        meter.close()


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
        (stay_silent, DeviceError, "has not confirmed the connection within 0.2 s"),
        (greet_only, DeviceError, "has not confirmed the subscription within 0.2 s"),
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
        first_read(script, timeout=0.2, user="me", password="se:cret", **GENERIC)
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


def test_names_are_published_without_their_devices():
    assert driver("a@plug#1", "", "b", **GENERIC).probe_names() == ["a", "b"]


@pytest.mark.parametrize(
    "probe, values, option, problem",
    [
        ("a", {"profile": "x"}, "profile", "'x' is unknown; there are generic, shelly1, shelly2, tasmota, zigbee2mqtt"),
        ("a", {"profile": "tasmota", "topic": "t"}, "topic", "is for profile = generic only"),
        ("a", {"profile": "tasmota", "kwh": "e Wh"}, "kwh", "is for profile = generic only"),
        ("a", {"w": "p W"}, "topic", "is empty"),
        ("a", {"w": "p W", "topic": "site/+/power"}, "topic", "has a wildcard"),
        ("a", {"topic": "t"}, "w", "is empty"),
        ("a", {"topic": "t", "w": "p"}, "w", "is not a path and a unit"),
        ("a@", GENERIC, "probes", "names no device"),
        ("a@x+y", GENERIC, "probes", "names no device"),
        ("a", {**GENERIC, "password": "x"}, "user", "is empty"),
        ("a", {**GENERIC, "ca_file": "x"}, "ca_file", "is for tls = true only"),
    ],
)
def test_mistakes_of_the_options_are_told(probe, values, option, problem):
    ((told, what),) = driver(probe, **values).problems()
    assert told == option
    assert problem in what


@pytest.mark.parametrize("values", [GENERIC, {"profile": "shelly2", "user": "me", "password": "x", "tls": True}])
def test_sound_options_have_no_problem(values):
    assert list(driver("a@plug#2", "", "b", **values).problems()) == []

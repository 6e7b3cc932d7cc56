"""Devices that publish what they measure to an MQTT broker, read by profile (profile.py) or by topic and path of
the configuration (channel.py).

One section is one broker with any number of devices. ``id@device`` in ``probes`` names a device as the broker knows it,
``id@device#channel`` one of its channels as the device counts them; without @ the device has the name of the probe.

What arrives is passed on at once and only once: read() waits for a message, and takes along those that came with it.
"""

import logging
from collections.abc import Iterator, Sequence

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.json import profile as profiles
from kwapi.drivers.json.channel import Channel, Table, is_numbered, measure, parse_document, parse_table
from kwapi.drivers.json.mqtt_client import MAX_BYTES, PROTOCOLS, Arrived, MqttClient
from kwapi.drivers.json.options import GENERIC, LINES, lines_of, profile_problems
from kwapi.drivers.network import tls_context
from kwapi.drivers.profiles import PROFILE_DIR
from kwapi.errors import DeviceError
from kwapi.measurement import QUANTITIES, Measurement
from kwapi.option_types import ReadableFile

LOG = logging.getLogger(__name__)
PORT, TLS_PORT = 1883, 8883
WAIT = 1.0  # seconds that read() waits for a message, so that the worker can be stopped
MAX_MESSAGES = 1000  # taken by one read()

Bound = dict[str, list[tuple[str, Channel]]]  # probes and what they measure, by topic


def parse_name(name: str) -> tuple[str, str, str]:
    """Return id, device and channel, "" for the device itself, of a name in ``probes``."""
    probe, at, place = name.partition("@")
    device, _, channel = (place if at else probe).partition("#")
    return probe, device, channel


def choose_tables(tables: Sequence[Table], channel: str) -> tuple[list[Table], str]:
    """Return the tables that describe a channel and its number; a device that only has numbered ones begins at 0."""
    if not channel and (plain := [table for table in tables if not is_numbered(table)]):
        return plain, ""
    return [table for table in tables if is_numbered(table)], channel or "0"


def bind(names: Sequence[str], tables: Sequence[Table]) -> Bound:
    """Return what each topic says of which probe."""
    bound: Bound = {}
    for probe, device, channel in map(parse_name, filter(None, names)):
        chosen, number = choose_tables(tables, channel)
        for table in chosen:
            topic = table["topic"].replace("*", number).replace("{device}", device)
            bound.setdefault(topic, []).append((probe, parse_table(table, number)))
    return bound


def merge(older: Measurement | None, newer: Measurement) -> Measurement:
    """Return the newer measurement with what only the older one knows."""
    if older is None:
        return newer
    known = {name: value for _, name in QUANTITIES if (value := getattr(newer, name)) is not None}
    return older._replace(**known)


class Mqtt(Driver):
    options = (
        cfg.HostAddressOpt("host", required=True, help="Name or address of the broker."),
        cfg.PortOpt("port", min=1, help=f"TCP port of the broker; without it {PORT}, or {TLS_PORT} with tls."),
        cfg.StrOpt("version", default="3.1.1", choices=list(PROTOCOLS), help="Version of MQTT."),
        cfg.StrOpt("user", default="", help="User of the broker; needs no more than the right to subscribe."),
        cfg.StrOpt("password", default="", secret=True, help="Password of the user."),
        cfg.BoolOpt("tls", default=False, help="Encrypt, and check the broker's certificate."),
        cfg.Opt(
            "ca_file", type=ReadableFile(), help="tls: file with the certificates to trust, instead of the system's."
        ),
        cfg.StrOpt("client_id", default="", help="What the broker shall call us; it chooses a name if empty."),
        cfg.FloatOpt(
            "timeout", default=1.5, min=0.1, max=2.0, help="Seconds for each step: connect, sign in, subscribe."
        ),
        cfg.StrOpt(
            "profile",
            default=GENERIC,
            help="Device family: tasmota, shelly1, shelly2, zigbee2mqtt; or generic. The interval of the section is to "
            "be the longest time between two messages of a device.",
        ),
        PROFILE_DIR,
        cfg.StrOpt("topic", help="generic: topic with {device}, and * for a channel, such as site/{device}/power/*"),
        *LINES,
    )
    paced = True

    host: str
    port: int | None
    version: str
    user: str
    password: str
    tls: bool
    ca_file: str | None
    client_id: str
    timeout: float
    profile: str
    profile_dir: str
    topic: str | None
    level: str

    _client: MqttClient | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if self.password and not self.user:
            yield "user", "is empty, and there is a password"
        if self.ca_file and not self.tls:
            yield "ca_file", "is for tls = true only"
        for name in filter(None, self.probes):
            _, device, channel = parse_name(name)
            if not device or set(device + channel) & set("+#*{}"):
                yield "probes", f"{name!r} names no device, such as rack7@plug3 or rack7@strip1#2"
        yield from profile_problems(self, "mqtt", self.profile, self.profile_dir)
        yield from self._topic_problems()

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order: names without devices, and without the places that are skipped."""
        return [parse_name(name)[0] for name in self.probes if name]

    def open(self) -> None:
        """Connect to the broker and subscribe to every topic."""
        self._bound = bind(self.probes, self._tables())
        self._waiting: dict[str, Measurement] = {}  # by probe
        self._odd_topics: set[str] = set()
        self._client = MqttClient(
            self.host,
            self.port or (TLS_PORT if self.tls else PORT),
            version=self.version,
            user=self.user,
            password=self.password,
            tls=tls_context(self.ca_file) if self.tls else None,
            client_id=self.client_id,
            timeout=self.timeout,
            names=self.names,
            clock=self.monotonic_clock,
        )
        self._client.open(list(self._bound))

    def read(self) -> list[Measurement]:
        """Return what has arrived since the last time, after waiting a while for something."""
        assert self._client is not None  # noqa: S101 -- after open()
        end = self.monotonic_clock() + WAIT
        while not self._waiting and (left := end - self.monotonic_clock()) > 0:
            self._take(self._client.serve(left))
        for _ in range(MAX_MESSAGES):
            if not (arrived := self._client.serve(0)):
                break
            self._take(arrived)
        measurements, self._waiting = list(self._waiting.values()), {}
        return measurements

    def close(self) -> None:
        """Take leave of the broker."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _take(self, arrived: Sequence[Arrived]) -> None:
        for topic, payload in arrived:
            for measurement in self._measure(topic, payload):
                self._waiting[measurement.probe] = merge(self._waiting.get(measurement.probe), measurement)
                self.mark_answer()

    def _measure(self, topic: str, payload: bytes) -> Iterator[Measurement]:
        try:
            if len(payload) > MAX_BYTES:
                raise DeviceError(f"{topic} sends {len(payload)} bytes")
            document = parse_document(payload, topic)
        except DeviceError as error:  # of one device; the others behind this broker go on
            if topic not in self._odd_topics:
                LOG.warning("%s: %s", self.wattmeter, error)
            self._odd_topics.add(topic)
            return
        self._odd_topics.discard(topic)
        for probe, channel in self._bound.get(topic, ()):
            yield from measure(probe, channel, document)

    def _tables(self) -> Sequence[Table]:
        if self.profile != GENERIC:
            return profiles.load("mqtt", self.profile_dir)[self.profile].channel
        return ({**lines_of(self), "topic": self.topic or "", "level": self.level},)

    def _topic_problems(self) -> Iterator[tuple[str, str]]:
        if self.profile != GENERIC:
            if self.topic:
                yield "topic", "is for profile = generic only"
        elif not self.topic:
            yield "topic", "is empty, and profile = generic needs one"
        elif set(self.topic) & set("+#"):
            yield "topic", f"{self.topic!r} has a wildcard; {{device}} and * stand for what differs"

import json
import logging

import pytest

from kwapi.drivers.json.mqtt import bind, merge, parse_name
from kwapi.measurement import Measurement
from tests.drivers.json.broker import GENERIC, RETAINED, Broker, driver, first_read, publish, saying
from tests.drivers.recordings import recordings_root


class Clock:
    """Stands still, or goes on by a step whenever it is asked."""

    def __init__(self):
        self.now = self.step = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


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

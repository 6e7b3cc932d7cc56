import json

import pytest

from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.json.web_server import SHELLY1, SONOFF_DUAL, answer_json, driver, read_once
from tests.drivers.recordings import recordings_root

SHELLY_3EM = {
    "emeters": [
        {"power": 51.1, "pf": 0.27, "current": 0.78, "voltage": 234.9, "total": 1686.2, "total_returned": 42},
        {"power": -155, "pf": -0.98, "current": 0.66, "voltage": 235.6, "total": 878.9, "total_returned": 4.1},
        {"power": 6.7, "is_valid": False, "total": 206.1, "total_returned": 0},
    ],
    "total_power": -97.2,
}


SHELLY_PRO_3EM = {
    "em:0": {
        "a_act_power": 485, "a_aprt_power": 490, "a_voltage": 230, "a_current": 2.1, "a_pf": 0.99, "a_freq": 50,
        "b_act_power": 20, "c_act_power": -10, "total_act_power": 495, "total_aprt_power": 520,
    },
    "emdata:0": {
        "a_total_act_energy": 100.5, "a_total_act_ret_energy": 0, "b_total_act_energy": 0, "b_total_act_ret_energy": 0,
        "c_total_act_energy": 0, "c_total_act_ret_energy": 7000, "total_act": 100.5, "total_act_ret": 7000,
    },
    "sys": {"uptime": 12},
}  # fmt: skip


SHELLY_PRO_EM = {
    "em1:0": {"id": 0, "current": 0.02, "voltage": 224.6, "act_power": 0.0, "aprt_power": 4.6, "pf": 0.0, "freq": 50.0},
    "em1data:0": {"id": 0, "total_act_energy": 6644.9, "total_act_ret_energy": 2595.26},
    "pm1:0": {"id": 0, "voltage": 230.0, "current": 0.1, "apower": 23.0, "freq": 50.1, "aenergy": {"total": 5.0}},
    "switch:0": {"id": 0, "output": True, "temperature": {"tC": 29.4}},
}


@pytest.mark.parametrize(
    "profile, page, document, measurements",
    [
        (
            "shelly1",
            "/status",
            SHELLY1,
            [
                Measurement("a", watts=81.5, kwh=0.1, level="outlet"),
                Measurement("b", watts=0, kwh=0, level="outlet"),
            ],
        ),
        (
            "shelly1",
            "/status",
            SHELLY_3EM,
            [
                Measurement("a", watts=51.1, volts=234.9, amps=0.78, power_factor=0.27, kwh=1.6862, level="phase"),
                Measurement("a@export", watts=0, kwh=0.042, level="phase"),
                Measurement("b", watts=0, volts=235.6, amps=0.66, power_factor=-0.98, kwh=0.8789, level="phase"),
                Measurement("b@export", watts=155, kwh=0.0041, level="phase"),
            ],
        ),
        (
            "shelly2",
            "/rpc/Shelly.GetStatus",
            SHELLY_PRO_3EM,
            [
                Measurement("a", watts=495, volt_amperes=520, kwh=0.1005, level="inlet"),
                Measurement("a@export", watts=0, kwh=7, level="inlet"),
                Measurement(
                    "b",
                    watts=485,
                    volt_amperes=490,
                    volts=230,
                    amps=2.1,
                    power_factor=0.99,
                    hertz=50,
                    kwh=0.1005,
                    level="phase",
                ),
                Measurement("b@export", watts=0, kwh=0, level="phase"),
                Measurement("c", watts=20, kwh=0, level="phase"),
                Measurement("c@export", watts=0, kwh=0, level="phase"),
                Measurement("d", watts=0, kwh=0, level="phase"),
                Measurement("d@export", watts=10, kwh=7, level="phase"),
            ],
        ),
        (
            "shelly2",
            "/rpc/Shelly.GetStatus",
            SHELLY_PRO_EM,
            [
                Measurement("a", watts=23, volts=230, amps=0.1, hertz=50.1, kwh=0.005, level="outlet"),
                Measurement(
                    "b",
                    watts=0,
                    volt_amperes=4.6,
                    volts=224.6,
                    amps=0.02,
                    power_factor=0,
                    hertz=50,
                    kwh=6.6449,
                    level="outlet",
                ),
                Measurement("b@export", watts=0, kwh=2.59526, level="outlet"),
            ],
        ),
        (
            "tasmota",
            "/cm?cmnd=Status%208",
            SONOFF_DUAL,
            [
                Measurement("a", watts=57, volt_amperes=76, volts=235, kwh=3.067),
                Measurement("b", watts=52, volt_amperes=66, amps=0.278, power_factor=0.79, kwh=2.813, level="phase"),
                Measurement("c", watts=5, volt_amperes=10, amps=0.044, power_factor=0.5, kwh=0.254, level="phase"),
            ],
        ),
    ],
)
def test_channels_become_probes_in_order(device, profile, page, document, measurements):
    device.behave = answer_json(document)
    probes = dict.fromkeys(measurement.probe.partition("@")[0] for measurement in measurements)
    read = read_once(device.url, *probes, profile=profile)
    assert [request.path for request in device.requests] == [page, page]
    assert read == [approximately(measurement) for measurement in measurements]


class approximately:  # noqa: N801 -- reads as a word, as pytest.approx does
    """Equals a measurement whose numbers are equal but for rounding."""

    def __init__(self, expected):
        self.expected = {name: getattr(expected, name) for name in Measurement.__slots__}

    def __eq__(self, measured):
        return all(
            getattr(measured, name) == (pytest.approx(value) if isinstance(value, float) else value)
            for name, value in self.expected.items()
        )

    def __repr__(self):
        return repr(self.expected)


def test_an_empty_name_skips_a_channel(device):
    device.behave = answer_json(SHELLY1)
    assert [each.probe for each in read_once(device.url, "", "b", profile="shelly1")] == ["b"]


def test_more_names_than_channels_are_an_error_that_counts_them(device):
    device.behave = answer_json(SHELLY1)
    with pytest.raises(DeviceError, match="has 2 channels with power for 3 names"):
        read_once(device.url, "a", "b", "c", profile="shelly1")


def test_a_channel_that_vanishes_does_not_shift_the_others(device):
    device.behave = answer_json({"switch:0": {"apower": 1}, "switch:1": {"apower": 2}})
    meter = driver(device.url, "a", "b", profile="shelly2")
    meter.open()
    device.behave = answer_json({"switch:1": {"apower": 3}})
    assert meter.read() == [Measurement("b", watts=3, level="outlet")]
    device.behave = answer_json({})
    with pytest.raises(DeviceError, match="without a usable value"):
        meter.read()
    meter.close()


def test_paths_of_the_configuration_read_any_device(device):
    device.behave = answer_json({"sensors": [{"p": 120, "e": 3600}, {"p": "7.5", "e": 0}]})
    read = read_once(f"{device.url}/api?all=1", "a", "b", w="sensors[*].p W", kwh="sensors[*].e J", level="bank")
    assert device.requests[0].path == "/api?all=1"
    assert read == [
        approximately(Measurement("a", watts=120, kwh=0.001, level="bank")),
        approximately(Measurement("b", watts=7.5, kwh=0, level="bank")),
    ]


def recorded(folder):
    return sorted((recordings_root() / "plugs" / folder).glob("*.json"))


def test_recorded_shelly_switches_are_read_as_the_device_shows_them(device):
    samples = json.loads((recordings_root() / "plugs/shelly/gen2_switch_getstatus_samples.json").read_text("utf-8"))
    for sample in samples:
        device.behave = answer_json({"switch:0": sample["payload"]})
        measured = read_once(device.url, "a", profile="shelly2")[0]
        assert measured.watts == sample["expected"]["power_w"]
        assert measured.kwh == pytest.approx(sample["expected"]["energy_wh"] / 1000)
        assert (measured.volts, measured.amps) == (sample["payload"]["voltage"], sample["payload"]["current"])
    assert len(samples) == 3


def test_recorded_shelly_devices_have_as_many_channels_as_metered_switches(device):
    metered = {}
    for file in recorded("shelly"):
        recording = json.loads(file.read_text("utf-8"))
        if "status" not in recording:
            continue
        status = recording["status"]
        switches = [entry for name, entry in status.items() if name.startswith("switch:") and "apower" in entry]
        metered[recording["shelly"]["app"]] = len(switches)
        device.behave = answer_json(status)
        names = [f"p{number}" for number, _ in enumerate(switches)]
        if not names:
            with pytest.raises(DeviceError, match="has 0 channels"):
                read_once(device.url, "p0", profile="shelly2")
            continue
        for measured, switch in zip(read_once(device.url, *names, profile="shelly2"), switches, strict=True):
            assert measured.watts == switch["apower"]
            assert measured.volts == switch["voltage"]
            assert measured.kwh == pytest.approx(switch["aenergy"]["total"] / 1000)
    assert metered == {"BluGw": 0, "Plus1PM": 1, "PlusPlugIT": 1, "Pro3": 0, "Pro4PM": 4}


def test_recorded_tasmota_answers_are_read_as_written_down_by_hand(device):
    samples = json.loads((recordings_root() / "plugs/tasmota/samples.json").read_text("utf-8"))
    for sample in samples:
        payload = sample["payload"]
        device.behave = answer_json(payload if "StatusSNS" in payload else {"StatusSNS": payload})
        (measured,) = read_once(device.url, "a", profile="tasmota")
        assert measured.watts == sample["expected"]["power_w"]
        assert measured.kwh == pytest.approx(sample["expected"]["energy_wh"] / 1000)
        assert measured.level == "device"
    assert len(samples) == 3


@pytest.mark.parametrize(
    "values, option, problem",
    [
        ({"profile": "shelly9"}, "profile", "'shelly9' is unknown; there are generic, shelly1, shelly2, tasmota"),
        ({"profile": "shelly1", "w": "power W"}, "w", "is for profile = generic only"),
        ({}, "w", "is empty"),
        ({"kwh": "total"}, "kwh", "is not a path and a unit"),
        ({"w": "power VA"}, "w", "is no unit"),
        ({"w": "a W", "password": "x"}, "user", "is empty"),
        ({"w": "a W", "verify": False, "ca_file": "/etc/ca.pem"}, "ca_file", "is of no use with verify = false"),
        ({"w": "a W", "url": "http://admin:secret@plug1"}, "url", "holds a user or a password"),
        ({"w": "a W", "url": "http:///status"}, "url", "names no host"),
        ({"w": "a W", "url": "http://plug1:port"}, "url", "Invalid port"),
    ],
)
def test_mistakes_of_the_options_are_told(values, option, problem):
    ((told, what),) = driver(values.pop("url", "http://plug1"), "a", **values).problems()
    assert told == option
    assert problem in what
    assert "secret" not in what


@pytest.mark.parametrize("values", [{"profile": "tasmota"}, {"w": "[*].power 0.1 W"}, {"kwh": "e Wh", "user": "me"}])
def test_sound_options_have_no_problem(values):
    assert list(driver("http://plug1:8080", "a", **values).problems()) == []

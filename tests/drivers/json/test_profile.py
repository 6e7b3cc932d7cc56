import pytest

from kwapi.drivers.json.channel import parse_table
from kwapi.drivers.json.profile import load
from kwapi.errors import ConfigError

GOOD = """
[plug]
title = "A plug"
source = "its manual"
[[plug.channel]]
w = "power W"
"""


def test_ours_are_sound():
    assert {"shelly1", "shelly2", "tasmota"} <= set(load("http"))
    assert {"shelly1", "shelly2", "tasmota", "zigbee2mqtt"} <= set(load("mqtt"))


def test_those_of_mqtt_have_a_topic_of_the_device_in_every_channel():
    for profile in load("mqtt").values():
        assert all("{device}" in table["topic"] for table in profile.channel)


def test_a_profile_is_read(tmp_path):
    (tmp_path / "http").mkdir()
    (tmp_path / "http" / "good.toml").write_text(GOOD + 'level = "inlet"\nvalid = "ok"\n')
    profile = load("http", tmp_path)["plug"]
    assert (profile.title, profile.page, profile.auth, profile.refused) == ("A plug", "/", "basic", None)
    assert [parse_table(table).level for table in profile.channel] == ["inlet"]


@pytest.mark.parametrize(
    "text, mistake",
    [
        ("x = 1\n", r"\[x\] must be a table"),
        ("[x", "bad.toml: "),
        ('[x]\ntitle = "t"\n', r"\[x\] lacks source"),
        (GOOD.replace("[[plug.channel]]\n", "").replace('w = "power W"', 'channel = "w"'), "must be a list of tables"),
        (GOOD.replace("[[", 'auth = "none"\n[['), "auth: 'none' is none of basic, digest, query"),
        (GOOD.replace("[[", 'refused = "a..b"\n[['), "refused: 'a..b' is no path"),
        (GOOD.replace("[[", "page = 7\n[["), "page: 7 is no text"),
        (GOOD.replace("[[", 'pages = "/"\n[['), "pages: unknown key"),
        (GOOD.replace("power W", "power VA"), "channel 1: 'VA' is no unit of w"),
        (GOOD.replace('w = "power W"', "w = 3"), "channel 1: w: 3 is no text"),
        (GOOD + 'watts = "power W"\n', "channel 1: watts: unknown key"),
        (GOOD + GOOD.replace("plug", "PLUG").replace('"power W"', '""'), "is not a path and a unit"),
    ],
)
def test_a_mistake_in_a_profile_is_told_with_its_place(tmp_path, text, mistake):
    (tmp_path / "http").mkdir()
    (tmp_path / "http" / "bad.toml").write_text(text)
    with pytest.raises(ConfigError, match=mistake):
        load("http", tmp_path)


def test_one_name_stands_in_one_file(tmp_path):
    (tmp_path / "http").mkdir()
    (tmp_path / "http" / "a.toml").write_text(GOOD)
    (tmp_path / "http" / "b.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"b.toml: \[plug\]: there is a profile of this name already"):
        load("http", tmp_path)

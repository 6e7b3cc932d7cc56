import os
import time

import pytest

from kwapi.config import load
from kwapi.errors import ConfigError
from kwapi.plugins.rrd.app import problems, tariff_of, zone_of

SUMMER_MORNING, SUMMER_NIGHT = 1_781_071_200, 1_781_125_200  # 8:00 and 23:00 in Paris


@pytest.fixture
def configured(tmp_path):
    """Return a function that reads options of rrd.conf; the time zone stays as it was."""
    before = os.environ.get("TZ")

    def read(text):
        path = tmp_path / "rrd.conf"
        path.write_text(f"[DEFAULT]\n{text}\n")
        return load("rrd", [path], problems)

    yield read
    if before is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = before
    time.tzset()


def test_a_tariff_is_read_and_its_times_are_those_of_the_zone(configured):
    tariff = tariff_of(configured("tariff = 06:00 0.25, 22:00 0.15\ntimezone = Europe/Paris"))
    assert (tariff.price(SUMMER_MORNING), tariff.price(SUMMER_NIGHT)) == (0.25, 0.15)
    assert time.localtime(SUMMER_MORNING).tm_hour == 8


def test_the_zone_of_the_graphs_is_named_unless_this_machine_has_no_name_for_it(configured, tmp_path):
    conf, link, copy = configured(""), tmp_path / "localtime", tmp_path / "copy"
    os.environ.pop("TZ", None)
    assert zone_of(conf, link) == "UTC"  # as the C library takes it where there is none
    place = tmp_path / "zoneinfo" / "Europe" / "Paris"
    place.parent.mkdir(parents=True)
    place.touch()
    copy.touch()
    link.symlink_to(place)
    assert (zone_of(conf, link), zone_of(conf, copy)) == ("Europe/Paris", "")
    for told, zone in ((":Asia/Tokyo", "Asia/Tokyo"), ("", "UTC"), ("CET-1CEST", "CET-1CEST")):
        os.environ["TZ"] = told
        assert zone_of(conf, link) == zone
    assert zone_of(configured("timezone = America/Lima"), link) == "America/Lima"


def test_without_a_tariff_there_is_one_price_and_without_that_no_cost(configured):
    assert tariff_of(configured("kwh_price = 0.3")).price(0) == 0.3
    assert tariff_of(configured("kwh_price = 0")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tariff = 6:00 0.25", "'6:00 0.25' is no time of the day with a price, such as 22:00 0.15"),
        ("tariff = 24:00 0.25", "is no time of the day"),
        ("tariff = 06:00 -0.25", "is no time of the day"),
        ("tariff = 0.25", "is no time of the day"),
        ("tariff = 06:00 0.25, 22:00 0.1, 06:00 0.3", "06:00 stands twice"),
        ("timezone = Europe/Lutetia", "'Europe/Lutetia' is no time zone that this machine knows"),
        ("timezone = ../../../etc/passwd", "is no time zone"),
        ("timezone = /etc/passwd", "is no time zone"),
    ],
)
def test_mistakes_in_the_tariff_are_said(configured, text, words):
    with pytest.raises(ConfigError) as caught:
        configured(text)
    assert words in str(caught.value) and "rrd.conf:2: [DEFAULT] t" in str(caught.value)

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from kwapi.tariff import Tariff

PARIS = ZoneInfo("Europe/Paris")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # sets its clock by half an hour
DAY_AND_NIGHT = ((6 * 3600, 0.25), (22 * 3600, 0.15))
HOUR = 3600


def at(*parts, zone=PARIS, fold=0):
    return int(datetime(*parts, tzinfo=zone, fold=fold).timestamp())


def seconds_by_price(tariff, start, end):
    held = {}
    for begin, until, price in tariff.spans(start, end):
        held[price] = held.get(price, 0) + until - begin
    return held


def by_the_clock(tariff, start, step, rows, every=60):
    """Return the mean price of each row, asking for the price every so many seconds."""
    asked = [
        [tariff.price(row + offset) for offset in range(0, step, every)]
        for row in range(start, start + rows * step, step)
    ]
    return [sum(prices) / len(prices) for prices in asked]


def test_a_price_holds_from_its_time_on_over_midnight_too():
    tariff = Tariff(DAY_AND_NIGHT, PARIS)
    hours = {(5, 59): 0.15, (6, 0): 0.25, (21, 59): 0.25, (22, 0): 0.15, (0, 0): 0.15}
    assert {time: tariff.price(at(2026, 6, 10, *time)) for time in hours} == hours


def test_one_price_holds_always():
    tariff = Tariff([(7 * HOUR, 0.2)], PARIS)
    assert list(tariff.spans(1000, 10**9)) == [(1000, 10**9, 0.2)]
    assert tariff.means(900, 900, 3) == pytest.approx([0.2] * 3)


def test_any_number_of_prices_in_any_order():
    tariff = Tariff([(22 * HOUR, 0.15), (0, 0.1), (6 * HOUR, 0.25), (18 * HOUR, 0.4)], PARIS)
    start = at(2026, 6, 10)
    assert seconds_by_price(tariff, start, start + 24 * HOUR) == {
        0.1: 6 * HOUR, 0.25: 12 * HOUR, 0.4: 4 * HOUR, 0.15: 2 * HOUR,
    }  # fmt: skip


@pytest.mark.parametrize(("day", "night"), [((2026, 3, 29), 7), ((2026, 10, 25), 9), ((2026, 6, 10), 8)])
def test_the_night_in_which_the_clock_is_set_has_an_hour_less_or_more(day, night):
    tariff = Tariff(DAY_AND_NIGHT, PARIS)
    morning = at(*day, 12)
    evening = at(day[0], day[1], day[2] - 1, 12)
    assert seconds_by_price(tariff, evening, morning) == {0.25: 16 * HOUR, 0.15: night * HOUR}


def test_a_price_whose_time_is_skipped_holds_when_the_clock_is_set_forward():
    tariff = Tariff([(0, 0.1), (2 * HOUR + 1800, 0.2), (4 * HOUR, 0.3)], PARIS)
    midnight = at(2026, 3, 29)
    spans = [
        (begin - midnight, end - midnight, price) for begin, end, price in tariff.spans(midnight, midnight + 4 * HOUR)
    ]
    assert [spans[0][0], *(one for one in spans if one[2] == 0.2)] == [0, (2 * HOUR, 3 * HOUR, 0.2)]
    assert tariff.price(midnight + 2 * HOUR - 1) == 0.1


def test_an_hour_that_comes_twice_has_its_prices_twice():
    tariff = Tariff([(0, 0.1), (2 * HOUR + 1800, 0.2)], PARIS)
    midnight = at(2026, 10, 25)
    assert seconds_by_price(tariff, midnight, at(2026, 10, 26)) == {0.1: 3 * HOUR, 0.2: 22 * HOUR}
    assert tariff.price(at(2026, 10, 25, 2, 45, fold=0)) == 0.2
    assert tariff.price(at(2026, 10, 25, 2, 15, fold=1)) == 0.1
    assert tariff.price(at(2026, 10, 25, 2, 45, fold=1)) == 0.2


@pytest.mark.parametrize("zone", [PARIS, LORD_HOWE, ZoneInfo("UTC"), ZoneInfo("America/New_York")])
@pytest.mark.parametrize("step", [900, 2 * HOUR, 6 * HOUR])
def test_a_row_that_spans_a_change_has_the_mean_weighted_by_time(zone, step):
    tariff = Tariff([(0, 0.1), (5 * HOUR + 600, 0.25), (22 * HOUR + 60, 0.15)], zone)
    for day in ((2026, 3, 8), (2026, 3, 29), (2026, 4, 5), (2026, 10, 4), (2026, 10, 25), (2026, 11, 1)):
        start = at(*day, zone=zone) // step * step - step
        rows = 30 * HOUR // step
        assert tariff.means(start, step, rows) == pytest.approx(by_the_clock(tariff, start, step, rows))


def test_a_year_of_weeks_costs_what_its_hours_do():
    tariff = Tariff(DAY_AND_NIGHT, PARIS)
    start, week = 1_767_571_200, 7 * 24 * HOUR
    held = seconds_by_price(tariff, start, start + 52 * week)
    assert sum(held.values()) == 52 * week
    assert sum(tariff.means(start, week, 52)) * week == pytest.approx(sum(price * long for price, long in held.items()))
    assert held[0.25] == 364 * 16 * HOUR


def test_the_machines_own_zone_is_the_default():
    local = datetime(2026, 6, 10, 23).astimezone()
    assert Tariff(DAY_AND_NIGHT).price(local.timestamp()) == 0.15


@pytest.mark.parametrize("zone", ["America/Havana", "Africa/Casablanca", "Antarctica/Troll"])
def test_each_row_of_a_year_has_the_price_of_the_clock_on_the_wall(zone):
    """Clocks that are set at midnight, four times a year and by two hours."""
    tariff = Tariff([(0, 0.1), (1800, 0.3), (5 * HOUR + 900, 0.2), (23 * HOUR + 1800, 0.5)], ZoneInfo(zone))
    start, rows = at(2026, 1, 1, zone=ZoneInfo("UTC")), 365 * 96
    assert tariff.means(start, 900, rows) == pytest.approx(by_the_clock(tariff, start, 900, rows, every=900))

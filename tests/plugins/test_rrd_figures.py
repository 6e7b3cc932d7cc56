"""Figures against the series that was put in, and against the rows that rrdtool fetch shows."""

from itertools import pairwise
from math import ceil
from zoneinfo import ZoneInfo

import pytest
import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES, EXTREMES, RRD_ERRORS, WEEK
from kwapi.plugins.rrd.figures import Figures, amount, figures, power
from kwapi.plugins.rrd.rows import PERIODS, Rows, consumed_kwh, read, together, window
from kwapi.plugins.rrd.store import Store
from kwapi.tariff import Tariff
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0
CLOSE = 1e-3
MAX_GAP = 60.0
TARIFF = Tariff([(6 * 3600, 0.25), (22 * 3600, 0.15), (8 * 3600 + 420, 0.4)], ZoneInfo("Europe/Paris"))
LEVELS = (120.0, 340.0, -45.0, 210.0)
PEAK, TROUGH = 2345.0, 3.0


@pytest.fixture
def store(tmp_path):
    clock = Clock()
    return Store(tmp_path, clock=clock, steady_clock=clock)


def add(store, timestamp, watts, names=("taurus-1",), **fields):
    store.add(message(probes=list(names), w=list(watts), timestamp=timestamp, **fields))


def varied(start, end, interval, length):
    """Return a series whose watts change every ``length`` seconds and are negative at times, with a gap, and with a
    peak and a trough that are far shorter than a row.
    """
    gap = (start + 2.3 * length, start + 3.3 * length)
    short = 3 if interval == 1 else 1  # measurements
    times = [start + step * interval for step in range(ceil((end - start) / interval) + 1)]
    series = [[at, LEVELS[int((at - start) // length) % 4]] for at in times if not gap[0] < at < gap[1]]
    for number, watts in ((len(series) // 5, PEAK), (2 * len(series) // 5, TROUGH)):
        for one in series[number : number + short]:
            one[1] = watts
    return [(at, watts) for at, watts in series]


def in_rows(series, start, step, count):
    """Return the joules and the known seconds of each row, from the series alone."""
    joules, seconds = [0.0] * count, [0.0] * count
    for (before, _), (at, watts) in pairwise(series):
        if at - before > MAX_GAP:
            continue
        for row in range(max(int((before - start) // step), 0), min(int((at - start) // step), count - 1) + 1):
            held = min(at, start + (row + 1) * step) - max(before, start + row * step)
            if held > 0:
                joules[row] += watts * held
                seconds[row] += held
    return joules, seconds


@pytest.mark.parametrize(
    ("period", "interval", "fraction", "length"),
    [
        ("minute", 1.0, 0.0, 40), ("hour", 1.0, 0.37, 600), ("hour", 2.0, 0.0, 500), ("day", 30.0, 0.37, 5000),
        ("week", 60.0, 0.37, 40_000), ("month", 60.0, 0.0, 200_000),
    ],
)  # fmt: skip
def test_figures_equal_those_of_the_series_and_of_the_rows(store, period, interval, fraction, length):
    resolution, rows = ARCHIVES[period]
    newest = NOW // resolution * resolution
    series = varied(newest - 0.9 * rows * resolution + fraction, newest + 5, interval, length)
    for at, watts in series:
        add(store, at, [watts], interval=interval)
    store.flush()
    path = store.path("taurus-1")
    start, end = window(period, newest)
    prices = TARIFF.means(start, resolution, (end - start) // resolution)
    found = figures(read(path, period, start, end), prices)

    count = (end - start) // resolution
    joules, seconds = in_rows(series, start, resolution, count)
    consumed = [max(energy, 0.0) / 3.6e6 for energy in joules]
    assert found.seconds == pytest.approx(sum(seconds), rel=CLOSE)
    assert found.average == pytest.approx(sum(joules) / sum(seconds), rel=CLOSE)
    assert found.kwh == pytest.approx(sum(consumed), rel=CLOSE)
    asked = max(resolution // 60, 1)  # times that the price is asked for in a row
    edges = range(start, end, resolution)
    each = [sum(TARIFF.price(edge + part * resolution // asked) for part in range(asked)) / asked for edge in edges]
    cost = sum(kwh * price for kwh, price in zip(consumed, each, strict=True))
    assert found.cost == pytest.approx(cost, rel=CLOSE)
    means = [energy / known for energy, known in zip(joules, seconds, strict=True) if known]
    extremes = (-45.0, PEAK) if period in EXTREMES or resolution == 1 else (min(means), max(means))
    assert (found.minimum, found.maximum) == pytest.approx(extremes, rel=CLOSE)
    assert found.last == pytest.approx(means[-1], rel=CLOSE)

    fetched = [(w, known) for w, known in fetch(path, "AVERAGE", resolution, start, end) if w is not None]
    assert found.average == pytest.approx(sum(w * known for w, known in fetched) / sum(known for _, known in fetched))
    assert found.kwh == pytest.approx(sum(max(w * known, 0.0) for w, known in fetched) * resolution / 3.6e6)
    assert found.last == pytest.approx(fetched[-1][0])
    lowest = fetch(path, "MIN" if period in EXTREMES else "AVERAGE", resolution, start, end)
    highest = fetch(path, "MAX" if period in EXTREMES else "AVERAGE", resolution, start, end)
    assert found.minimum == pytest.approx(min(w for w, _ in lowest if w is not None))
    assert found.maximum == pytest.approx(max(w for w, _ in highest if w is not None))
    assert consumed_kwh(path, period, start, end) == pytest.approx(found.kwh)


def fetch(path, function, resolution, start, end):
    """Return the rows as rrdtool has them."""
    (begin, _, step), _, rows = rrdtool.fetch(
        str(path), function, "-r", str(resolution), "-s", str(start), "-e", str(end - 1)
    )
    assert (begin, step) == (start, resolution)
    return rows[: (end - start) // resolution]


def test_a_week_of_which_a_day_was_measured_counts_as_a_day(store):
    end = NOW // WEEK * WEEK
    for minute in range(1441):
        add(store, end - 3 * 86400 + minute * 60, [200.0], interval=60.0)
    add(store, end + 10, [200.0], interval=60.0)
    store.flush()
    for period in ("week", "month", "year"):
        found = figures(read(store.path("taurus-1"), period, *window(period, end + 10)), None)
        assert found.kwh == pytest.approx(4.8, rel=CLOSE)
        assert (found.average, found.seconds) == (pytest.approx(200.0), pytest.approx(86400.0))
        assert found.cost is None


def test_negative_power_is_drawn_and_not_consumed(store):
    for step in range(100):
        add(store, NOW - 100 + step, [-50.0])
    store.flush()
    found = figures(read(store.path("taurus-1"), "minute", *window("minute", NOW)), [0.2] * 295)
    assert (found.kwh, found.cost, found.average, found.minimum) == (0.0, 0.0, -50.0, -50.0)


def test_what_was_never_known_has_no_figures():
    assert figures(Rows(0, 1, [None] * 3, [None] * 3, [None] * 3, [0.0] * 3), None) == Figures()


@pytest.mark.parametrize("period", PERIODS)
def test_a_window_has_the_archive_of_its_period_and_no_row_that_is_not_whole(store, period):
    add(store, NOW - 1, [1.0])
    add(store, NOW + 0.9, [1.0])
    store.flush()
    resolution, rows = ARCHIVES[period]
    start, end = window(period, NOW + 0.9)
    assert end % resolution == 0 and NOW + 0.9 - resolution < end <= NOW + 0.9
    assert rows - 5 <= (end - start) // resolution < rows
    series = read(store.path("taurus-1"), period, start, end)
    assert (series.start, series.step, series.end) == (start, resolution, end)
    assert [row.timestamp for row in series] == list(range(start + resolution, end + 1, resolution))


def test_a_file_that_has_lost_the_beginning_is_not_read_in_coarser_rows(store):
    for step in range(1000):
        add(store, NOW - 1000 + step, [100.0])
    store.flush()
    with pytest.raises(LookupError):
        read(store.path("taurus-1"), "minute", int(NOW) - 700, int(NOW) - 400)
    store.path("taurus-1").write_bytes(b"")
    with pytest.raises(RRD_ERRORS):
        read(store.path("taurus-1"), "minute", int(NOW) - 200, int(NOW))


def test_rows_end_where_the_slowest_of_several_files_does():
    assert window("minute", 1000.7, 960.2) == (1000 - 295, 960)
    assert window("minute", 5000, 1000) == (999, 1000)


def test_the_sum_of_series_is_what_is_known_of_each():
    parts = [
        Rows(0, 10, [100.0, None, 40.0], [0.0] * 3, [0.0] * 3, [1.0, 0.0, 0.5]),
        Rows(0, 10, [50.0, None, 30.0], [0.0] * 3, [0.0] * 3, [1.0, 0.0, 1.0]),
    ]
    whole = together(parts)
    assert list(whole.watts) == [150.0, None, 50.0]
    assert list(whole.known) == [1.0, 0.0, 1.0]
    energies = [figures(one, None).kwh for one in parts]
    assert figures(whole, None).kwh == pytest.approx(sum(energies))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(None, 0, "-"), (0.0, 0, "0"), (0.0, 2, "0.00"), (123.456, 0, "123.5"), (123456.7, 0, "123457"),
     (0.000012345, 0, "0.00001234"), (1234.5, 2, "1234.50"), (-3.0, 0, "-3.000")],
)  # fmt: skip
def test_amounts_have_four_digits_and_no_exponent(value, decimals, text):
    assert amount(value, decimals) == text


@pytest.mark.parametrize(
    ("watts", "text"),
    [(None, "-"), (0.0, "0 W"), (0.5, "0.5000 W"), (999.9, "999.9 W"), (1234.5, "1.234 kW"), (-2_500_000, "-2.500 MW")],
)
def test_power_has_a_unit_in_which_it_is_short(watts, text):
    assert power(watts) == text


def test_a_file_whose_names_are_damaged_is_an_error_of_the_file(store):
    for step in range(100):
        add(store, NOW - 99 + step, [100.0])
    store.flush()
    path = store.path("taurus-1")
    sound = path.read_bytes()
    for damaged in (b"\xd7nown", b"k\0own"):
        path.write_bytes(sound.replace(b"known", damaged))
        with pytest.raises((LookupError, *RRD_ERRORS)):
            read(path, "minute", int(NOW) - 200, int(NOW))


def test_a_file_of_another_format_is_an_error_of_the_file(tmp_path):
    path = str(tmp_path / "other.rrd")
    rrdtool.create(path, "--start", str(int(NOW) - 900), "--step", "1", "DS:a:GAUGE:60:U:U", "RRA:AVERAGE:0.5:1:300")
    rrdtool.update(path, f"{NOW:.0f}:5")
    with pytest.raises(LookupError):
        read(tmp_path / "other.rrd", "minute", int(NOW) - 200, int(NOW))

import struct
import threading
from dataclasses import replace
from itertools import pairwise
from math import ceil

import pytest
import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES, WEEK
from kwapi.plugins.rrd.figures import amount, measure
from kwapi.plugins.rrd.graph import NAMED, PERIODS, Graphs, shortened, window
from kwapi.plugins.rrd.look import Look, Target, colour
from kwapi.plugins.rrd.store import Store
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0
NASTY = ["a:b", "50%", "%s%lf\\n", "back\\slash", "tab\\tulator", "end\\", "\"'", "Ünï 机", "<b>&amp;", "-x", ".."]
CLOSE = 1e-3
ALL = Target()
LOOK = Look()
DARK = Look(dark=True)


class CountingStore(Store):
    """Every drawing flushes once; ``gate`` holds it up."""

    def __init__(self, *args, **kwargs):
        self.drawn = 0
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(*args, **kwargs)

    def flush(self, probes=None):
        if probes is not None:
            self.drawn += 1
            assert self.gate.wait(10)
        super().flush(probes)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return CountingStore(tmp_path / "a:b 50% \\ Ünï", clock=clock, steady_clock=clock)


def of(name):
    return Target("probe", (name,))


def add(store, timestamp, watts, names=("taurus-1",), **fields):
    store.add(message(probes=list(names), w=list(watts), timestamp=timestamp, **fields))


def size(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def in_blocks(start, end, interval, length, gap):
    """Return a series whose watts change every ``length`` seconds, with a gap from ``gap`` to ``gap + length``."""
    levels = (120.0, 340.0, 90.5, 210.0)
    steps = (start + step * interval for step in range(ceil((end - start) / interval) + 1))
    return [(at, levels[int((at - start) // length) % 4]) for at in steps if not gap < at < gap + length]


def integrated(series, end, max_gap=60.0):
    """Return the joules and the seconds that a series has up to ``end``, from the series alone."""
    spans = [(min(b, end) - min(a, end), watts) for (a, _), (b, watts) in pairwise(series) if b - a <= max_gap]
    return sum(seconds * watts for seconds, watts in spans), sum(seconds for seconds, _ in spans)


@pytest.mark.parametrize(
    ("period", "interval", "fraction", "length"),
    [("minute", 1.0, 0.0, 70), ("hour", 2.0, 0.37, 600), ("day", 30.0, 0.37, 5000), ("week", 60.0, 0.37, 40_000)],
)
def test_figures_equal_those_of_the_series_and_of_the_rows(store, clock, period, interval, fraction, length):
    resolution, rows = ARCHIVES[period]
    end = NOW // resolution * resolution
    first = end - 0.9 * rows * resolution + fraction
    series = in_blocks(first, end, interval, length, gap=first + 2.3 * length)
    for at, watts in series:
        add(store, at, [watts], interval=interval)
    store.flush()
    joules, seconds = integrated(series, end)

    of_each, total = measure([store.path("taurus-1")], *window(period, end))
    assert of_each == [total]
    assert total.kwh == pytest.approx(joules / 3.6e6, rel=CLOSE)
    assert total.seconds == pytest.approx(seconds, rel=CLOSE)
    assert total.average == pytest.approx(joules / seconds, rel=CLOSE)
    assert (total.minimum, total.maximum) == (pytest.approx(90.5, rel=CLOSE), pytest.approx(340.0, rel=CLOSE))

    start, end = window(period, end)
    arguments = ["AVERAGE", "-r", str(resolution), "-s", str(start), "-e", str(end - 1)]
    (_, _, step), _, fetched = rrdtool.fetch(str(store.path("taurus-1")), *arguments)
    known = [(watts, share) for watts, share in fetched if watts is not None]
    assert step == resolution
    assert total.minimum == pytest.approx(min(known)[0], rel=CLOSE)
    assert total.maximum == pytest.approx(max(known)[0], rel=CLOSE)
    assert total.last == pytest.approx(known[-1][0], rel=CLOSE)
    assert total.kwh == pytest.approx(sum(watts * share for watts, share in known) * step / 3.6e6, rel=CLOSE)


def test_a_week_of_which_a_day_was_measured_counts_as_a_day(store):
    end = NOW // WEEK * WEEK
    for minute in range(1441):
        add(store, end - 3 * 86400 + minute * 60, [200.0], interval=60.0)
    add(store, end + 10, [200.0], interval=60.0)
    store.flush()
    for period in ("week", "month", "year"):
        _, total = measure([store.path("taurus-1")], *window(period, end + 10))
        assert total.kwh == pytest.approx(4.8, rel=CLOSE)
        assert (total.average, total.seconds) == (pytest.approx(200.0), pytest.approx(86400.0))


def test_negative_power_is_drawn_and_not_consumed(store):
    for step in range(100):
        add(store, NOW - 100 + step, [-50.0])
    store.flush()
    _, total = measure([store.path("taurus-1")], *window("minute", NOW))
    assert (total.kwh, total.average) == (0.0, -50.0)


def test_the_total_is_the_sum_of_what_is_known(store):
    for step in range(101):
        add(store, NOW - 100 + step, [100.0, 50.0, None if step < 50 else 10.0], ["a", "b", "c"])
    store.flush()
    of_each, total = measure([store.path(name) for name in "abc"], *window("minute", NOW))
    assert (total.minimum, total.maximum, total.last) == (160.0, 160.0, 160.0)  # 150 W is no total
    assert total.average == pytest.approx(160.0)
    assert total.partly and not any(one.partly for one in of_each)
    assert total.kwh == pytest.approx(sum(one.kwh for one in of_each))
    assert total.seconds == 100.0


def test_the_power_of_a_total_is_unknown_while_some_probe_is_always_missing(store):
    for step in range(50):
        add(store, NOW - 100 + step, [100.0], ["a"])
        add(store, NOW - 49 + step, [50.0], ["b"])
    store.flush()
    _, total = measure([store.path(name) for name in "ab"], *window("minute", NOW))
    assert (total.minimum, total.maximum, total.last, total.partly) == (None, None, None, True)
    assert total.average == pytest.approx(150.0)
    assert total.kwh == pytest.approx((100 + 50) * 49 / 3.6e6)


def test_the_legend_has_the_figures_and_the_cost(store):
    for step in range(101):
        add(store, NOW - 100 + step, [1234.5])
    store.flush()
    _, total = measure([store.path("taurus-1")], *window("minute", NOW))
    line = Graphs(store, price=0.2, currency="€").legend_line("a:b", total)
    kwh = 1234.5 * 100 / 3.6e6
    assert line.split() == ["a\\:b", *["1234", "W"] * 4, amount(kwh), "kWh", amount(kwh * 0.2, 2), "€\\l"]
    assert "€" not in Graphs(store, price=0.0).legend_line("a", total)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(None, 0, "-"), (0.0, 0, "0"), (0.0, 2, "0.00"), (123.456, 0, "123.5"), (123456.7, 0, "123457"),
     (0.000012345, 0, "0.00001234"), (1234.5, 2, "1234.50"), (-3.0, 0, "-3.000")],
)  # fmt: skip
def test_amounts_have_four_digits_and_no_exponent(value, decimals, text):
    assert amount(value, decimals) == text


@pytest.mark.parametrize("period", PERIODS)
def test_a_graph_reads_the_archive_of_its_period(store, period):
    add(store, NOW - 1, [1.0])
    add(store, NOW + 0.9, [1.0])
    store.flush()
    resolution, rows = ARCHIVES[period]
    start, end = window(period, NOW + 0.9)
    assert (end - start, start % resolution) == (resolution * rows, 0)
    path = str(store.path("taurus-1"))
    (_, _, step), _, _ = rrdtool.fetch(path, "AVERAGE", "-r", str(resolution), "-s", str(start), "-e", str(end))
    assert step == resolution


def test_every_name_can_be_drawn(store):
    for step in range(60):
        add(store, NOW - 60 + step, [100.0] * len(NASTY), NASTY)
    graphs = Graphs(store, price=0.2, currency="50%:\\")
    plain = size(graphs.graph("minute", ALL, LOOK).image)
    assert plain[0] > 640 and plain[1] > 160
    for name in NASTY:
        assert size(graphs.graph("minute", of(name), LOOK).image)[0] == plain[0]


def test_two_hundred_probes_make_a_summary_of_bounded_height(store):
    few, many = [f"n{n}" for n in range(NAMED)], [f"n{n}" for n in range(200)]
    for step in range(30):
        add(store, NOW - 30 + step, range(NAMED), few)
    small = size(Graphs(store).graph("minute", ALL, LOOK).image)
    for step in range(30):
        add(store, NOW - 300 + 30 + step, range(180), many[NAMED:], wattmeter="other")
        add(store, NOW + 1 + step, range(NAMED), few)
    large = size(Graphs(store).graph("minute", ALL, LOOK).image)
    assert large[0] == small[0] and 0 < large[1] - small[1] < 50


def test_without_measurements_a_picture_says_so(store):
    graphs = Graphs(store)
    assert size(graphs.graph("minute", ALL, LOOK).image)[0] > 640
    for step in range(20):
        add(store, NOW - 20 + step, [100.0])
    empty = graphs.graph("year", ALL, LOOK)
    assert size(empty.image)[0] > 640
    assert graphs.graph("minute", ALL, LOOK).image != empty.image


def test_a_bare_picture_has_the_size_that_was_asked_for(store, clock):
    graphs = Graphs(store, clock=clock)
    look = Look(width=428, height=120, bare=True)
    empty = graphs.graph("minute", Target(), look)
    assert size(empty.image) == (428, 120) and empty.plot is None
    add(store, NOW - 20, [100.0])
    add(store, NOW - 1, [200.0])
    for target in (Target(), of("taurus-1")):
        assert size(graphs.graph("hour", target, look).image) == (428, 120)
        assert size(graphs.graph("hour", target, replace(look, zoom=2)).image) == (856, 240)
    plot = graphs.graph("hour", of("taurus-1"), look).plot
    assert 0 < plot.left < plot.left + plot.width < 428 and 0 < plot.top < plot.top + plot.height < 120
    assert plot.lower == 0 and 150 < plot.upper < 300


def test_a_broken_file_does_not_spoil_the_summary(store):
    for step in range(20):
        add(store, NOW - 20 + step, [100.0, 200.0], ["sound", "cut"])
    store.flush()
    store.path("cut").write_bytes(b"")
    graphs = Graphs(store)
    assert size(graphs.graph("minute", ALL, LOOK).image)
    assert size(graphs.graph("minute", of("cut"), LOOK).image)
    assert {probe.name: probe.broken for probe in store.probes()} == {"sound": False, "cut": True}


@pytest.mark.parametrize(("period", "fresh"), [("minute", 1), ("hour", 10), ("day", 900), ("week", 7200)])
def test_a_graph_is_drawn_once_until_its_archive_has_a_new_row(store, clock, period, fresh):
    graphs = Graphs(store, clock=clock)
    clock.now = NOW // WEEK * WEEK + 60.0
    add(store, clock.now - 5, [100.0])
    first = graphs.graph(period, ALL, LOOK)
    assert first.fresh_until == clock.now + fresh
    clock.now = first.fresh_until - 0.1
    assert graphs.graph(period, ALL, LOOK) is first
    assert store.drawn == 1
    clock.now += 0.1
    graphs.graph(period, ALL, LOOK)
    graphs.graph(period, ALL, DARK)
    graphs.graph(period, of("taurus-1"), LOOK)
    assert store.drawn == 4


def test_requests_at_once_draw_a_graph_once(store, clock):
    add(store, NOW - 1, [100.0])
    graphs = Graphs(store, clock=clock)
    store.gate.clear()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(graphs.graph("day", ALL, LOOK))) for _ in range(4)]
    for thread in threads:
        thread.start()
    store.gate.set()
    for thread in threads:
        thread.join()
    assert store.drawn == 1
    assert len(answers) == 4 and all(answer is answers[0] for answer in answers)


def test_different_graphs_at_once_are_whole(store, clock):
    for step in range(100):
        add(store, NOW - 100 + step, [100.0, 200.0], ["a", "b"])
    wanted = [(period, target, LOOK) for period in ("minute", "hour") for target in (of("a"), of("b"), ALL)]
    alone = [Graphs(store, clock=clock).graph(*one).image for one in wanted]
    graphs = Graphs(store, clock=clock)
    found = {}
    threads = [threading.Thread(target=lambda one=one: found.update({one: graphs.graph(*one).image})) for one in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[one] for one in wanted] == alone


def test_the_cache_is_bounded_and_forgets_the_least_used(store, clock):
    graphs = Graphs(store, cache_size=2, clock=clock)
    add(store, NOW - 1, [100.0])
    for period in ("day", "week", "day", "year", "day", "week"):
        graphs.graph(period, ALL, LOOK)
    assert store.drawn == 4


def test_colours_differ_and_are_told_by_the_number_alone():
    assert len({colour(number) for number in range(35)}) == 35
    assert (colour(0), colour(35)) == ("e69f00", "e69f00")


def test_long_names_keep_both_ends():
    assert shortened("taurus-1") == "taurus-1"
    short = shortened(f"rack1-{'x' * 60}-node7")
    assert short.startswith("rack1-") and short.endswith("-node7") and len(short) <= 32

import re
import struct
import threading
import time
from dataclasses import replace
from itertools import pairwise, product

import pytest
import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES, EXTREMES
from kwapi.plugins.rrd.cache import OVERHEAD
from kwapi.plugins.rrd.elements import legend, rest, single
from kwapi.plugins.rrd.graph import Graphs, next_row
from kwapi.plugins.rrd.look import Look, Target
from kwapi.plugins.rrd.ranking import NAMED
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.tariff import Tariff
from tests.clock import Clock
from tests.messages import message
from tests.plugins.totals import GivenTotals, write_total
from tests.waiting import eventually

NOW = 1_800_000_000.0
NASTY = ["a:b", "50%", "%s%lf\\n", "back\\slash", "tab\\tulator", "end\\", "\"'", "Ünï 机", "<b>&amp;", "-x", ".."]
ALL = Target()
LOOK = Look()
DARK = Look(dark=True)


class CountingStore(GivenTotals):
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


@pytest.fixture
def graphs(store, clock):
    return Graphs(store, clock=clock)


def of(*names):
    return Target("probe" if len(names) == 1 else "chosen", names)


def add(store, timestamp, watts, names=("taurus-1",), **fields):
    store.add(message(probes=list(names), w=list(watts), timestamp=timestamp, **fields))


def add_all(store, seconds, watts, names):
    """Let probes be measured for some seconds up to now, and write their total."""
    watts = list(watts)
    for step in range(seconds):
        add(store, NOW - seconds + step + 1, watts, names)
    store.flush()
    write_total(store, [(NOW - seconds + step + 1, sum(watts), 1) for step in range(1, seconds)])


def size(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_every_name_can_be_drawn(store, clock):
    add_all(store, 60, [100.0] * len(NASTY), NASTY)
    graphs = Graphs(store, tariff=Tariff([(0, 0.2)]), currency="50%:\\", clock=clock)
    width, height = size(graphs.graph("minute", ALL, LOOK).image)
    assert width > 600 and height > 150
    assert size(graphs.graph("minute", of(*NASTY), LOOK).image)[0] == width
    for name in NASTY:
        assert size(graphs.graph("minute", of(name), LOOK).image)[0] == width


def test_every_period_has_a_graph_of_every_size(store, graphs):
    for step in range(100):
        add(store, NOW - 99 * 20_000 + step * 20_000, [100.0], interval=20_000.0)
    for period, look in product(
        PERIODS, [Look(width=200, height=60), Look(width=2000, height=1000), Look(format="svg", zoom=2)]
    ):
        graph = graphs.graph(period, of("taurus-1"), look)
        assert graph.plot is not None
        assert (graph.plot.width, graph.plot.height) == (look.width, look.height)
        assert graph.plot.lower == 0.0 and graph.plot.upper == 100.0
        assert NOW - 7 * 86400 < graph.plot.end <= NOW


def test_a_probe_has_a_small_picture(store, graphs):
    for step in range(400):
        add(store, NOW - 399 + step, [200 + 37 * step % 41])
    assert len(graphs.graph("minute", of("taurus-1"), LOOK).image) <= 12_000


def test_a_summary_names_the_largest_and_is_of_bounded_size(store, clock):
    few, many = [f"n{n}" for n in range(NAMED)], [f"n{n}" for n in range(200)]
    add_all(store, 100, (100 + 7 * n for n in range(NAMED)), few)
    small = size(Graphs(store, clock=clock).graph("minute", ALL, LOOK).image)
    for step in range(100):
        add(store, NOW - 99 + step, [2.0 + n % 3 for n in range(180)], many[NAMED:], wattmeter="other")
    store.flush()
    graph = Graphs(store, clock=clock).graph("minute", ALL, LOOK)
    large = size(graph.image)
    assert large[0] == small[0] and 0 < large[1] - small[1] < 50
    assert len(graph.image) <= 24_000


def test_a_summary_needs_only_the_files_of_those_it_names(store, clock):
    names = [f"n{n}" for n in range(60)]
    add_all(store, 100, range(1, 61), names)
    graphs = Graphs(store, clock=clock)
    first = graphs.graph("minute", ALL, LOOK)
    for name in names[: 60 - NAMED]:
        store.path(name).unlink()
    assert graphs.graph("minute", ALL, replace(LOOK, width=601)).plot.upper == first.plot.upper == 2000.0
    largest = graphs.ranking.largest("minute", None)
    assert (largest.names, largest.counted, largest.measured) == (tuple(names[60 - NAMED :]), 60, 60)


def test_without_measurements_a_picture_says_so(store, graphs, clock):
    for look in (LOOK, Look(format="svg")):
        graph = graphs.graph("minute", ALL, look)
        assert graph.image and graph.plot is None
    assert size(graphs.graph("minute", ALL, LOOK).image)[0] > 600
    add_all(store, 20, [100.0], ["taurus-1"])
    clock.now += 1
    assert graphs.graph("minute", of("taurus-1"), LOOK).plot is not None
    assert graphs.graph("minute", ALL, LOOK).plot is not None
    assert graphs.graph("year", of("taurus-1"), LOOK).plot is None


def test_a_bare_picture_has_the_size_that_was_asked_for(store, graphs, clock):
    look = Look(width=428, height=120, bare=True)
    empty = graphs.graph("minute", ALL, look)
    assert size(empty.image) == (428, 120) and empty.plot is None
    add_all(store, 80, [160.0], ["taurus-1"])
    clock.now += 60
    for target in (ALL, of("taurus-1")):
        assert size(graphs.graph("minute", target, look).image) == (428, 120)
        assert size(graphs.graph("minute", target, replace(look, zoom=2)).image) == (856, 240)
    plot = graphs.graph("minute", of("taurus-1"), look).plot
    assert 0 < plot.left < plot.left + plot.width < 428 and 0 < plot.top < plot.top + plot.height < 120
    assert plot.lower == 0 and 160 <= plot.upper <= 200


def test_a_file_that_cannot_be_used_does_not_spoil_what_others_are_in(store, graphs):
    add_all(store, 20, [100.0, 200.0], ["sound", "cut"])
    store.path("cut").write_bytes(b"")
    assert graphs.graph("minute", ALL, LOOK).plot is not None
    assert graphs.graph("minute", of("sound", "cut"), LOOK).plot is not None
    assert graphs.graph("minute", of("cut"), LOOK).plot is None
    store.total_path(None).write_bytes(b"")
    assert graphs.graph("hour", ALL, LOOK).plot is None


def test_power_below_zero_is_in_the_picture(store, graphs):
    add_all(store, 50, [-300.0, 100.0], ["solar", "web"])
    assert graphs.graph("minute", of("solar"), LOOK).plot.lower == -300.0
    assert graphs.graph("minute", ALL, LOOK).plot.lower <= -300.0


@pytest.mark.parametrize("period", PERIODS)
def test_a_row_is_there_when_slow_wattmeters_have_reported_too(period):
    resolution = {"minute": 1, "hour": 10, "day": 900, "week": 7200, "month": 21600, "year": 604800}[period]
    late = min(resolution, 60)
    for now in (NOW, NOW + 0.5, NOW + 59.9, NOW + 60, NOW + 899):
        due = next_row(period, now)
        assert now < due <= now + resolution and (due - late) % resolution == 0


def test_a_graph_is_drawn_again_when_its_resolution_has_passed_and_new_rows_came(store, graphs, clock):
    clock.now = NOW + 60.0
    for step in range(100):
        add(store, clock.now - 99 + step, [100.0])
    first = graphs.graph("hour", of("taurus-1"), LOOK)
    assert first.fresh_until == NOW + 70 and store.drawn == 1
    add(store, clock.now + 9, [200.0])
    clock.now = first.fresh_until - 0.1
    assert graphs.graph("hour", of("taurus-1"), LOOK) is first  # a new value, but no new row
    clock.now = first.fresh_until
    assert graphs.graph("hour", of("taurus-1"), LOOK) is not first
    assert store.drawn == 1  # but what was there is good
    add(store, NOW + 70, [200.0])
    clock.now += 10
    second = graphs.graph("hour", of("taurus-1"), LOOK)
    assert second.etag != first.etag and second.modified == clock.now and store.drawn == 2


def test_a_dead_probe_is_drawn_once_more_to_say_so_and_never_again(store, graphs, clock):
    for step in range(100):
        add(store, NOW - 99 + step, [100.0])
    alive = graphs.graph("minute", of("taurus-1"), LOOK)
    clock.now += 3600
    dead = graphs.graph("minute", of("taurus-1"), LOOK)
    assert dead.etag != alive.etag and dead.plot == alive.plot
    for _ in range(10):
        clock.now += 3600
        later = graphs.graph("minute", of("taurus-1"), LOOK)
        assert (later.etag, later.modified) == (dead.etag, dead.modified)
    assert store.drawn == 2


def test_a_total_is_drawn_again_when_its_file_has_a_new_row(store, graphs, clock):
    add_all(store, 100, [100.0], ["taurus-1"])
    first = graphs.graph("minute", ALL, LOOK)
    clock.now += 5
    assert graphs.graph("minute", ALL, LOOK).etag == first.etag
    write_total(store, [(NOW + 1, 300.0, 1)])
    clock.now += 5
    assert graphs.graph("minute", ALL, LOOK).plot.end == first.plot.end + 1


def test_requests_at_once_draw_a_graph_once(store, graphs):
    add(store, NOW - 100, [100.0])
    add(store, NOW - 50, [100.0])
    store.gate.clear()
    answers = []
    wanted = ("minute", of("taurus-1"), LOOK)
    threads = [threading.Thread(target=lambda: answers.append(graphs.graph(*wanted))) for _ in range(4)]
    for thread in threads:
        thread.start()
    store.gate.set()
    for thread in threads:
        thread.join()
    assert store.drawn == 1
    assert len(answers) == 4 and all(answer is answers[0] for answer in answers)


def test_different_graphs_at_once_are_whole(store, clock):
    add_all(store, 100, [100.0, 200.0], ["a", "b"])
    targets = (of("a"), of("b"), of("a", "b"), ALL)
    wanted = [(period, target, look) for period in ("minute", "hour") for target in targets for look in (LOOK, DARK)]
    alone = [Graphs(store, clock=clock).graph(*one).image for one in wanted]
    assert len(set(alone)) == len(wanted)
    graphs = Graphs(store, clock=clock)
    found = {}
    threads = [threading.Thread(target=lambda one=one: found.update({one: graphs.graph(*one).image})) for one in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[one] for one in wanted] == alone


def test_the_cache_is_bounded_in_bytes_and_forgets_the_least_used(store, clock):
    for step in range(30):
        add(store, NOW - 29 + step, [100.0, 100.0, 100.0], ["a", "b", "c"])
    one = len(Graphs(store, clock=clock).graph("minute", of("a"), LOOK).image) + OVERHEAD
    graphs = Graphs(store, cache_size=2 * one + 500, clock=clock)
    store.drawn = 0
    for name in ("a", "b", "a", "c", "a", "b"):
        graphs.graph("minute", of(name), LOOK)
    assert store.drawn == 4


def test_the_place_of_the_plot_is_known_without_drawing_again(store, graphs):
    add_all(store, 30, [100.0], ["taurus-1"])
    shown = graphs.graph("minute", of("taurus-1"), Look(width=500, dark=True, format="svg"))
    assert graphs.plot("minute", of("taurus-1"), Look(width=500)) is shown.plot
    assert store.drawn == 1
    assert graphs.plot("minute", of("taurus-1"), LOOK).width == 600


def test_what_the_named_leave_of_a_total_is_the_others(store, graphs, clock):
    names = [f"n{number}" for number in range(25)]
    add_all(store, 100, [100.0 + number for number in range(25)], names)
    reading = graphs.reader.read("minute", ALL)
    assert reading.others == 5
    others = rest(reading)
    assert others.average == pytest.approx(sum(100.0 + number for number in range(5)))
    assert others.kwh == pytest.approx(sum(100.0 + number for number in range(5)) * 99 / 3.6e6)
    assert reading.figures.kwh == pytest.approx(others.kwh + sum(band.figures.kwh for band in reading.bands))


def test_probes_that_the_ranking_does_not_know_yet_are_one_band(store, graphs, clock):
    assert graphs.ranking.energies("minute") == {}
    add_all(store, 100, [100.0, 200.0], ["a", "b"])
    clock.now += 0.5
    reading = graphs.reader.read("minute", ALL)
    assert (reading.bands, rest(reading).average) == ([], pytest.approx(300.0))
    assert graphs.graph("minute", ALL, LOOK).plot.upper == 300.0


@pytest.mark.parametrize(("period", "interval"), [("minute", 1.0), ("hour", 2.0), ("day", 60.0), ("week", 300.0)])
def test_the_legend_that_is_drawn_has_the_figures_of_the_file_and_of_the_series(store, clock, period, interval):
    resolution, rows = ARCHIVES[period]
    newest = NOW // resolution * resolution
    begin = newest - rows * resolution // 2
    powers = [800.0, -120.0, 35.0, 4321.0]
    series = [
        (begin + step * interval, powers[step % 160 // 40]) for step in range(int((newest - begin) / interval) + 1)
    ]
    gap = (begin + (newest - begin) * 0.4, begin + (newest - begin) * 0.4 + max(4 * interval, 100))
    series = [(at, watts) for at, watts in series if not gap[0] < at < gap[1]]
    for at, watts in series:
        add(store, at, [watts], interval=interval)
    graphs = Graphs(store, tariff=Tariff([(0, 0.3), (7 * 3600, 0.2)]), currency="EUR", clock=clock)
    reading = graphs.reader.read(period, of("taurus-1"))
    elements = single(reading, LOOK) + legend(reading, LOOK, "EUR")
    drawn = rrdtool.graphv("-", "--start", str(reading.start), "--end", str(reading.end), elements)
    said = " ".join(text for key, text in sorted(drawn.items()) if key.startswith("legend"))
    units = {"W": 1, "kW": 1000}
    found = {word: float(value) * units[unit] for word, value, unit in re.findall(r"(\w+) (-?[\d.]+) (k?W)\b", said)}
    found |= {unit: float(value) for value, unit in re.findall(r"([\d.]+) (kWh|EUR)", said)}

    fetched = {function: fetch(store, function, reading) for function in ("AVERAGE", "MIN", "MAX")}
    known = [(at, watts, share) for at, watts, share in fetched["AVERAGE"] if watts is not None]
    lowest, highest = ("MIN", "MAX") if period in EXTREMES else ("AVERAGE", "AVERAGE")
    kwh = {at: max(watts * share, 0.0) * resolution / 3.6e6 for at, watts, share in known}
    prices = dict(zip(kwh, prices_of(kwh, resolution), strict=True))
    expected = {
        "min": min(watts for _, watts, _ in fetched[lowest] if watts is not None),
        "avg": sum(watts * share for _, watts, share in known) / sum(share for _, _, share in known),
        "max": max(watts for _, watts, _ in fetched[highest] if watts is not None),
        "last": known[-1][1],
        "kWh": sum(kwh.values()),
        "EUR": sum(kwh[at] * prices[at] for at in kwh),
    }
    assert found == pytest.approx(expected, rel=1e-3)
    spans = [(b - a, watts) for (a, _), (b, watts) in pairwise(series) if b - a <= interval]
    joules, seconds = sum(long * watts for long, watts in spans), sum(long for long, _ in spans)
    assert found["avg"] == pytest.approx(joules / seconds, rel=1e-3)


def fetch(store, function, reading):
    """Return (Unix seconds at its end, watts, known) of each row as rrdtool has it."""
    step = reading.rows.step
    arguments = [function, "-r", str(step), "-s", str(reading.start), "-e", str(reading.end - 1)]
    (begin, _, found), _, rows = rrdtool.fetch(str(store.path("taurus-1")), *arguments)
    return [(begin + (number + 1) * found, *row) for number, row in enumerate(rows)]


def prices_of(ends, step):
    """Return the mean price of each row that ends then, from the clock on the wall."""
    for end in ends:
        minutes = range(end - step, end, min(step, 60))
        hours = [time.localtime(minute).tm_hour for minute in minutes]
        yield sum(0.2 if hour >= 7 else 0.3 for hour in hours) / len(hours)


def test_a_probe_that_died_long_ago_is_one_of_those_that_were_chosen(store, graphs, clock):
    for step in range(100):
        add(store, NOW - 7 * 3600 + step, [300.0], ["dead"])
        add(store, NOW - 99 + step, [100.0], ["live"], wattmeter="other")
    reading = graphs.reader.read("minute", of("dead", "live"))
    assert (reading.counted, reading.measured, reading.figures.maximum) == (2, 1, 100.0)
    assert graphs.graph("minute", of("dead", "live"), LOOK).plot.upper == 100.0
    assert graphs.graph("day", of("dead", "live"), LOOK).plot is not None


def test_a_graph_that_was_due_a_moment_ago_does_not_wait_for_others(store, graphs, clock):
    for step in range(60):
        add(store, NOW - 59 + step, [100.0, 200.0], ["a", "b"])
    before = graphs.graph("minute", of("a"), LOOK)
    clock.now += 2
    add(store, clock.now, [100.0, 200.0], ["a", "b"])
    drawn = []
    store.gate.clear()
    slow = threading.Thread(target=lambda: drawn.append(graphs.graph("minute", of("b"), LOOK)))
    slow.start()
    eventually(lambda: store.drawn == 2)
    assert graphs.graph("minute", of("a"), LOOK) is before
    store.gate.set()
    slow.join()
    assert drawn[0].plot is not None
    assert graphs.graph("minute", of("a"), LOOK).plot.end == before.plot.end + 2

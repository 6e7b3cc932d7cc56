"""RRD files as the Kwapi of 2013 made them: one source, six archives, half of a row may be unknown."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import rrdtool

from kwapi.cli.migrate.history import old_name, rows_of, take_over
from kwapi.plugins.rrd.archive import ARCHIVES, WEEK, file_name, first_known, has_extremes, newest

OLD_ARCHIVES = ((1, 300), (10, 360), (900, 96), (7200, 84), (21600, 124), (604800, 52))
LAST = 1_700_000_123


def make_old(path, last=LAST, source="DS:w:GAUGE:600:0:U", archives=OLD_ARCHIVES, gap=()):
    """Write a file with a value each 300 s for two years, and each second at its end; none within the gap."""
    begin = last - 2 * 365 * 86400
    averages = [f"RRA:AVERAGE:0.5:{resolution}:{rows}" for resolution, rows in archives]
    rrdtool.create(str(path), "--start", str(begin), "--step", "1", source, *averages)
    times = [*range(begin + 300, last - 600, 300), *range(last - 600, last + 1)]
    values = [f"{time}:{watts(time):.3f}" for time in times if not (gap and gap[0] < time <= gap[1])]
    for first in range(0, len(values), 5000):
        rrdtool.update(str(path), *values[first : first + 5000])


def watts(time):
    """Return what was measured: waves of a day and of a year."""
    return 150 + 50 * math.sin(time * 2 * math.pi / 86400) + 30 * math.sin(time * 2 * math.pi / 31557600)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    path = tmp_path_factory.mktemp("old") / old_name("taurus-1")
    make_old(path)
    return path


def averages(path, resolution, rows):
    """Return the rows of an archive, by the second of their end."""
    last = rrdtool.last(str(path)) // resolution * resolution
    window = ["-r", str(resolution), "-s", str(last - (rows - 1) * resolution), "-e", str(last - 1)]
    (start, _, step), names, values = rrdtool.fetch(str(path), "AVERAGE", *window)
    assert step == resolution
    return {start + number * step: dict(zip(names, row, strict=True)) for number, row in enumerate(values, 1)}


def test_the_name_of_an_old_file_is_the_uuid_of_its_probe():
    assert old_name("taurus-1") == "f8660a9f-c877-5872-9cad-73022ec0cea8.rrd"
    assert old_name("a") != old_name("b")


def test_rows_follow_each_other_without_a_hole_or_an_overlap(old):
    rows = list(rows_of(old))
    seconds = [end for end, _ in rows]
    assert seconds[-1] == LAST
    assert seconds[0] % WEEK == 0
    steps = [later - earlier for earlier, later in pairwise(seconds)]
    assert set(steps) >= {resolution for resolution, _ in OLD_ARCHIVES}
    assert min(steps) == 1
    assert all(watts is not None for _, watts in rows[1:])


def test_every_archive_has_the_averages_that_it_had(old, tmp_path):
    before = old.read_bytes()
    assert take_over(old, tmp_path / "rrd", "taurus-1") > 800
    assert old.read_bytes() == before
    new = tmp_path / "rrd" / file_name("taurus-1")
    compared = 0
    for resolution, rows in OLD_ARCHIVES:
        found = averages(new, resolution, rows)
        for second, row in averages(old, resolution, rows).items():
            assert found[second]["w"] == pytest.approx(row["w"], rel=1e-6)
            assert found[second]["known"] == pytest.approx(1.0)
            compared += 1
    assert compared > 1000
    assert has_extremes(new)
    assert newest([new])[new] == (float(LAST), pytest.approx(watts(LAST), abs=0.001))
    assert [path.name for path in new.parent.iterdir()] == [new.name]


def test_a_gap_stays_one(tmp_path):
    path = tmp_path / "old.rrd"
    make_old(path, gap=(LAST - 4 * 86400, LAST - 2 * 86400))
    take_over(path, tmp_path / "rrd", "a")
    rows = averages(tmp_path / "rrd" / "a.rrd", 7200, 84)
    inside = [row for second, row in rows.items() if LAST - 4 * 86400 + 9000 < second <= LAST - 2 * 86400]
    assert len(inside) >= 20
    assert all(row["known"] == 0 and row["w"] is None for row in inside)
    assert first_known(tmp_path / "rrd" / "a.rrd") < LAST - 300 * 86400


def test_values_go_on_in_a_file_that_was_taken_over(old, tmp_path):
    take_over(old, tmp_path, "a")
    path = tmp_path / "a.rrd"
    rrdtool.update(str(path), f"{LAST + 1}:99:1", f"{LAST + 700}:99:1")
    assert newest([path])[path] == (float(LAST + 700), 99.0)
    with pytest.raises(rrdtool.OperationalError):
        rrdtool.update(str(path), f"{LAST}:1:1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"source": "DS:o:GAUGE:600:0:U"}, "no source w"),
        ({"archives": ((60, 10), (3600, 10))}, "has no archive of"),
        ({"gap": (0, LAST)}, "has no value"),
    ],
)
def test_what_holds_no_power_is_refused(tmp_path, given, told):
    make_old(tmp_path / "old.rrd", **given)
    with pytest.raises(OSError, match=told):
        take_over(tmp_path / "old.rrd", tmp_path / "rrd", "a")
    assert not list(Path(tmp_path).glob("rrd/*"))


def test_a_file_that_is_there_is_not_replaced(old, tmp_path):
    (tmp_path / "a.rrd").write_text("mine")
    with pytest.raises(FileExistsError):
        take_over(old, tmp_path, "a")
    assert (tmp_path / "a.rrd").read_text() == "mine"


def test_the_archives_of_2013_are_those_that_files_have_now():
    now = {archive.resolution: archive.rows for archive in ARCHIVES.values()}
    assert {resolution: rows for resolution, rows in OLD_ARCHIVES if now[resolution] != rows} == {WEEK: 52}

import pytest
import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES, create, first_known, has_extremes, newest

NOW = 1_800_000_000
SIZE_OF_2013 = 10_000  # bytes of a file


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "probe.rrd"
    create(path, 60, NOW)
    return path


def write(path, seconds, watts=lambda second: 100.0, start=NOW, step=1):
    rrdtool.update(str(path), [f"{start + second}:{watts(second)!r}:1" for second in range(0, seconds, step)])


def old_file(path):
    """Make a file as Kwapi did before there were extremes."""
    archives = [f"RRA:AVERAGE:0.9999999:{resolution}:{rows}" for resolution, rows in ARCHIVES.values()]
    sources = ["DS:w:GAUGE:60:U:U", "DS:known:GAUGE:1000000000:U:U"]
    rrdtool.create(str(path), "--start", str(NOW - 1), "--step", "1", sources, archives)


def fetch(path, function, resolution, seconds):
    window = ["-r", str(resolution), "-s", str(NOW), "-e", str(NOW + seconds - resolution)]
    return [row[0] for row in rrdtool.fetch(str(path), function, *window)[2]]


def test_a_file_is_about_three_times_as_large_as_that_of_2013(path):
    assert path.stat().st_size < 3.3 * SIZE_OF_2013


def test_a_short_peak_is_there_in_the_archives_of_month_and_year(path):
    write(path, 40 * 86400, lambda second: 9000.0 if second == 1_000_000 else 100.0, step=50)
    for period in ("month", "year"):
        resolution = ARCHIVES[period].resolution
        assert max(filter(None, fetch(path, "MAX", resolution, 40 * 86400))) == 9000.0
        assert max(filter(None, fetch(path, "AVERAGE", resolution, 40 * 86400))) < 130
        assert min(filter(None, fetch(path, "MIN", resolution, 40 * 86400))) == 100.0


def test_a_file_without_extremes_is_told_from_one_with_them(path, tmp_path):
    old_file(tmp_path / "old.rrd")
    assert (has_extremes(path), has_extremes(tmp_path / "old.rrd")) == (True, False)


def test_a_file_tells_its_newest_value_and_about_when_it_got_its_first(path):
    assert first_known(path) is None
    write(path, 250)
    assert newest([path]) == {path: (NOW + 249, 100.0)}
    assert first_known(path) == pytest.approx(NOW, abs=1)
    write(path, 250, start=NOW + 3 * 86400)
    assert first_known(path) == pytest.approx(NOW, abs=ARCHIVES["week"].resolution)

"""The file of the registers: used by one process, grown, damaged, of another version, on a full disk."""

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.errors import ConfigError
from kwapi.plugins.api.registers import Registers
from kwapi.plugins.api.slots import FIRST_SLOTS, HEAD, SLOT
from tests.plugins.collecting import PROBES, feed, killed, kwhs, open_collector


def test_a_disk_that_does_not_take_what_was_written_is_told_once(tmp_path, caplog):
    registers = Registers(tmp_path)
    file = registers._slots._file
    registers._slots._file = 1 << 30  # no descriptor: each fsync fails
    registers.sync()
    registers.sync()
    assert caplog.text.count("cannot be written") == 1
    registers._slots._file = file
    with caplog.at_level("INFO"):
        registers.close()
    assert "is written again" in caplog.text


def test_a_file_that_cannot_be_written_keeps_no_other_from_the_disk(collector_of, tmp_path):
    collector = collector_of(tmp_path)
    feed(collector, (0, 3600.0), (10, 7200.0))
    registers = collector._registers
    file, registers._slots._file = registers._slots._file, 1 << 30  # no descriptor: each fsync fails
    registers.columns._room._is_full = True
    registers.sync()
    assert not registers.columns._room._is_full  # it was synced, too
    registers._slots._file = file


def test_two_processes_on_one_directory_are_refused(tmp_path):
    registers = Registers(tmp_path)
    with pytest.raises(ConfigError, match="another process, such as a kwapi-api, uses"):
        Registers(tmp_path)
    registers.close()
    Registers(tmp_path).close()


def test_a_directory_that_cannot_be_used_is_a_mistake_of_the_configuration(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="state_dir: cannot use"):
        Registers(tmp_path / "file")


def test_the_file_grows_with_the_probes(collector_of, tmp_path):
    names = [f"p{number}" for number in range(3 * FIRST_SLOTS)]
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0), probes=names)
    killed(before)
    after = collector_of(tmp_path)
    assert list(after.readings()) == names
    assert kwhs(after) == kwhs(before)


def test_a_file_of_another_version_is_kept_aside(collector_of, tmp_path, caplog):
    (tmp_path / "registers").write_bytes(b"kwapi energy 7\n" + b"of the future" * 1000)
    collector = collector_of(tmp_path)
    assert "has version 7, not 1" in caplog.text
    assert (tmp_path / "registers.aside-1").read_bytes().startswith(b"kwapi energy 7\n")
    feed(collector, (0, 1.0))
    killed(collector)
    assert len(collector_of(tmp_path).readings()) == 3


@pytest.mark.parametrize("content", [b"x", b"\x00" * 5000 + b"x" * 2000, b"\xff" * 100_000])
def test_a_file_of_something_else_is_kept_aside(collector_of, tmp_path, caplog, content):
    for number in (1, 2):
        (tmp_path / "registers").write_bytes(content)
        killed(collector_of(tmp_path))
        assert (tmp_path / f"registers.aside-{number}").read_bytes() == content
    assert caplog.text.count("holds no energy registers") == 2


@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"kwapi energy 1\n" + b"\x00" * 5000])
def test_a_file_in_which_nothing_stands_is_used_and_told(collector_of, tmp_path, caplog, content):
    (tmp_path / "registers").write_bytes(content)
    killed(collector_of(tmp_path))
    assert not list(tmp_path.glob("*aside*"))
    assert caplog.text.count("its beginning is missing or damaged") == 1
    caplog.clear()
    killed(collector_of(tmp_path))
    assert caplog.text == ""


def test_a_start_on_nothing_tells_of_no_damage(collector_of, tmp_path, caplog):
    killed(collector_of(tmp_path))
    assert caplog.text == ""


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, HEAD)])
def test_a_file_that_is_removed_or_cut_under_us_is_told_once(collector_of, tmp_path, caplog, harm):
    collector = collector_of(tmp_path)
    harm(tmp_path / "registers")
    collector._registers.sync()
    collector._registers.sync()
    assert caplog.text.count("somebody has removed or cut it") == 1


def test_where_the_beginning_is_damaged_the_records_are_used(collector_of, tmp_path, caplog):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0))
    killed(before)
    with (tmp_path / "registers").open("r+b") as file:
        file.write(b"\xff" * (HEAD + SLOT))
    assert collector_of(tmp_path).readings() == before.readings()
    assert "its beginning is damaged" in caplog.text


def test_a_damaged_record_costs_one_probe_and_is_told(collector_of, tmp_path, caplog):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0))
    killed(before)
    with (tmp_path / "registers").open("r+b") as file:
        file.seek(HEAD + 2 * SLOT)
        file.write(os.urandom(SLOT))
    after = collector_of(tmp_path)
    assert list(after.readings()) == ["a", "Ünï rack.1"]
    assert "1 records are damaged" in caplog.text
    feed(after, (20, 3600.0))
    assert set(kwhs(after)) == set(PROBES)


def test_slots_that_are_missing_are_told(collector_of, tmp_path, caplog):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0))
    killed(before)
    os.truncate(tmp_path / "registers", HEAD + 2 * SLOT)
    assert list(collector_of(tmp_path).readings()) == ["a"]
    assert f"the last {FIRST_SLOTS - 2} of {FIRST_SLOTS} slots are missing" in caplog.text


@given(
    st.lists(
        st.tuples(st.integers(0, HEAD + 6 * SLOT), st.binary(min_size=1, max_size=700), st.booleans()), max_size=4
    ),
    st.none() | st.integers(0, HEAD + 6 * SLOT),
)
def test_whatever_happens_to_the_file_the_start_succeeds_and_nothing_is_invented(tmp_path_factory, tears, cut):
    directory = tmp_path_factory.mktemp("torn")
    before = open_collector(directory)
    feed(before, *((second, 3600.0, 50.0 + second / 1000) for second in range(5)))
    true = kwhs(before)
    killed(before)
    with (directory / "registers").open("r+b") as file:
        for place, wrong, _ in tears:
            file.seek(place)
            file.write(wrong)
        if cut is not None:
            file.truncate(cut)
    after = open_collector(directory)
    assert set(kwhs(after)) <= set(PROBES)
    # A record is the newest or the one before, which a measurement ago was; or it is lost as a whole.
    assert all(
        kwh in (pytest.approx(true[name]), pytest.approx(true[name] - 0.001)) for name, kwh in kwhs(after).items()
    )
    feed(after, (10, 3600.0, 50.010), (11, 3600.0, 50.011))
    assert all(kwh == pytest.approx(0.011) or kwh == pytest.approx(0.001) for kwh in kwhs(after).values())
    after._registers.close()


def test_a_full_disk_keeps_new_probes_in_memory_and_tells_it_once(collector_of, tmp_path, caplog):
    collector = collector_of(tmp_path)
    names = [f"p{number}" for number in range(FIRST_SLOTS + 5)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEAD + FIRST_SLOTS * SLOT, limits[1]))
    try:
        feed(collector, (0, 3600.0), probes=names)
        collector._registers.sync()  # there might be room by now
        feed(collector, (10, 3600.0), probes=names)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert kwhs(collector) == dict.fromkeys(names, pytest.approx(0.01))
    assert caplog.text.count("cannot grow") == 1
    collector._registers.sync()
    feed(collector, (20, 3600.0), probes=names)
    killed(collector)
    assert kwhs(collector_of(tmp_path)) == dict.fromkeys(names, pytest.approx(0.02))

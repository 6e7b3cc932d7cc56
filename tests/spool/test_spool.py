"""What goes into a spool comes out of it, for as long as it is meant to."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import msgspec
import pytest

from kwapi.errors import BadMessage, ConfigError
from kwapi.measurement import VERSION, Message, encode, topic_of
from kwapi.signing import key_from, sign
from kwapi.spool.quota import MAX_BOOTS
from kwapi.spool.reader import Reader
from kwapi.spool.segment import Segment, read_frame, size_of
from kwapi.spool.store import SEGMENTS, WAITING_BYTES, Spool, segment_paths
from tests.clock import Clock

KEY = key_from(b"a key for the tests")
NAN = sign(KEY, b"lyon.pdu1.", msgspec.msgpack.encode({"boot": 7, "seq": 0, "timestamp": math.nan}))
BOOT, NOW = 7, 1_790_000_000.0
MIB = 1 << 20


def frame(seq, *, wattmeter="lyon.pdu1", boot=BOOT, timestamp=None, probes=2):
    message = Message(
        version=VERSION,
        type="measurement",
        wattmeter=wattmeter,
        boot=boot,
        seq=seq,
        timestamp=NOW + seq if timestamp is None else timestamp,
        monotonic=float(seq),
        interval=1.0,
        probes=[f"{wattmeter}-{number}" for number in range(probes)],
        w=[100.0] * probes,
    )
    return sign(KEY, topic_of(wattmeter), encode(message))


def frames(count, **more):
    return [frame(seq, **more) for seq in range(count)]


@pytest.fixture
def make(tmp_path):
    made = []

    def make(max_bytes=16 * MIB, **more):
        options = {"max_age": 3600.0, "clock": Clock(NOW), "steady_clock": Clock(0.0)} | more
        made.append(Spool(tmp_path / "spool", max_bytes=max_bytes, **options))
        return made[-1]

    yield make
    for spool in made:
        spool.close()


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path / "spool")
    yield reader
    reader.close()


def keep(spool, frames):
    for each in frames:
        spool.hand(each)
    spool.flush()


def kept(reader, first=0, last=10**9, max_bytes=MIB, topic=b"lyon.pdu1.", boot=BOOT):
    return reader.frames(topic, boot, first, last, max_bytes)


def test_frames_come_out_as_they_went_in_and_in_order(make, reader):
    put = frames(10)
    keep(make(), [*put[5:], *put[:5]])
    assert list(kept(reader).values()) == put
    assert kept(reader, 3, 5) == {seq: put[seq] for seq in (3, 4, 5)}


def test_a_page_has_at_least_a_frame_and_no_more_than_its_bytes(make, reader):
    put = frames(10)
    keep(make(), put)
    assert list(kept(reader, max_bytes=3 * len(put[0]))) == [0, 1, 2]
    assert list(kept(reader, 4, max_bytes=1)) == [4]


def test_a_frame_that_comes_twice_is_kept_once(make, reader):
    spool = make()
    keep(spool, frames(3))
    keep(spool, [frame(1, timestamp=NOW + 99), frame(3)])
    assert kept(reader) == dict(enumerate(frames(4)))


def test_what_has_a_place_and_what_has_none_yet_are_found_together(make, reader):
    spool, put = make(), frames(1200, probes=10)
    for end in range(100, 1201, 100):
        keep(spool, put[end - 100 : end])
        assert kept(reader) == dict(enumerate(put[:end]))
        assert [run[:4] for run in reader.runs(b"lyon.")] == [(b"lyon.pdu1.", BOOT, 0, end - 1)]
    assert [run[2:4] for run in reader.runs(b"lyon.", NOW + 700)] == [(700, 1199)]
    again = [frame(3, timestamp=NOW), frame(1199, timestamp=NOW), frame(1200)]
    keep(spool, again)
    assert kept(reader, 3, 3) == {3: put[3]}
    assert kept(reader, 1199) == {1199: put[1199], 1200: again[-1]}


def test_a_segment_that_was_left_before_its_frames_had_places_is_read(make, reader):
    spool = make()
    keep(spool, frames(10))
    spool.close()
    (path,) = segment_paths(spool.directory)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select row from placed").fetchall() == [(0,)]
        connection.execute("pragma wal_checkpoint(truncate)")
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
    Segment(path.with_name(f"{2:012}.spool"), MIB).close()
    assert kept(reader) == dict(enumerate(frames(10)))
    assert [run[:4] for run in reader.runs(b"lyon.", NOW + 3)] == [(b"lyon.pdu1.", BOOT, 3, 9)]


def test_runs_tell_what_there_is_of_each_publisher(make, reader):
    keep(make(), [*frames(5), *frames(3, boot=8), *frames(2, wattmeter="lyon.pdu10"), frame(9, wattmeter="paris.pdu1")])
    assert sorted(run[:4] for run in reader.runs(b"lyon.")) == [
        (b"lyon.pdu1.", BOOT, 0, 4),
        (b"lyon.pdu1.", 8, 0, 2),
        (b"lyon.pdu10.", BOOT, 0, 1),
    ]
    assert {run.topic for run in reader.runs(b"")} == {b"lyon.pdu1.", b"lyon.pdu10.", b"paris.pdu1."}
    assert [run[:4] for run in reader.runs(b"paris.", NOW + 9)] == [(b"paris.pdu1.", BOOT, 9, 9)]
    assert reader.runs(b"paris.", NOW + 10) == []


@pytest.mark.parametrize(("since", "first"), [(0.0, 0), (NOW, 0), (NOW + 0.5, 1), (NOW + 57, 57), (NOW + 99, 99)])
def test_a_run_begins_at_the_time_that_was_asked_for(make, reader, since, first):
    keep(make(), frames(100))
    (run,) = reader.runs(b"lyon.pdu1.", since)
    assert (run.first, run.last, run.timestamp) == (first, 99, NOW + 99)


def test_a_spool_goes_on_after_a_restart(make, reader):
    spool = make()
    keep(spool, frames(5))
    spool.close()
    keep(make(), [frame(5)])
    assert list(kept(reader)) == [0, 1, 2, 3, 4, 5]
    assert len(segment_paths(spool.directory)) == 1


def fill(spool, clock, count, step=0.0, **more):
    """Hand in frames as they come, with the tidying that run() does."""
    for begin in range(0, count, 50):
        keep(spool, [frame(seq, **more) for seq in range(begin, min(begin + 50, count))])
        clock.now += step
        spool.tidy()


def test_the_oldest_go_when_the_spool_is_full(make, reader):
    clock = Clock(0.0)
    spool = make(4 * MIB, steady_clock=clock)
    fill(spool, clock, 8000, probes=40)
    assert sum(map(size_of, segment_paths(spool.directory))) <= 4 * MIB
    there = list(kept(reader, max_bytes=10 * MIB))
    assert there == list(range(there[0], 8000))
    assert 4000 < there[0] < 7000


def test_the_oldest_go_when_they_are_too_old(make, reader, tmp_path):
    clock, steady = Clock(NOW), Clock(0.0)
    spool = make(max_age=SEGMENTS * 10.0, clock=clock, steady_clock=steady)
    fill(spool, steady, 200, step=11.0)
    assert len(segment_paths(spool.directory)) >= 3
    for path in segment_paths(spool.directory)[:2]:
        os.utime(path, (NOW - SEGMENTS * 10.0 - 1,) * 2)
    for path in segment_paths(spool.directory)[2:]:
        os.utime(path, (NOW,) * 2)
    spool.tidy()
    assert list(kept(reader))[0] == 100
    assert list(kept(reader))[-1] == 199


def test_one_wattmeter_leaves_room_for_the_others(make, reader):
    spool = make()
    for number in range(20):
        keep(spool, [frame(0, wattmeter=f"lyon.pdu{number}")])
    flood = frames(1000, probes=40)[1:]
    keep(spool, flood)
    assert 0 < spool.dropped["its wattmeter has its share"] < 1000
    assert len(kept(reader, max_bytes=MIB)) + spool.dropped["its wattmeter has its share"] == 1000
    assert len(segment_paths(spool.directory)) == 1


def test_a_flood_under_one_name_leaves_a_quarter_of_the_hours(make, reader):
    """Two wattmeters at 1 Hz, and a third name under which somebody sends without rest."""
    steady = Clock(0.0)
    spool = make(max_age=SEGMENTS * 40.0, steady_clock=steady)
    for second in range(400):
        keep(spool, [frame(second), frame(second, wattmeter="lyon.pdu2")])
        keep(spool, [frame(second * 100 + part, wattmeter="forged", probes=100) for part in range(100)])
        steady.now += 1.0
        spool.tidy()
    for topic in (b"lyon.pdu1.", b"lyon.pdu2."):
        there = list(kept(reader, topic=topic))
        assert there == list(range(there[0], 400))
        assert there[0] <= 400 - 0.25 * 14 * 40
    assert spool.dropped["its wattmeter has its share"] > 10_000
    assert 1000 < spool.kept < 40_000


@pytest.mark.parametrize("times", [1.0, 2.0, 3.9])
def test_a_large_wattmeter_beside_a_small_one_has_no_hole_in_a_spool_that_is_too_small(make, reader, times):
    """One that fills its half of a segment several times, up to 1 / WHILE, in the seconds of a segment."""
    steady = Clock(0.0)
    seconds = 2.0 * (MIB / 2) / len(frame(0, probes=200))
    spool = make(max_age=SEGMENTS * seconds * times, steady_clock=steady)
    for second in range(2000):
        keep(spool, [frame(second, probes=200), frame(second, wattmeter="lyon.pdu2")])
        steady.now += 2.0
        spool.tidy()
    assert spool.dropped == {}
    there = list(kept(reader, max_bytes=100 * MIB))
    assert there == list(range(there[0], 2000))
    assert list(kept(reader, topic=b"lyon.pdu2."))[0] == there[0]


@pytest.mark.parametrize("probes", [1, 3000])
def test_forged_names_without_number_take_no_more_than_the_spool_may(make, probes):
    spool = make()
    together = 3000 // probes
    for step in range(40 if probes == 1 else 1200):
        numbers = range(step * together, (step + 1) * together)
        keep(spool, [frame(0, wattmeter=f"forged{number}", boot=number, probes=probes) for number in numbers])
        assert sum(file.stat().st_size for file in spool.directory.iterdir()) <= 16 * MIB
    assert spool.kept > 5 * SEGMENTS
    assert spool.dropped == {}


def test_a_name_with_boots_without_number_leaves_room_for_others(make, reader):
    spool = make(256 * MIB)
    keep(spool, [frame(0, boot=boot) for boot in range(MAX_BOOTS + 5)])
    keep(spool, [frame(0, wattmeter="lyon.pdu2")])
    assert (spool.kept, spool.dropped) == (MAX_BOOTS + 1, {"too many publishers": 5})


def test_a_frame_that_is_too_large_for_the_spool_is_not_kept(make):
    spool = make()
    keep(spool, [frame(0, probes=10_000), frame(1)])
    assert (spool.kept, spool.dropped) == (1, {"too large": 1})


def test_what_waits_for_the_disk_is_bounded_in_bytes(make):
    spool = make()
    large = frame(0, probes=30_000)
    for _ in range(100):
        spool.hand(large)
    assert spool.dropped == {"too many wait": 100 - WAITING_BYTES // len(large)}


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"x" * 100,
        b"lyon.pdu1.\0" + b"k" * 100,
        frame(0, boot=2**63),
        frame(0, wattmeter="x" * 81),
        NAN,
        b"\1lyon.",
    ],
)
def test_what_is_no_frame_is_not_kept(make, garbage):
    spool = make()
    with pytest.raises(BadMessage):
        read_frame(garbage)
    keep(spool, [garbage, frame(0)])
    assert (spool.kept, spool.dropped) == (1, {"malformed": 1})


def test_a_directory_has_one_daemon(make, tmp_path):
    make()
    with pytest.raises(ConfigError, match="another daemon uses"):
        Spool(tmp_path / "spool", max_bytes=MIB, max_age=1.0)


def test_a_directory_that_cannot_be_is_a_mistake_of_the_configuration(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="spool_dir: cannot use"):
        Spool(tmp_path / "file" / "spool", max_bytes=MIB, max_age=1.0)


def test_a_damaged_segment_that_cannot_be_set_aside_ends_nothing(make, reader):
    spool = make(256 * MIB)
    keep(spool, frames(8000, probes=20)[::2])  # more than SQLite has in memory
    (path,) = segment_paths(spool.directory)
    (spool.directory / f"{path.stem}.damaged" / "no file").mkdir(parents=True)
    for file in (path, path.with_name(f"{path.name}-wal")):
        file.write_bytes(b"\xff" * file.stat().st_size)
    keep(spool, frames(8000, probes=20)[1::2])
    unseen = spool.kept - 4000  # appended, until what was there before was looked at
    assert spool.dropped["disk"] == 4000 - unseen > 0
    keep(spool, frames(10))
    assert spool.dropped["disk"] == 4010 - unseen


@pytest.mark.parametrize("word", [b"TABLE", b"topic", b"autoindex_source", b"placed", b"rowid"])
def test_a_segment_whose_tables_are_damaged_is_passed_over_and_set_aside(make, reader, word):
    spool = make()
    keep(spool, frames(3))
    spool.close()
    (path,) = segment_paths(spool.directory)
    path.write_bytes(path.read_bytes().replace(word, b"\xff" + word[1:]).replace(word.lower(), b"\xff" + word[1:]))
    assert kept(reader) == {}
    keep(make(), [frame(600)])
    assert list(kept(reader)) == [600]


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_damaged_segment_is_set_aside_and_the_spool_goes_on(make, reader, caplog, damage):
    spool = make()
    keep(spool, frames(500, probes=20))
    spool.close()
    (path,) = segment_paths(spool.directory)
    contents = path.read_bytes()
    path.write_bytes(contents[:8192] + b"\xff" * (len(contents) - 8192) if damage is None else damage)
    spool = make()
    keep(spool, [frame(600)])
    assert 600 in kept(reader)
    assert [record.levelname for record in caplog.records if "damaged" in record.message] == ["WARNING"]


def test_a_reader_passes_over_a_damaged_segment(make, reader, caplog):
    spool = make()
    keep(spool, frames(500, probes=20))
    spool.close()
    (path,) = segment_paths(spool.directory)
    contents = path.read_bytes()
    path.write_bytes(contents[: 2 * 8192] + b"\xff" * (len(contents) - 2 * 8192))
    path.with_name(f"{2:012}.spool").write_bytes(b"no database")
    kept(reader), kept(reader)
    assert reader.runs(b"") == reader.runs(b"")
    assert len([record for record in caplog.records if "cannot be repaired" in record.message]) == 2


def test_a_disk_that_is_full_is_told_once_and_its_end_too(tmp_path):
    program = """
import logging, resource, signal, sys
from tests.spool.test_spool import frame, keep, Clock, NOW
from kwapi.spool.store import Spool, RETRY, WELL
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s", stream=sys.stdout)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clock = Clock(0.0)
spool = Spool(sys.argv[1], max_bytes=1 << 30, max_age=3600.0, clock=Clock(NOW), steady_clock=clock)
keep(spool, [frame(0)])
resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, resource.RLIM_INFINITY))
for seq in range(1, 401):
    clock.now += RETRY
    keep(spool, [frame(seq, probes=40)])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for seq in (1000, 1001):
    clock.now += WELL + RETRY
    keep(spool, [frame(seq)])
print(spool.kept, spool.dropped["disk"])
spool.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True, timeout=50
    )
    *told, counts = done.stdout.splitlines()
    assert [line.split()[0] for line in told] == ["WARNING", "INFO"], done.stdout
    stored, dropped = map(int, counts.split())
    assert stored + dropped == 403
    assert dropped > 100


def test_frames_that_were_handed_in_are_kept_when_it_stops(make, reader):
    spool, stop = make(steady_clock=Clock(0.0)), threading.Event()
    thread = threading.Thread(target=spool.run, args=(stop,))
    thread.start()
    for each in frames(300):
        spool.hand(each)
    stop.set()
    thread.join(10)
    assert list(kept(reader)) == list(range(300))


def test_a_kill_loses_nothing_that_was_committed(tmp_path, reader):
    program = """
import sys, threading
from tests.spool.test_spool import frame, keep
from kwapi.spool.store import Spool
spool = Spool(sys.argv[1], max_bytes=1 << 26, max_age=3600.0)
for seq in range(10**6):
    keep(spool, [frame(seq)])
    print(seq, flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "spool")], stdout=subprocess.PIPE, text=True
    )
    with child:
        for _ in range(300):
            said = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        said = int(rest[-1]) if rest and rest[-1].isdigit() else said
    there = list(kept(reader, max_bytes=1 << 26))
    assert there == list(range(len(there)))
    assert len(there) > said

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

from kwapi.spool.reader import Reader
from kwapi.spool.store import Spool
from tests.hasty import hasty
from tests.messages import frame
from tests.waiting import eventually

MIB = 1 << 20
THREADS, FRAMES = 8, 500


def test_what_many_threads_hand_in_at_once_is_kept_or_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("kwapi.spool.store.WAITING", 300)
    spool, stop = Spool(tmp_path, max_bytes=16 * MIB, max_age=3600.0), Event()
    puts = [[frame(wattmeter=f"pdu{number}", seq=seq) for seq in range(FRAMES)] for number in range(THREADS)]
    writer = Thread(target=spool.run, args=(stop,))
    writer.start()
    with hasty(), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda put: [spool.hand(each) for each in put], puts))
    eventually(lambda: spool.kept + spool.dropped["too many wait"] == THREADS * FRAMES)
    stop.set()
    writer.join()
    reader = Reader(tmp_path)
    found = [reader.frames(f"pdu{number}.".encode(), 1, 0, FRAMES, 16 * MIB) for number in range(THREADS)]
    reader.close()
    assert sum(map(len, found)) == spool.kept
    assert all(put[seq] == kept for put, there in zip(puts, found, strict=True) for seq, kept in there.items())

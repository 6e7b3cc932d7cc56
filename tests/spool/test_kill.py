"""What a kill -9 may cost: what was sent in the last 10 ms, by the record of the one who sent."""

import os
import signal
import struct
import subprocess
import sys

import pytest

from kwapi.spool.reader import Reader
from tests.messages import KEY

RECORD = struct.Struct("qd")  # seq, and when it was sent
PROGRAM = """
import os, sys, threading, time
from kwapi.bus import Publisher
from kwapi.measurement import Measurement
from kwapi.spool.store import Spool
from tests.messages import KEY
from tests.spool.test_kill import RECORD
spool = Spool(sys.argv[1] + "/spool", max_bytes=1 << 26, max_age=3600.0)
threading.Thread(target=spool.run, args=(threading.Event(),), daemon=True).start()
publisher = Publisher(f"ipc://{sys.argv[1]}/bus", KEY, boot=7, keep=spool.hand_numbered)
sender = publisher.sender("lyon.pdu1", 1.0)
seq = 0
while True:
    sent = time.monotonic()
    sender.publish([Measurement("taurus-1", watts=float(seq))], time.time(), sent)
    os.write(1, RECORD.pack(seq, sent))
    seq += 1
    time.sleep(0.0005)
"""


def record_of_a_life(directory, seconds):
    """Return (seq, when) of all that a publisher sent until it was killed."""
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(directory)], stdout=subprocess.PIPE)
    with child:
        record = b""
        while len(record) < RECORD.size * seconds * 1000:
            record += os.read(child.stdout.fileno(), 1 << 16)
        child.send_signal(signal.SIGKILL)
        record += child.stdout.read()
    return list(RECORD.iter_unpack(record[: len(record) // RECORD.size * RECORD.size]))


@pytest.mark.parametrize("seconds", [0.3, 0.51, 0.73])
def test_a_kill_costs_no_more_than_what_was_sent_last(tmp_path, seconds):
    """Nothing is missing before the end; how long that is, bench/spool.py says."""
    record = record_of_a_life(tmp_path, seconds)
    reader = Reader(tmp_path / "spool")
    kept = reader.frames(b"lyon.pdu1.", 7, 0, 10**9, 1 << 30)
    reader.close()
    assert KEY.id in kept[0]
    assert list(kept) == list(range(len(kept)))
    assert len(record) - 200 < len(kept) <= len(record) + 1

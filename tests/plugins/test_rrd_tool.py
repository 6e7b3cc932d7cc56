import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
import rrdtool

from kwapi.plugins.rrd.archive import create
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.tool import Tool, ToolApart
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000
STEP_AT = 40  # bytes into the file, where its header has the seconds of a step


@pytest.fixture
def apart():
    tool = ToolApart()
    yield tool
    tool.close()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "probe.rrd"
    create(path, 60, NOW)
    rrdtool.update(str(path), [f"{NOW + second}:5.5:1" for second in range(20)])
    return path


def damage(path):
    """Give a file a header with which rrdtool divides by zero."""
    with path.open("r+b") as file:
        file.seek(STEP_AT)
        file.write(struct.pack("<Q", 0))


@pytest.mark.parametrize(
    "call",
    [
        ("last", "{path}"),
        ("info", "{path}"),
        ("fetch", "{path}", "AVERAGE", "-s", str(NOW), "-e", str(NOW + 9)),
        ("update", "{path}", [f"{NOW + 100}:7:1"]),
        ("update", "{path}", [f"{NOW}:7:1"]),
        ("last", "{path}.missing"),
        ("graphv", "-", "-s", str(NOW), "-e", str(NOW + 9), "DEF:w={path}:w:AVERAGE", "LINE1:w#ff0000"),
    ],
)
def test_a_call_gives_the_same_apart(path, apart, call):
    content = path.read_bytes()
    results = []
    for tool in (Tool(), apart):
        path.write_bytes(content)
        (result,) = tool.calls([[part.format(path=path) if isinstance(part, str) else part for part in call]])
        results.append(str(result).replace("(", "[").replace(")", "]"))
    assert results[0] == results[1]


def test_a_call_that_ends_the_process_has_failed_and_the_others_are_made(path, apart, tmp_path):
    bad = tmp_path / "bad.rrd"
    bad.write_bytes(path.read_bytes())
    damage(bad)
    calls = [("update", str(file), [f"{NOW + 50}:1:1"]) for file in (path, bad)] + [("last", str(path))]
    first, second, third = apart.calls(calls)
    assert (first, third) == (None, NOW + 50)
    assert str(second) == "rrdtool was ended by SIGFPE"
    with pytest.raises(rrdtool.OperationalError, match="SIGFPE"):
        apart.call("update", str(bad), [f"{NOW + 50}:1:1"])
    assert apart.call("last", str(path)) == NOW + 50


def test_its_process_may_be_killed(path, apart):
    assert apart.call("last", str(path)) == NOW + 19
    os.kill(apart.pid, signal.SIGKILL)
    with pytest.raises(rrdtool.OperationalError, match="SIGKILL"):
        apart.call("last", str(path))
    assert apart.call("last", str(path)) == NOW + 19


def test_its_process_ends_with_ours(path):
    program = f"""
import os, signal
from kwapi.plugins.rrd.tool import ToolApart
tool = ToolApart()
tool.call("last", {str(path)!r})
print(tool.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    end = time.monotonic() + 30
    while Path(f"/proc/{ended.stdout.strip()}").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_many_threads_may_call(path, apart):
    wrong = []

    def ask(number):
        for _ in range(50):
            if apart.calls([("last", str(path)), ("last", f"{path}.{number}")])[0] != NOW + 19:
                wrong.append(number)

    threads = [Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_files_that_are_cut_short_while_they_are_written_cost_no_others(tmp_path, apart):
    clock, stop, chance = Clock(), Event(), random.Random(4)
    store = Store(tmp_path / "rrd", tool=apart, clock=clock, steady_clock=clock)
    bad = [store.path(f"bad{number}") for number in range(20)]

    def cut():
        while not stop.is_set():
            for path in bad:
                try:
                    os.truncate(path, chance.choice([0, 10, 4096, 9000, 20000]))
                    if chance.random() < 0.5:
                        path.unlink()
                except FileNotFoundError:
                    pass

    cutter = Thread(target=cut)
    cutter.start()
    for _ in range(150):
        clock.now += 1
        for number in range(20):
            for kind in ("bad", "good"):
                store.add(message(f"{kind}{number}", probes=[f"{kind}{number}"], timestamp=clock.now))
        store.flush()
    stop.set()
    cutter.join()
    for number in range(20):
        window = ["-r", "1", "-s", str(NOW + 1), "-e", str(NOW + 149)]
        rows = rrdtool.fetch(str(store.path(f"good{number}")), "AVERAGE", *window)[2]
        assert rows == [(100.0, 1.0)] * 149
    for path in bad:
        path.unlink(missing_ok=True)
    for _ in range(2):
        clock.now += 1
        for number in range(20):
            store.add(message(f"bad{number}", probes=[f"bad{number}"], timestamp=clock.now))
        store.flush()
    assert not any(probe.broken for probe in store.probes())

"""What a disk does to the store: a fault is said once, the other files are written, and all is well again after it.

The faults are those of a process, so each has one of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = """
import json, logging, os, resource, sys
from pathlib import Path
import rrdtool
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.tool import Tool, ToolApart
from tests.clock import Clock
from tests.messages import message

kind, directory = sys.argv[1], Path(sys.argv[2])
if kind == "full":
    os.system(f"mount -t tmpfs -o size=400k tmpfs {directory}") and sys.exit(77)
if kind == "read-only" and os.getuid() == 0:
    os.setuid(65534)
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append((record.levelname, record.getMessage()))
logging.basicConfig(level=logging.INFO, handlers=[handler])
clock = Clock()
store = Store(directory / "rrd", tool=ToolApart() if kind == "full" else Tool(), clock=clock, steady_clock=clock)

def measure(*probes):
    for _ in range(10):
        clock.now += 1
        for probe in probes:
            store.add(message(probe, probes=[probe], timestamp=clock.now))
    store.flush()

def begin():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
    elif kind == "read-only":
        os.chmod(directory / "rrd", 0o555)
    else:
        with (directory / "ballast").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 1000):
                    pass
            except OSError:
                pass

def end():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    elif kind == "read-only":
        os.chmod(directory / "rrd", 0o755)
    else:
        (directory / "ballast").unlink()

measure("old 1", "old 2")
measure("old 1", "old 2")
begin()
for _ in range(3):
    measure("old 1", "old 2", "new 1", "new 2")
meanwhile = {probe.name: probe.broken for probe in store.probes()}
told = list(said)
end()
for _ in range(2):
    measure("old 1", "old 2", "new 1", "new 2")
rows = {}
for path in sorted(directory.rglob("*.rrd")):
    window = ["-r", "1", "-s", "1800000000", "-e", str(int(clock.now) - 1)]
    rows[path.name] = sum(row[0] is not None for row in rrdtool.fetch(str(path), "AVERAGE", *window)[2])
listed = sorted(json.loads((directory / "rrd" / "probes.json").read_text()))
print(json.dumps({"told": told, "said": said, "meanwhile": meanwhile, "rows": rows, "listed": listed}))
"""


@pytest.mark.parametrize("kind", ["limit", "full", "read-only"])
def test_a_disk_that_takes_no_new_file_is_said_once_and_nothing_is_lost(kind):
    command = [sys.executable, "-c", PROGRAM]
    if kind == "full":
        command = ["unshare", "--mount", *(["--map-root-user"] if os.getuid() else []), *command]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        ended = subprocess.run([*command, kind, directory], capture_output=True, text=True, timeout=60)
    if kind == "full" and (ended.returncode == 77 or "unshare" in ended.stderr):
        pytest.skip("nothing may be mounted here")
    assert ended.stderr == ""
    result = json.loads(ended.stdout)
    assert result["meanwhile"] == {"old 1": False, "old 2": False, "new 1": True, "new 2": True}
    assert result["rows"] == {
        "old%201.rrd": 69,
        "old%202.rrd": 69,
        "new%201.rrd": 49,
        "new%202.rrd": 49,
        "site-.rrd": 69,
        "all.rrd": 69,
    }
    assert result["listed"] == ["new 1", "new 2", "old 1", "old 2"]
    about_files = [text for level, text in result["told"] if level == "WARNING" and "can't write" in text]
    assert len(about_files) == 1
    assert "new%201.rrd" in about_files[0] and "new%202.rrd" in about_files[0]
    assert len([level for level, _ in result["said"] if level == "WARNING"]) <= 3  # and of the lists
    assert any(level == "INFO" and "written again" in text for level, text in result["said"])

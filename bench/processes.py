"""What processes use, as Linux counts it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start, and what is held now, of some processes together."""

    processes: int
    cpu: float
    rss_mb: float
    threads: int
    files: int


@contextmanager
def started(module: str, *arguments: Any) -> Iterator["subprocess.Popen[str]"]:
    """Have a module of the benchmarks run as a process, whose output can be read; it is ended at the end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()


def children(pid: int) -> list[int]:
    """Return the processes that a process started, whichever of its threads did."""
    return [int(child) for path in (PROC / str(pid) / "task").glob("*/children") for child in path.read_text().split()]


def usage(*pids: int) -> Usage:
    """Return what the processes use together."""
    statuses = [_status(pid) for pid in pids]
    return Usage(
        processes=len(pids),
        cpu=sum(map(cpu_seconds, pids)),
        rss_mb=sum(int(status["VmRSS"].split()[0]) for status in statuses) / 1024,
        threads=sum(int(status["Threads"]) for status in statuses),
        files=sum(len(list((PROC / str(pid) / "fd").iterdir())) for pid in pids),
    )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, to the microsecond; /proc has it in steps of 10 ms."""
    return time.clock_gettime(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) returns, which Python has not


def rss_mb() -> float:
    """Return what memory this process holds now."""
    return int(_status(os.getpid())["VmRSS"].split()[0]) / 1024


def machine_cpu_seconds() -> float:
    """Return the CPU time that everything on this machine has used."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (PROC / "stat").read_text().split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / TICKS


def _status(pid: int) -> dict[str, str]:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

"""Measures the CPU time of one full poll of a PDU, by each back end of SNMP: ``python -m bench.snmp``.

The PDU has 48 outlets with 5 columns, 240 values. Its agent (pysnmp's, the tests' own) is a process of its own, whose
CPU time is given apart. The first reading, which finds the rows, is not counted. Figures are medians of the runs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pysnmp.entity import config

from bench.processes import cpu_seconds
from kwapi.drivers.snmp.client import Client, Target
from kwapi.drivers.snmp.gufo import GufoClient
from kwapi.drivers.snmp.pysnmp import PysnmpLoop
from tests.drivers.snmp_agent import SnmpAgent

TABLE = "1.3.6.1.4.1.99999.1.1"
USER = ("bench", config.USM_AUTH_HMAC192_SHA256, "auth-secret", config.USM_PRIV_CFB128_AES, "priv-secret")
V3 = "v3 SHA-256 AES-128"
VERSIONS: dict[str, dict[str, Any]] = {
    "v2c": {"version": "2c"},
    V3: {
        "version": "3",
        "user": "bench",
        "auth_protocol": "SHA-256",
        "auth_key": "auth-secret",
        "priv_protocol": "AES-128",
        "priv_key": "priv-secret",
    },
}
BACK_ENDS = {"gufo-snmp": lambda: GufoClient(Client(PysnmpLoop)), "pysnmp": lambda: Client(PysnmpLoop)}


def serve(outlets: int, columns: int) -> None:
    """Serve a PDU until standard input ends; its port is the first line of the output."""
    cells = {
        f"{TABLE}.{column}.{row}": 1000 * column + row for column in range(columns) for row in range(1, outlets + 1)
    }
    with SnmpAgent(cells, [USER]) as agent:
        print(agent.port, flush=True)
        sys.stdin.read()


@contextmanager
def pdu(outlets: int, columns: int) -> Iterator[tuple[int, int]]:
    """Run an agent as a process; yield its port and process id."""
    command = [sys.executable, "-m", "bench.snmp", "--serve", "--outlets", str(outlets), "--columns", str(columns)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        if process.stdout is None:
            raise RuntimeError("the agent has no output")
        yield int(process.stdout.readline()), process.pid
        process.communicate(timeout=10)


def measure(back_end: str, options: dict[str, Any], args: argparse.Namespace) -> dict[str, float]:
    """Return milliseconds for each poll: CPU time here, CPU time of the agent, wall time."""
    with pdu(args.outlets, args.columns) as (port, pid):
        client = BACK_ENDS[back_end]()
        agent = client.agent(Target("127.0.0.1", port, timeout=5.0, **options))
        oids = [f"{TABLE}.{column}" for column in range(args.columns)]
        for _ in range(3):
            found = agent.columns(oids)
        if sum(map(len, found.values())) != args.outlets * args.columns:
            raise RuntimeError(f"{back_end} did not read every value")
        runs = [_run(agent, oids, pid, args.polls) for _ in range(args.runs)]
        client.close()
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def _run(agent: Any, oids: list[str], pid: int, polls: int) -> dict[str, float]:
    before = time.process_time(), cpu_seconds(pid), time.monotonic()
    for _ in range(polls):
        agent.columns(oids)
    after = time.process_time(), cpu_seconds(pid), time.monotonic()
    names = ("cpu_ms", "agent_cpu_ms", "wall_ms")
    return {name: 1000 * (end - start) / polls for name, start, end in zip(names, before, after, strict=True)}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--outlets", type=int, default=48)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--polls", type=int, default=50, help="polls in a run")
    parser.add_argument("--runs", type=int, default=5, help="runs, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.outlets, args.columns)
        return
    results = [
        {"version": version, "back_end": back_end, **measure(back_end, options, args)}
        for version, options in VERSIONS.items()
        for back_end in BACK_ENDS
    ]
    if args.json:
        print(json.dumps(results, indent=2))
        return
    print(f"milliseconds for each poll of {args.outlets * args.columns} values, median of {args.runs} runs")
    print(f"{'':20}{'back end':12}{'CPU':>8}{'agent CPU':>12}{'wall':>8}")
    for result in results:
        figures = f"{result['cpu_ms']:8.2f}{result['agent_cpu_ms']:12.1f}{result['wall_ms']:8.1f}"
        print(f"{result['version']:20}{result['back_end']:12}{figures}")


if __name__ == "__main__":
    main()

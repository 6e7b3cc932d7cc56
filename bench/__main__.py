"""Measures the whole of Kwapi and prints one table: ``python -m bench``.

The daemons are real ones, each a process. CPU time comes first, which says the same on a busy machine, but for
caches: so each figure is compared with a bare loop of ZeroMQ and, given another checkout, with that, in the
same minute. ``--only`` measures some of the rows, ``--quick`` less often.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import daemons, latency, prototype, way
from bench.table import Row, as_json, keep, lines, slower
from bench.way import Options

RATIOS = Path(__file__).with_name("ratios.json")
Groups = Mapping[str, Callable[[Options], Iterator[Row]]]
GROUPS: Groups = {
    "bounded": prototype.bounded,
    "costs": way.costs,
    "spool": way.spool,
    "plugins": way.plugins,
    "forwarder": daemons.forwarder,
    "rates": way.rates,
    "latency": latency.latencies,
    "starts": daemons.starts,
    "idle": daemons.idle,
    "requests": daemons.requests,
    "memory": daemons.memory,
    "polls": daemons.polls,
    "files": daemons.files,
    "whole": way.whole,
}


def measured(names: Sequence[str], groups: Groups, options: Options) -> Iterator[Row]:
    """Yield the rows of some groups; each is shown on standard error as soon as it is there."""
    for group in names:
        begun = time.monotonic()
        try:
            for row in groups[group](options):
                print(f"{row.name}: {row.value:.4g} {row.unit}", file=sys.stderr)
                yield row
        except (TimeoutError, RuntimeError) as error:  # a daemon did not get there; the other groups may
            print(f"-- {group} ended early: {error}", file=sys.stderr)
        print(f"-- {group}: {time.monotonic() - begun:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


def main(argv: Sequence[str] | None = None, *, groups: Groups = GROUPS) -> int:
    """Print the table; return the exit status, 1 if a row has become slower."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=groups, help="a group of rows; may be repeated")
    parser.add_argument("--quick", action="store_true", help="one window of each, not the median of five")
    parser.add_argument("--baseline", type=Path, help="another checkout, whose daemons are measured beside")
    parser.add_argument("--json", type=Path, help="file for the rows as JSON")
    parser.add_argument("--check", action="store_true", help="fail if a ratio to the bare loop has grown by half")
    parser.add_argument("--keep", action="store_true", help="keep the ratios for --check")
    args = parser.parse_args(argv)
    options = Options(baseline=args.baseline and args.baseline.resolve())
    if args.quick:
        options = Options(windows=1, baseline=options.baseline)
    rows = list(measured(args.only or list(groups), groups, options))
    print("\n".join(lines(rows)))
    if args.json:
        args.json.write_text(as_json(rows))
    if args.keep:
        keep(rows, RATIOS)
    problems = slower(rows, RATIOS) if args.check else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

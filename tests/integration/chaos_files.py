"""What the RRD files must have after chaos: every second of what was delivered, by the record alone."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import rrdtool

from kwapi.energy import MAX_GAP, gap_limit
from kwapi.plugins.rrd.archive import file_name
from tests.integration.chaos_judge import Record

ROW = 10  # seconds, of the archive that reaches back an hour
KNOWN = 0.9999  # of a row, which is rounded to ms where a value begins and ends
NEAR = 0.2  # W, for the same reason


def values_of(record: Record, plugin: str) -> dict[str, list[tuple[float, float, float]]]:
    """Return (timestamp, watts, longest gap) of each probe in order, without those not newer than the one before."""
    values: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for topic, stream in record.streams.items():
        for name in record.given(plugin, topic):
            message = stream.messages[name]
            timestamp, longest = round(message.timestamp, 3), gap_limit(MAX_GAP, message.interval)
            for probe, watts in zip(message.probes, message.w or (), strict=False):
                if watts is not None and (not values[probe] or timestamp > values[probe][-1][0]):
                    values[probe].append((timestamp, watts, longest))
    return values


def rows_of(values: list[tuple[float, float, float]]) -> dict[int, float]:
    """Return the mean power of each row that is known as a whole, by its end; a value stands for the time before it."""
    joules: dict[int, float] = defaultdict(float)
    seconds: dict[int, float] = defaultdict(float)
    for (since, _, _), (until, watts, longest) in pairwise(values):
        if until - since > longest:
            continue
        at = since
        while at < until:
            end = (int(at) // ROW + 1) * ROW
            part = min(until, end) - at
            joules[end] += watts * part
            seconds[end] += part
            at = min(until, end)
    return {end: joules[end] / ROW for end in joules if seconds[end] > ROW * KNOWN}


def judge_files(record: Record, plugin: str, directory: Path) -> tuple[int, list[str]]:
    """Return how many rows were compared, and those that are wrong."""
    compared, wrong = 0, []
    for probe, values in values_of(record, plugin).items():
        expected = rows_of(values)
        found = _found(directory / file_name(probe), expected)
        for end, watts in expected.items():
            mean, known = found.get(end, (None, None))
            compared += 1
            if mean is None or known is None or known < KNOWN or abs(mean - watts) > NEAR:
                wrong.append(f"{probe} until {end}: {mean} W, {known} of it known, instead of {watts} W")
    return compared, wrong


def _found(path: Path, expected: dict[int, float]) -> dict[int, tuple[float | None, float | None]]:
    if not expected:
        return {}
    window = ["-r", str(ROW), "-s", str(min(expected) - ROW), "-e", str(max(expected))]
    (start, _, step), names, rows = rrdtool.fetch(str(path), "AVERAGE", *window)
    assert step == ROW
    watts, known = names.index("w"), names.index("known")
    return {start + step * (number + 1): (row[watts], row[known]) for number, row in enumerate(rows)}

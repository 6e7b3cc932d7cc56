"""What tests do with the store of kwapi-rrd, and what they find in its files."""

import logging

import rrdtool

from tests.messages import message

NOW = 1_800_000_000.0


def add(store, timestamp, watts=100.0, probe="taurus-1", **fields):
    store.add(message(probes=[probe], w=[watts], timestamp=timestamp, **fields))


def fetch(store, probe="taurus-1", start=NOW - 20, end=NOW, resolution=1):
    """Return {end of the row: watts} of the rows that are known."""
    (first, _, step), _, rows = rrdtool.fetch(
        str(store.path(probe)), "AVERAGE", "-r", str(resolution), "-s", str(int(start)), "-e", str(int(end))
    )
    times = range(int(first + step), int(first + step * (len(rows) + 1)), step)
    return {time: row[0] for time, row in zip(times, rows, strict=True) if row[0] is not None}


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

"""The numbers of a graph, for other programs: JSON and CSV.

A row is [Unix seconds at its end, watts, lowest and highest watts, share of its time that was known]. Watts are a mean
of the known part, so a row's energy is watts x share x step. The lowest and the highest of a sum of chosen probes are
not known: they are its watts again.
"""

import csv
import io
from typing import Any

import msgspec

from kwapi.plugins.rrd.archive import ARCHIVES
from kwapi.plugins.rrd.figures import Figures
from kwapi.plugins.rrd.look import Plot, Target, colour
from kwapi.plugins.rrd.reading import Reading
from kwapi.plugins.rrd.rows import Row


def to_json(period: str, target: Target, reading: Reading, currency: str, plot: Plot | None) -> bytes:
    """Return what was read as JSON."""
    content: dict[str, Any] = {**_named(target), "period": period, "start": reading.start, "end": reading.end}
    content |= {"step": ARCHIVES[period].resolution, "unit": "W", "plot": plot, "columns": Row._fields}
    content["rows"] = list(reading.rows)
    content["figures"] = _said(reading.figures, currency)
    if target.kind != "probe":
        content["bands"] = [
            {"probe": band.probe.name, "colour": f"#{colour(band.probe.number)}"} | _said(band.figures, currency)
            for band in reading.bands
        ]
    return msgspec.json.encode(content)


def to_csv(reading: Reading) -> bytes:
    """Return the rows as CSV, with a line that says what stands in them."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Row._fields)
    writer.writerows(reading.rows)
    return text.getvalue().encode()


def _named(target: Target) -> dict[str, Any]:
    match target.kind:
        case "probe" | "site":
            return {target.kind: target.names[0]}
        case "chosen":
            return {"probes": target.names}
    return {}


def _said(figures: Figures, currency: str) -> dict[str, Any]:
    said = {name: getattr(figures, name) for name in ("minimum", "average", "maximum", "last", "kwh", "cost")}
    return said | {"currency": None if figures.cost is None else currency}

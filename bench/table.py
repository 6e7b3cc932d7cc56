"""The rows of the table: what was measured, how, and how it compares; as text and as JSON."""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import log
from pathlib import Path
from statistics import median

GROWN = 1.5  # times the ratio to the bare loop that was kept, beyond which a row has become slower


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, the median of some, with the lowest and the highest.

    ``bare`` and ``baseline`` are the ratios to a bare loop of ZeroMQ and to another checkout, in the same minute.
    """

    name: str
    value: float
    unit: str
    how: str
    lowest: float
    highest: float
    bound: str = ""
    bare: float | None = None
    baseline: float | None = None
    cpu: Mapping[str, float] = field(default_factory=dict)  # us of each item, by process
    memory: Mapping[str, float] = field(default_factory=dict)  # MB at the end, by process


def row(
    name: str,
    values: Sequence[float],
    unit: str,
    how: str,
    *,
    bound: str = "",
    bare: Sequence[float] = (),
    baseline: Sequence[float] = (),
    cpu: Mapping[str, float] | None = None,
    memory: Mapping[str, float] | None = None,
) -> Row:
    """Return the row of some values; ``bare`` are what a bare loop took beside each, ``baseline`` what another did."""
    middle = median(values)
    return Row(
        name,
        middle,
        unit,
        how,
        min(values),
        max(values),
        bound,
        middle / median(bare) if bare else None,
        middle / median(baseline) if baseline else None,
        cpu or {},
        memory or {},
    )


def exponent(points: Mapping[float, float]) -> float:
    """Return how a figure grows with its n: 1 is linear. It is the slope of the line through the logarithms."""
    across, up = [log(n) for n in points], [log(value) for value in points.values()]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    rise = sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True))
    return rise / sum((x - middle) ** 2 for x in across)


def growth(name: str, points: Mapping[float, float]) -> Row:
    """Return the row that tells how a figure grows."""
    shown = ", ".join(f"{n:g}: {value:.3g}" for n, value in points.items())
    return row(f"growth of {name}", [exponent(points)], "", shown)


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'':64}{'median':>10} {'':10}{'lowest':>10}{'highest':>10}{'/bare':>8}{'/base':>7}  bound; CPU; memory"
    for each in rows:
        ratios = f"{_ratio(each.bare):>8}{_ratio(each.baseline):>7}"
        more = [each.bound, *_parts("us", each.cpu), *_parts("MB", each.memory)]
        yield (
            f"{each.name:64}{each.value:10.4g} {each.unit:10}{each.lowest:10.4g}{each.highest:10.4g}{ratios}  "
            + "; ".join(filter(None, more))
        )


def as_json(rows: Iterable[Row]) -> str:
    """Return the rows, and on what they were measured."""
    machine = {"cores": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()}
    return json.dumps({"machine": machine, "rows": [asdict(each) for each in rows]}, indent=2)


def slower(rows: Iterable[Row], kept: Path) -> list[str]:
    """Return what is wrong: rows whose ratio to the bare loop is by half more than the one that was kept."""
    ratios: dict[str, float] = json.loads(kept.read_text())
    return [
        f"{each.name}: {each.bare:.2f} times a bare loop, {ratios[each.name]:.2f} before"
        for each in rows
        if each.bare is not None and each.name in ratios and each.bare > GROWN * ratios[each.name]
    ]


def keep(rows: Iterable[Row], kept: Path) -> None:
    """Keep the ratios to the bare loop."""
    ratios = {each.name: round(each.bare, 2) for each in rows if each.bare is not None}
    kept.write_text(json.dumps((json.loads(kept.read_text()) if kept.exists() else {}) | ratios, indent=2) + "\n")


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _parts(unit: str, parts: Mapping[str, float]) -> list[str]:
    return [", ".join(f"{name} {value:.3g}" for name, value in parts.items()) + f" {unit}"] if parts else []

"""The legend of a graph, in lines of so many characters."""

from collections.abc import Sequence

from kwapi.plugins.rrd.figures import UNKNOWN, Figures, amount, power

BETWEEN = 3  # characters between two figures
NAME = 30  # characters of a name at most
TWO_COLUMNS = 84  # characters that two probes in one line need
BOX = 2  # characters that the coloured box of a probe takes
GAP = 2  # between two probes in one line


def shortened(name: str, characters: int = NAME) -> str:
    """Return a name of at most so many characters; host names differ at either end."""
    head = (characters - 1) // 2
    return name if len(name) <= characters else f"{name[:head]}…{name[len(name) - (characters - 1 - head) :]}"


def words(figures: Figures, currency: str) -> list[str]:
    """Return what a legend says of figures."""
    pairs = {"min": figures.minimum, "avg": figures.average, "max": figures.maximum, "last": figures.last}
    said = [f"{word} {power(watts)}" for word, watts in pairs.items()] + [energy(figures)]
    return [*said, f"{amount(figures.cost, 2)} {currency}"] if figures.cost is not None else said


def energy(figures: Figures) -> str:
    """Return the energy with its unit."""
    return UNKNOWN if figures.kwh is None else f"{amount(figures.kwh)} kWh"


def flowed(said: Sequence[str], characters: int) -> list[str]:
    """Return lines that hold as much as they can."""
    lines: list[str] = []
    for one in said:
        joined = f"{lines[-1]}{' ' * BETWEEN}{one}" if lines else one
        if lines and len(joined) <= characters:
            lines[-1] = joined
        else:
            lines.append(one)
    return lines


def cells(rows: Sequence[tuple[str, Figures]], characters: int) -> list[tuple[str, str]]:
    """Return a cell for each probe, two in a line where there is room, and what ends it: name, average, energy."""
    columns = 2 if characters >= TWO_COLUMNS else 1
    averages = [power(figures.average) for _, figures in rows]
    energies = [energy(figures) for _, figures in rows]
    average_width, energy_width = max(map(len, averages)), max(map(len, energies))
    room = (characters - (columns - 1) * GAP) // columns - BOX - average_width - energy_width - 2 * GAP
    width = max(min(NAME, room, max(len(name) for name, _ in rows)), 5)
    said = []
    for number, ((name, _), watts, kwh) in enumerate(zip(rows, averages, energies, strict=True), 1):
        end = "\\l" if number % columns == 0 or number == len(rows) else ""
        said.append((f"{shortened(name, width):{width}}  {watts:>{average_width}}  {kwh:>{energy_width}}", end))
    return said

"""The registers of a Modbus meter: what they hold, and in how few requests they can be read. Pure: no I/O.

For "none" meters send all ones in an unsigned type, the largest or the smallest number of a signed one, or NaN.

Source: MODBUS Application Protocol Specification V1.1b3, 6.3 and 6.4 (125 registers at most).
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

from kwapi.drivers.units import ATTRIBUTES
from kwapi.measurement import EXPORT, Measurement

HIGH_FIRST, LOW_FIRST = WORD_ORDERS = ("high-first", "low-first")
TYPES = {  # format of struct
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
EXPORT_KWH = "export_kwh"
QUANTITIES = (*ATTRIBUTES, EXPORT_KWH)
UNSIGNED = ("a", "pf")  # where a sign tells the direction only, which watts tell already
MAX_COUNT = 125
MAX_GAP = 50  # registers read for nothing, 2 ms each at 9600 baud, cost about as much as one more request


@dataclass(frozen=True, slots=True)
class Register:
    """Where one quantity is, and how its counts become W, VA, V, A, Hz, kWh or a power factor."""

    quantity: str
    at: int
    type: str
    scale: Fraction
    words: str = HIGH_FIRST

    @property
    def count(self) -> int:
        """Return the number of 16-bit registers that the value takes."""
        return struct.calcsize(f">{TYPES[self.type]}") // 2

    @property
    def end(self) -> int:
        """Return the address after its last register."""
        return self.at + self.count

    def value(self, words: Mapping[int, int]) -> float | None:
        """Return the value among registers by address, None for none and for one that cannot be."""
        if self.at not in words:
            return None
        number = decode([words[at] for at in range(self.at, self.end)], self.type, self.words)
        if number is None:
            return None
        value = float(number * self.scale) if isinstance(number, int) else number * float(self.scale)
        if self.quantity in UNSIGNED:
            value = abs(value)
        if (value < 0 and self.quantity != "w") or (value > 1 and self.quantity == "pf"):
            return None
        return value


@dataclass(frozen=True, slots=True)
class Place:
    """What one probe measures: the whole meter or a phase; ``two_way`` if power may flow back there."""

    name: str
    level: str
    registers: tuple[Register, ...]
    two_way: bool = False

    def probes(self, probe: str) -> list[str]:
        """Return the ids under which this place is published, given its name."""
        return [probe, probe + EXPORT] if self.two_way else [probe]


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that one request reads, in the order of their addresses."""

    registers: tuple[Register, ...]

    @property
    def at(self) -> int:
        """Return the first address."""
        return self.registers[0].at

    @property
    def count(self) -> int:
        """Return the number of registers to ask for."""
        return max(register.end for register in self.registers) - self.at

    @property
    def has_power(self) -> bool:
        """Return whether active power is among them."""
        return any(register.quantity == "w" for register in self.registers)

    def halves(self) -> "tuple[Block, Block] | None":
        """Return the block as two, parted where most registers lie unused between; None if it is one register."""
        gaps = [after.at - before.end for before, after in zip(self.registers, self.registers[1:], strict=False)]
        if not gaps:
            return None
        widest = max(gaps)
        middle = len(self.registers) / 2
        cut = min((place for place, gap in enumerate(gaps, 1) if gap == widest), key=lambda place: abs(place - middle))
        return Block(self.registers[:cut]), Block(self.registers[cut:])


def plan(registers: Iterable[Register], max_count: int = MAX_COUNT) -> list[Block]:
    """Return the fewest blocks, those with active power first, that read these registers."""
    groups: list[list[Register]] = []
    for register in sorted(set(registers), key=lambda register: (register.at, register.end)):
        group = groups[-1] if groups else []
        if group and register.end - group[0].at <= max_count and register.at - group[-1].end <= MAX_GAP:
            group.append(register)
        else:
            groups.append([register])
    return sorted((Block(tuple(group)) for group in groups), key=lambda block: not block.has_power)


def decode(words: Sequence[int], kind: str, order: str) -> int | float | None:
    """Return the number that 16-bit registers hold, None for what stands for none in their type."""
    ordered = words if order == HIGH_FIRST else words[::-1]
    number: int | float
    (number,) = struct.unpack(f">{TYPES[kind]}", struct.pack(f">{len(ordered)}H", *ordered))
    if isinstance(number, float):
        return number if isfinite(number) else None
    bits = 16 * len(words)
    none = (2**bits - 1,) if kind.startswith("u") else (2 ** (bits - 1) - 1, -(2 ** (bits - 1)))
    return None if number in none else number


def measure(probe: str, place: Place, words: Mapping[int, int]) -> list[Measurement]:
    """Return what these registers say of a place: what flows in, and apart what flows back; [] for nothing."""
    values = {register.quantity: register.value(words) for register in place.registers}
    exported_kwh, watts = values.pop(EXPORT_KWH, None), values.pop("w", None)
    rest = {ATTRIBUTES[quantity]: value for quantity, value in values.items()}
    measurements = []
    if watts is not None or any(value is not None for value in rest.values()):
        imported = None if watts is None else max(0.0, watts)
        measurements.append(Measurement(probe, watts=imported, level=place.level, **rest))
    if place.two_way and (watts is not None or exported_kwh is not None):
        exported = None if watts is None else max(0.0, -watts)
        measurements.append(Measurement(probe + EXPORT, watts=exported, kwh=exported_kwh, level=place.level))
    return measurements

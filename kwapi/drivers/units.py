"""Units as people write them in profiles and configuration, and numbers as devices send them. Pure: no I/O."""

import re
from fractions import Fraction
from math import isfinite

from kwapi.measurement import QUANTITIES

ATTRIBUTES = {column: attribute for column, attribute in QUANTITIES if column != "kwh_wrap"}  # of what devices measure
UNITS = {"w": "W", "va": "VA", "v": "V", "a": "A", "pf": "", "hz": "Hz", "kwh": "Wh"}
SECONDS = Fraction(1, 3600)  # in hours; registers may count Ws
PREFIXES = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(1000_000)}


def parse_unit(text: str, quantity: str) -> Fraction:
    """Return what one count is worth in W, VA, V, A, Hz, kWh or parts of one; "0.1 kWh" of "kwh" is 1/10."""
    symbols = "Wh|Ws" if quantity == "kwh" else UNITS[quantity]
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)? ?([mkM]?)({symbols})", text)
    if not match or not text or (quantity == "pf" and match[2]) or not (scale := Fraction(match[1] or 1)):
        examples = "1, 0.01" if quantity == "pf" else f"{UNITS[quantity]}, 0.1 {UNITS[quantity]}, m{UNITS[quantity]}"
        raise ValueError(f"{text!r} is no unit of {quantity}, such as {examples}")
    scale *= PREFIXES[match[2]] * (SECONDS if match[3] == "Ws" else 1)
    return scale / 1000 if quantity == "kwh" else scale


def to_number(raw: object) -> int | float | None:
    """Return the number that an answer is or spells, None if there is none."""
    if isinstance(raw, str):
        try:
            raw = int(raw)
        except ValueError:
            try:
                raw = float(raw)
            except ValueError:
                return None
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    try:
        return raw if isfinite(raw) else None
    except OverflowError:  # an integer beyond what a float can hold
        return None

"""What the answers of plugs say, and in which unit. Pure: no I/O.

The unit hangs on the request and on the firmware, as told by the name of the field: of one model, HS110, the first
hardware answers in W, V, A and kWh, the fourth in mW, mV, mA and Wh. ``current_power`` is mW in one answer and W in
another. today_energy and month_energy begin anew with every day and month, so they are no registers.

Source: answers of HS110 1.0 and 4.0, HS300, EP25, P110, P316M and S515D.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kwapi.drivers.units import to_number
from kwapi.errors import DeviceError

Field = tuple[str, str, int]  # attribute of a measurement, name in the answer, counts per unit of the attribute
Answer = Mapping[str, Any]

REALTIME: Sequence[Field] = (  # of emeter.get_realtime: the names of both firmwares
    ("watts", "power", 1),
    ("volts", "voltage", 1),
    ("amps", "current", 1),
    ("kwh", "total", 1),
    ("watts", "power_mw", 1000),
    ("volts", "voltage_mv", 1000),
    ("amps", "current_ma", 1000),
    ("kwh", "total_wh", 1000),
)
METHODS: Mapping[str, Sequence[Field]] = {  # of newer plugs, the one that tells most first
    "get_emeter_data": (
        ("watts", "power_mw", 1000),
        ("volts", "voltage_mv", 1000),
        ("amps", "current_ma", 1000),
        ("kwh", "energy_wh", 1000),
    ),
    "get_energy_usage": (("watts", "current_power", 1000),),
    "get_current_power": (("watts", "current_power", 1),),
}


def parse_readings(answer: Answer, fields: Sequence[Field]) -> dict[str, float]:
    """Return the values of an answer by attribute of a measurement; what is no number, or below 0, is left out."""
    values = {}
    for attribute, name, counts in fields:
        number = to_number(answer.get(name))
        if number is not None and number >= 0:
            values[attribute] = number / counts
    return values


def parse_answer(text: bytes, source: str) -> dict[str, Any]:
    """Return the JSON object in these bytes; DeviceError, naming the source, if they are something else."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"{source} sends no JSON but {text[:80]!r}") from error
    return table(answer, source)


def table(answer: object, source: str) -> dict[str, Any]:
    """Return an answer, or a part of one, that is to be a JSON object; DeviceError if it is not."""
    if not isinstance(answer, dict):
        raise DeviceError(f"{source} answers {answer!r:.80}")
    return answer


def tables(answer: object, source: str) -> list[dict[str, Any]]:
    """Return a part of an answer that is to be a list of JSON objects; DeviceError if it is not."""
    if not isinstance(answer, list):
        raise DeviceError(f"{source} answers {answer!r:.80}")
    return [table(each, source) for each in answer]

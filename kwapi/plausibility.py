"""What the laws of electricity forbid: finds a unit or a scale that is wrong. Pure.

Devices round, and read their quantities one after the other, so the limits are wide; a wrong scale is a factor of ten.
"""

from collections.abc import Iterable, Iterator

from kwapi.measurement import LEVELS, Measurement

TOLERANCE = 1.15
ROUNDING = 15.0  # W or VA; coarse devices count in steps of 10


def implausibilities(measurements: Iterable[Measurement]) -> Iterator[str]:
    """Yield a sentence with both values for everything in one wattmeter's measurements that cannot be true together."""
    taken = list(measurements)
    for one in taken:
        yield from _of_one(one)
    sums = {level: [one.watts for one in taken if one.level == level and one.watts is not None] for level in LEVELS}
    for outer, inner in (("inlet", "outlet"), ("inlet", "phase"), ("device", "outlet")):
        if sums[outer] and sums[inner] and exceeds(sum(sums[inner]), sum(sums[outer])):
            yield (
                f"the {len(sums[inner])} probes of level {inner} draw {sum(sums[inner]):g} W together, "
                f"more than the {sum(sums[outer]):g} W of level {outer}"
            )


def exceeds(value: float, limit: float) -> bool:
    """Return whether a power is more than another by more than rounding can explain."""
    return value > limit * TOLERANCE + ROUNDING


def _of_one(one: Measurement) -> Iterator[str]:
    watts, volt_amperes = one.watts, one.volt_amperes
    if watts is not None and volt_amperes is not None and exceeds(abs(watts), volt_amperes):
        yield f"{one.probe}: {watts:g} W is more than its apparent power of {volt_amperes:g} VA"
    if one.volts is None or one.amps is None:
        return
    product = one.volts * one.amps
    if one.level in ("inlet", "device"):
        return  # of several phases there are several voltages and currents, and a device may show any of them
    if volt_amperes is not None and (exceeds(volt_amperes, product) or exceeds(product, volt_amperes)):
        yield f"{one.probe}: {one.volts:g} V x {one.amps:g} A is {product:g} VA, not {volt_amperes:g} VA"
    elif volt_amperes is None and watts is not None and exceeds(abs(watts), product):
        yield f"{one.probe}: {watts:g} W is more than {one.volts:g} V x {one.amps:g} A = {product:g} VA"

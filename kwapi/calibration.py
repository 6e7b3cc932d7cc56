"""What a reference meter found wrong with a device: a factor and an offset for each probe. Pure.

The factor applies to what a current transformer scales: power, current and energy. The offset, in W, applies to active
power alone, after the factor, and not to nothing: a probe that draws 0 W still draws 0 W.
"""

from collections.abc import Iterable, Mapping

from kwapi.measurement import Measurement

SCALED = ("watts", "volt_amperes", "amps", "kwh", "kwh_wrap")


def calibrate(
    measurements: Iterable[Measurement], factors: Mapping[str, float], offsets: Mapping[str, float]
) -> list[Measurement]:
    """Return the measurements with what is known of each probe's error taken out."""
    if not factors and not offsets:
        return list(measurements)
    return [_calibrated(one, factors.get(one.probe, 1.0), offsets.get(one.probe, 0.0)) for one in measurements]


def _calibrated(one: Measurement, factor: float, offset: float) -> Measurement:
    values = {name: value * factor for name in SCALED if (value := getattr(one, name)) is not None}
    if offset and values.get("watts"):
        values["watts"] += offset
    return one._replace(**values) if values else one

"""What is in the plot of a graph and in its legend, as elements of rrdtool."""

from kwapi.plugins.rrd.drawing import characters, escape, line, literal
from kwapi.plugins.rrd.figures import Figures
from kwapi.plugins.rrd.legend import cells, flowed, words
from kwapi.plugins.rrd.look import Look, colour, line_colour, theme
from kwapi.plugins.rrd.reading import Reading

WHOLE = 0.999  # the share of a total from which on it counts as complete


def single(reading: Reading, look: Look) -> list[str]:
    """Return what draws one probe: a line, and behind it the band between the lowest and the highest."""
    [band] = reading.bands
    shade, path = colour(band.probe.number), escape(str(band.path))
    elements = [f"DEF:w={path}:w:AVERAGE"]
    if reading.rows.extremes:
        elements += [f"DEF:low={path}:w:MIN", f"DEF:high={path}:w:MAX", "CDEF:span=high,low,-"]
        elements += ["AREA:low", f"AREA:span#{shade}50::STACK"]
    return [*elements, f"AREA:w#{shade}38", f"LINE1:w#{line_colour(shade, theme(look).back)}"]


def stack(reading: Reading, look: Look) -> list[str]:
    """Return what draws several probes on top of each other, shaded where the whole lacks somebody."""
    colours, bands = theme(look), reading.bands
    elements = _heights(reading)
    elements += [f"CDEF:partly=complete,{WHOLE},LT,w,UN,0,1,IF,*", f"TICK:partly#{colours.others}50:1.0"]
    shades = [colour(band.probe.number) for band in bands]
    rows = [(band.probe.name, band.figures) for band in bands]
    if reading.others or not bands:  # a ranking of a moment ago may know nobody yet
        shades.append(colours.others)
        rows.append((f"{reading.others} others" if reading.others else "all", rest(reading)))
        elements.append(f"CDEF:b{len(bands)}=w,{_reduced('b', len(bands), '+')},-,0,MAX" if bands else "CDEF:b0=w")
    lines = []
    for number, (shade, (text, end)) in enumerate(zip(shades, cells(rows, characters(look)), strict=True)):
        elements.append(f"AREA:b{number}#{shade}:{escape(literal(text))}{end}:STACK")
        if number and shade == shades[number - 1]:
            below = _reduced("b", number, "+")
            lines += [f"CDEF:below{number}={below}", f"LINE1:below{number}#{colours.back}"]  # parts the two
    return elements + lines


def legend(reading: Reading, look: Look, currency: str, name: str = "") -> list[str]:
    """Return the lines with the figures of the whole."""
    said = words(reading.figures, currency)
    if name:
        said[0] = f"{name}: {said[0]}"
    lines = flowed(said, characters(look))
    if missing := reading.counted - reading.measured:
        lines.append(f"{missing} of {reading.counted} probes without a measurement in this time.")
    return [line(one) for one in lines]


def rest(reading: Reading) -> Figures:
    """Return what is left of the whole without its bands: average and energy."""
    whole, parts = reading.figures, [band.figures for band in reading.bands]
    drawn = (whole.average or 0.0) * whole.seconds - sum((part.average or 0.0) * part.seconds for part in parts)
    kwh = (whole.kwh or 0.0) - sum(part.kwh or 0.0 for part in parts)
    return Figures(average=drawn / whole.seconds, kwh=max(kwh, 0.0), seconds=whole.seconds)


def _heights(reading: Reading) -> list[str]:
    """Return what reads the whole, ``w`` and ``complete``, and the height ``b`` of each band.

    That is its mean over the whole's time, less than its own watts where others were measured for longer; so the bands
    add up to the whole.
    """
    elements, count = [], len(reading.bands)
    is_plain = [
        reading.path is not None and band.figures.seconds >= reading.end - reading.start for band in reading.bands
    ]
    for number, band in enumerate(reading.bands):
        path = escape(str(band.path))
        elements.append(f"DEF:{'b' if is_plain[number] else 'w'}{number}={path}:w:AVERAGE")
        if not is_plain[number]:  # k: share of the time; d: watts times that
            elements.append(f"DEF:m{number}={path}:known:AVERAGE")
            elements.append(f"CDEF:k{number}=w{number},UN,0,m{number},IF")
            elements.append(f"CDEF:d{number}=w{number},UN,0,w{number},IF,k{number},*")
    if reading.path is not None:
        path = escape(str(reading.path))
        elements += [f"DEF:{name}={path}:{name}:AVERAGE" for name in ("w", "known", "complete")]
    else:
        elements.append(f"CDEF:known={_reduced('k', count, 'MAX')}")
        elements.append(f"CDEF:complete={_reduced('k', count, '+')},{reading.counted},/")
        elements.append(f"CDEF:w=known,0,GT,{_reduced('d', count, '+')},known,/,UNKN,IF")
    # A whole that is younger than its probes would make them too high.
    heights = (f"CDEF:b{number}=w,UN,UNKN,d{number},known,k{number},MAX,/,IF" for number in range(count))
    return elements + [height for height, plain in zip(heights, is_plain, strict=True) if not plain]


def _reduced(name: str, count: int, operator: str) -> str:
    """Return the expression that combines the variables of so many bands."""
    return f"{name}0" + "".join(f",{name}{number},{operator}" for number in range(1, count))

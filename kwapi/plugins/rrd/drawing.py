"""How rrdtool draws a picture: fonts, colours, margins; what is in the plot is given as its own elements.

Only one thread may draw: librrd 1.7.2 with two in Pango at once makes pictures without text, and crashes.
"""

import hashlib
from collections.abc import Sequence

import rrdtool

from kwapi.plugins.rrd.axes import Scale, time_grid
from kwapi.plugins.rrd.legend import shortened
from kwapi.plugins.rrd.look import CONTENT_TYPES, Graph, Look, Plot, theme

# At these sizes characters are whole pixels wide and look the same wherever they stand: a PNG has half the size.
FONT = "8:DejaVu Sans Mono"
SMALL = "7.4:DejaVu Sans Mono"
CHARACTER = 7  # pixels
BESIDE = 40  # pixels beyond the plot's width that a line of the legend has
AROUND = 80  # pixels of a bare picture that are not plot, to the sides
ABOVE = 30  # and above and below
LINE = 14  # pixels of a line of text
LINE_SEPARATOR = "\u2028"  # rrdtool leaves out a new line, and reckons with its height
PARTS = ("left", "top", "width", "height", "start", "end")


def escape(text: str) -> str:
    """Return a text or a path for a colon-separated argument of rrdtool; a backslash counts before a colon only."""
    return text.replace(":", "\\:")


def literal(text: str) -> str:
    """Return a text to be drawn as it is: rrdtool makes a tab or a new line of a backslash and a letter.

    A character of no width keeps them apart.
    """
    return text.replace("\\", "\\\u200b")


def line(text: str) -> str:
    """Return a line of the legend as an element."""
    return f"COMMENT:{escape(literal(text))}\\l"


def characters(look: Look) -> int:
    """Return how many characters a line of the legend has."""
    return (look.width + BESIDE) // CHARACTER


def plot_size(look: Look) -> tuple[int, int]:
    """Return about how wide and high the plot is at zoom 1."""
    return (look.width - AROUND, look.height - ABOVE) if look.bare else (look.width, look.height)


def message(text: str, look: Look, fresh_until: float, now: float) -> Graph:
    """Return a picture that says something in its middle: a title that begins with empty lines."""
    title = LINE_SEPARATOR * ((look.height // 2 - LINE) // LINE) + text
    options = ["--title", title, "--x-grid", "none", "--y-grid", "none", "--color", "AXIS#00000000"]
    image, _ = _drawn(options, ["HRULE:0#00000000"], look)
    return _graph(image, look, None, fresh_until, now)


def picture(
    title: str, period: str, start: int, end: int, scale: Scale, elements: Sequence[str], look: Look,
    fresh_until: float, now: float,
) -> Graph:  # fmt: skip
    """Return a graph."""
    options = ["--start", str(start), "--end", str(end), *scale.arguments(), *time_grid(period, plot_size(look)[0])]
    if not look.bare:
        options += ["--title", literal(shortened(title, (look.width + AROUND) // CHARACTER))]
    image, plot = _drawn(options, elements, look)
    return _graph(image, look, plot, fresh_until, now)


def _graph(image: bytes, look: Look, plot: Plot | None, fresh_until: float, now: float) -> Graph:
    etag = hashlib.sha256(image).hexdigest()[:32]
    return Graph(image, CONTENT_TYPES[look.format], etag, now, fresh_until, plot)


def _drawn(options: Sequence[str], elements: Sequence[str], look: Look) -> tuple[bytes, Plot]:
    """Return a picture and where its plot is; it never touches the disk."""
    colours = theme(look)
    parts = {
        "BACK": colours.back, "CANVAS": colours.back, "FRAME": colours.back, "FONT": colours.font,
        "AXIS": colours.axis, "MGRID": colours.grid, "GRID": "00000000", "ARROW": "00000000",
    }  # fmt: skip
    style = [argument for part, shade in parts.items() for argument in ("--color", f"{part}#{shade}")]
    style += ["--font", f"DEFAULT:{FONT}", "--font", f"AXIS:{SMALL}", "--grid-dash", "1:0", "--border", "0"]
    style += ["--imgformat", look.format.upper(), "--zoom", str(look.zoom), "--disable-rrdtool-tag"]
    style += ["--width", str(look.width), "--height", str(look.height)]
    if look.bare:
        style += ["--full-size-mode", "--no-legend"]
    drawn = rrdtool.graphv("-", *style, *options, list(elements))  # of two colours of a part the last counts
    left, top, width, height, start, end = (drawn[f"graph_{part}"] for part in PARTS)
    image: bytes = drawn["image"]
    return image, Plot(left, top, width, height, start, end, drawn["value_min"], drawn["value_max"])

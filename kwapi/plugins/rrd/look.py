"""What a graph shows and how it looks: target, size, format, colours."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

WIDTHS = range(200, 2001)  # pixels of the plot at zoom 1, without axes and legend; of the whole picture if it is bare
HEIGHTS = range(60, 1001)
ZOOMS = range(1, 3)  # pixels of the picture for one of the page
CONTENT_TYPES = {"png": "image/png", "svg": "image/svg+xml"}  # by format
CHOSEN = 40  # probes at most

# Okabe and Ito's colours without black, and others that differ most from them and from each other, as people see them
# with all cones, without the green and without the red ones. tests/plugins/test_rrd_look.py measures it.
PALETTE = (
    "e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7", "aaee99", "881111", "663355",
    "0077ee", "ffccdd", "bbaa55", "771177", "dd3355", "0044aa", "116633", "88cc99", "2299ee", "dddd66",
)  # fmt: skip
CONTRAST = 3.0  # of a line to what is behind it


@dataclass(frozen=True, slots=True)
class Target:
    """What a graph is of: all that counts to the total, a site's part of it, one probe, or up to CHOSEN probes."""

    kind: Literal["all", "site", "probe", "chosen"] = "all"
    names: tuple[str, ...] = ()  # of the site, or of the probes


@dataclass(frozen=True, slots=True)
class Look:
    """Size and style of a picture.

    A bare one has neither title nor legend, for a page that says both itself; its size is that of the whole picture,
    so that the page knows it beforehand.
    """

    dark: bool = False
    zoom: int = 1
    width: int = 600
    height: int = 150
    format: str = "png"
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Where the plot is in its picture, in pixels at zoom 1, and what its edges stand for: Unix seconds and watts."""

    left: int
    top: int
    width: int
    height: int
    start: int
    end: int
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Graph:
    """A picture with its type and fingerprint, when it was drawn and until when it stays as it is (Unix seconds).

    ``plot`` is None where there is nothing but a message.
    """

    image: bytes
    content_type: str
    etag: str
    modified: float
    fresh_until: float
    plot: Plot | None


class Theme(NamedTuple):
    """Colours of a picture's parts."""

    back: str
    font: str
    grid: str
    axis: str
    others: str


# Grey text makes a smaller PNG than text with a tint.
LIGHT = Theme(back="ffffff", font="404040", grid="00000018", axis="c3cad0", others="b8bfc6")
DARK = Theme(back="171c21", font="c4c4c4", grid="ffffff1c", axis="48525b", others="6b747c")


def theme(look: Look) -> Theme:
    """Return the colours of a look."""
    return DARK if look.dark else LIGHT


def colour(number: int) -> str:
    """Return the colour of a probe's number, so that it has the same in every graph."""
    return PALETTE[number % len(PALETTE)]


def line_colour(shade: str, back: str) -> str:
    """Return a colour, darker or lighter if it would hardly be seen as a line on what is behind it."""
    target = 0 if luminance(back) > 0.5 else 255
    while contrast(shade, back) < CONTRAST:
        shade = "".join(f"{round(channel + (target - channel) * 0.1):02x}" for channel in bytes.fromhex(shade))
    return shade


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(shade: str) -> float:
    """Return the relative luminance of a colour of sRGB, 0 to 1."""
    red, green, blue = (linear(channel / 255) for channel in bytes.fromhex(shade))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(channel: float) -> float:
    """Return how much light a channel of sRGB stands for, 0 to 1."""
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)

"""What a graph shows and how it looks: target, size, format, colours."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

WIDTHS = range(200, 2001)  # pixels of the plot at zoom 1, without axes and legend; of the whole picture if it is bare
HEIGHTS = range(60, 1001)
ZOOMS = range(1, 3)  # pixels of the picture for one of the page
CONTENT_TYPES = {"png": "image/png", "svg": "image/svg+xml"}  # by format
CHOSEN = 40  # probes at most

# Okabe and Ito's colours without black, which the colour-blind can tell apart, as they are and in other shades.
PALETTE = ("E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7")
SHADES = (0.0, 0.45, -0.3, 0.7, -0.55)  # towards white, or towards black


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
    width: int = 640
    height: int = 160
    format: str = "png"
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Where the plot is in its picture, in pixels, and what its edges stand for: Unix seconds and watts."""

    left: int
    top: int
    width: int
    height: int
    start: int
    end: int
    lower: float
    upper: float


class Theme(NamedTuple):
    """Colours of a picture's parts."""

    back: str
    font: str
    grid: str
    others: str

    def arguments(self) -> list[str]:
        pairs = {
            "BACK": self.back, "CANVAS": self.back, "SHADEA": self.back, "SHADEB": self.back, "FRAME": self.back,
            "ARROW": self.back, "FONT": self.font, "AXIS": self.grid, "GRID": f"{self.grid}60",
            "MGRID": f"{self.grid}a0",
        }  # fmt: skip
        return [argument for part, colour in pairs.items() for argument in ("--color", f"{part}#{colour}")]


LIGHT = Theme(back="ffffff", font="26303a", grid="aab4be", others="b8bfc6")
DARK = Theme(back="171c21", font="d5dbe1", grid="56616b", others="6b747c")


def theme(look: Look) -> Theme:
    """Return the colours of a look."""
    return DARK if look.dark else LIGHT


def colour(number: int) -> str:
    """Return the colour of a probe's number, so that it has the same in every graph."""
    base = PALETTE[number % len(PALETTE)]
    shade = SHADES[number // len(PALETTE) % len(SHADES)]
    target = 255 if shade > 0 else 0
    channels = (int(base[position : position + 2], 16) for position in (0, 2, 4))
    return "".join(f"{round(channel + (target - channel) * abs(shade)):02x}" for channel in channels)

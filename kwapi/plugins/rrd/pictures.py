"""The pictures of a page: in which sizes a browser may have each, so that it is shown pixel by pixel as it was drawn.

A page has 1 to 4 columns of cards, each as wide as its picture and its edges; style.css has the same measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CARD = 428  # pixels; the plot then has one for each of an hour's 360 rows, or rrdtool would draw half of them
EDGES, GAP = 20, 10  # beside a picture in its card, and between cards
SCROLL_BAR = 16


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's pixels, in a window of at least so many columns of cards; 0 for any window."""

    width: int
    height: int
    columns: float = 0

    @property
    def condition(self) -> str:
        """The media query of such a window, "" for any."""
        wide = round(self.columns * (CARD + EDGES + GAP) - GAP + 2 * GAP + SCROLL_BAR)
        return f"(min-width: {wide}px)" if self.columns else ""

    def address(self, path: str, query: str, dark: bool = False) -> str:
        """Return the address of the picture at ``path`` in this size."""
        rest = f"&{query}" if query else ""
        return f"{path}?bare=1&width={self.width}&height={self.height}{'&dark=1' if dark else ''}{rest}"

    def set(self, path: str, query: str, dark: bool = False) -> str:
        """Return its addresses for coarse and for fine pixels."""
        address = self.address(path, query, dark)
        return f"{address} 1x, {address}&zoom=2 2x"


Sizes = Sequence[Size]  # the widest first; the last is for any window
CARDS: Sizes = (Size(CARD, 124),)
SUMMARY: Sizes = (Size(1802, 250, 4), Size(1344, 240, 3), Size(886, 220, 2), Size(640, 200, 1.4), Size(CARD, 180))
PERIOD: Sizes = (Size(886, 200, 4), Size(657, 180, 3), Size(886, 200, 2), Size(640, 180, 1.4), Size(CARD, 150))
SIZES = {"card": CARDS, "summary": SUMMARY, "period": PERIOD}
DARK = "(prefers-color-scheme: dark)"


def picture(sizes: Sizes, path: str, query: str, words: str, *, lazy: bool = True) -> Markup:
    """Return the element that shows a graph, light or dark, in the size that fits; ``words`` say what it shows."""
    sources = []
    for size in sizes:
        place = f'width="{size.width}" height="{size.height}"'
        for dark in (True, False):
            media = " and ".join(filter(None, (size.condition, DARK if dark else "")))
            if media:
                addresses = escape(size.set(path, query, dark))
                sources.append(f'<source media="{media}" {place} srcset="{addresses}">')
    plain = sizes[-1]
    image = (
        f'<img src="{escape(plain.address(path, query))}" srcset="{escape(plain.set(path, query))}"'
        f' width="{plain.width}" height="{plain.height}" alt="{escape(words)}"'
        f' decoding="async"{" loading=lazy" if lazy else ""}>'
    )
    return Markup(f'<div class="graph"><picture>{"".join(sources)}{image}</picture></div>')  # noqa: S704 -- all escaped

"""What a request of version 2 asks for: which probes, and which page of them. Pure.

Anything that is not understood is refused, since a misspelt filter would otherwise answer with everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

FILTERS = ("wattmeter", "id", "state")
STATES = ("up", "stale")
PAGE, LARGEST_PAGE = 1_000, 10_000  # probes
Arguments = MultiDict[str, str]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which probes are asked for; what is empty does not matter."""

    wattmeter: str = ""
    ids: frozenset[str] = frozenset()
    state: str = ""

    def takes_wattmeter(self, name: str) -> bool:
        """Return whether it is the wattmeter, or the first parts of its dotted name: as on the bus."""
        return not self.wattmeter or f"{name}.".startswith(f"{self.wattmeter}.")

    def takes_probe(self, name: str) -> bool:
        """Return whether the probe's id is among those asked for."""
        return not self.ids or name in self.ids

    def takes_state(self, state: str) -> bool:
        """Return whether probes of that state are asked for."""
        return not self.state or state == self.state


@dataclass(frozen=True, slots=True)
class Cursor:
    """A page: at most ``limit`` probes, whose ids come after one."""

    limit: int = PAGE
    after: str = ""


def read_filter(arguments: Arguments) -> Filter:
    """Return the filter of a query."""
    state = _single(arguments, "state")
    if state is not None and state not in STATES:
        raise BadRequest(f"state is {state!r}; it may be {' or '.join(STATES)}")
    return Filter(_single(arguments, "wattmeter") or "", frozenset(arguments.getlist("id")), state or "")


def read_cursor(arguments: Arguments) -> Cursor:
    """Return the page of a query."""
    limit = _single(arguments, "limit")
    if limit is None:
        return Cursor(PAGE, _single(arguments, "after") or "")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 6 and 1 <= int(limit) <= LARGEST_PAGE):
        raise BadRequest(f"limit is {limit!r}; it may be a number from 1 to {LARGEST_PAGE}")
    return Cursor(int(limit), _single(arguments, "after") or "")


def refuse_others(arguments: Arguments, known: Iterable[str]) -> None:
    """Refuse a query that has a parameter which is not known."""
    if unknown := sorted(set(arguments) - set(known)):
        raise BadRequest(f"there is no parameter {unknown[0]!r}; there are {', '.join(known) or 'none'}")


def _single(arguments: Arguments, name: str) -> str | None:
    values = arguments.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name} is given {len(values)} times")
    return values[0] if values else None

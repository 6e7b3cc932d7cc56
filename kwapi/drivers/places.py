"""Names of a section that say what they measure: ``id@place``; a plain ``id`` takes the next one in order. No I/O."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Place(Protocol):
    """Something that a probe may measure."""

    @property
    def name(self) -> str:
        """What tells it apart from all others."""

    def is_called(self, place: str) -> bool:
        """Return whether a name of the configuration means this one."""


P = TypeVar("P", bound=Place)


def probes_of(names: Iterable[str]) -> list[str]:
    """Return the ids of the probes, in order: names without places, and without those that are skipped."""
    return [probe for name in names if (probe := name.partition("@")[0])]


def choose(names: Iterable[str], places: Sequence[P], in_order: Iterable[P]) -> dict[str, P]:
    """Return the place of each probe; raise LookupError for a name that does not mean one of its own."""
    left = iter(in_order)
    chosen: dict[str, P] = {}
    for name in names:
        probe, at, wanted = name.partition("@")
        if at:
            matches = [place for place in places if place.is_called(wanted)]
            if len(matches) != 1:
                raise LookupError(f"{len(matches)} are called {wanted!r}")
            place = matches[0]
        elif (following := next(left, None)) is None:
            raise LookupError(f"none is left for {name!r}")
        else:
            place = following
        if place in chosen.values():
            raise LookupError(f"{name!r} is {place.name} a second time, and would be counted twice")
        if probe:
            chosen[probe] = place
    return chosen

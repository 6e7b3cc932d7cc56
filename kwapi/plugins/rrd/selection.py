"""What of the probes a page shows: what its address asks for, and the probes that fit, sorted, grouped and paged.

All of a view is in the address, so it can be sent to somebody, and works without a script. What an address says in
words that are not known counts as not said.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from kwapi.plugins.rrd.probe import Probe, natural

GROUPS = ("", "site", "wattmeter")
SORTS = ("name", "watts", "kwh")
VIEWS = ("graphs", "table")
STATES = ("up", "stale", "down", "muted")
PAGE = 100  # probes; a script asks for MOST at once, since only what is looked at loads its graph then
MOST = 1000  # probes, shown or chosen
SEARCHED = 200  # characters; each word is sought in each probe
NO_SITE = "."  # in an address, where nothing means any; the first part of a dotted name has no dot


@dataclass(frozen=True, slots=True)
class Selection:
    """What an address asks for."""

    search: str = ""
    site: str | None = None
    wattmeter: str = ""
    state: str = ""
    group: str = ""
    sort: str = "name"
    view: str = "graphs"
    chosen: tuple[str, ...] = ()
    choosing: bool = False  # all are shown, those chosen are marked
    first: int = 0
    count: int = PAGE

    @classmethod
    def of(cls, arguments: "MultiDict[str, str]") -> Self:
        """Return what the arguments of an address say."""

        def one_of(key: str, known: Sequence[str]) -> str:
            value = arguments.get(key, "")
            return value if value in known else known[0]

        site = arguments.get("site", "")
        return cls(
            search=arguments.get("q", "")[:SEARCHED].strip(),
            site=None if not site else "" if site == NO_SITE else site,
            wattmeter=arguments.get("wattmeter", ""),
            state=one_of("state", ("", *STATES)),
            group=one_of("group", GROUPS),
            sort=one_of("sort", SORTS),
            view=one_of("view", VIEWS),
            chosen=tuple(dict.fromkeys(arguments.getlist("probe")[:MOST])),
            choosing=bool(arguments.get("choosing")),
            first=max(arguments.get("first", 0, type=int), 0),
            count=min(max(arguments.get("count", PAGE, type=int), 1), MOST),
        )

    def query(self, **changes: object) -> str:
        """Return the query of an address that asks for this with some changes, with its ``?``; "" if it asks nothing.

        It begins with the first probe again unless told otherwise.
        """
        wanted = replace(self, **{"first": 0, **changes})  # type: ignore[arg-type]
        pairs = [
            ("q", wanted.search),
            ("site", NO_SITE if wanted.site == "" else wanted.site),
            ("wattmeter", wanted.wattmeter),
            ("state", wanted.state),
            ("group", wanted.group),
            ("sort", wanted.sort if wanted.sort != SORTS[0] else ""),
            ("view", wanted.view if wanted.view != VIEWS[0] else ""),
            *(("probe", name) for name in wanted.chosen),
            ("choosing", int(wanted.choosing)),
            ("first", wanted.first),
            ("count", wanted.count if wanted.count != PAGE else ""),
        ]
        query = urlencode([(key, value) for key, value in pairs if value])
        return f"?{query}" if query else ""

    @property
    def only_chosen(self) -> bool:
        """Whether nothing but what was chosen is shown."""
        return bool(self.chosen) and not self.choosing

    def takes(self, probe: Probe) -> bool:
        """Return whether a probe is shown, whatever its state."""
        if self.site is not None and probe.site != self.site:
            return False
        if self.wattmeter and probe.wattmeter != self.wattmeter:
            return False
        if self.only_chosen and probe.name not in self.chosen:
            return False
        if not self.search:
            return True
        text = f"{probe.name} {probe.wattmeter}".casefold()
        return all(word in text for word in self.search.casefold().split())

    def sums(self, probe: Probe) -> bool:
        """Return whether a probe is part of the sum: one that counts to the total, or that was chosen."""
        return probe.counted or self.only_chosen


@dataclass(frozen=True, slots=True)
class Sum:
    """What probes draw together."""

    watts: float | None
    measured: int
    counted: int
    kwh: float | None = None

    @classmethod
    def of(cls, probes: Sequence[Probe], energies: Mapping[str, float]) -> Self:
        """Return the sum of these probes; ``energies`` are kWh by probe."""
        live = [probe.watts for probe in probes if probe.state == "up" and probe.watts is not None]
        known = [energies[probe.name] for probe in probes if probe.name in energies]
        return cls(sum(live) if live else None, len(live), len(probes), sum(known) if known else None)


@dataclass(frozen=True, slots=True)
class Group:
    """Probes under one heading: all that the group has, and those on this page."""

    name: str
    sum: Sum
    number: int
    probes: list[Probe]


@dataclass(frozen=True, slots=True)
class Shown:
    """The probes of a page."""

    sum: Sum
    summed: list[Probe]  # what the sum is of, on this page or another
    states: dict[str, int]
    number: int  # of all that fit, on this page or another
    groups: list[Group]

    @property
    def probes(self) -> list[Probe]:
        return [probe for group in self.groups for probe in group.probes]


def show(selection: Selection, probes: Iterable[Probe], energies: Mapping[str, float]) -> Shown:
    """Return what a page shows of all probes, which come by name; ``energies`` are kWh of its period by probe."""
    taken = [probe for probe in probes if selection.takes(probe)]
    states = dict.fromkeys(STATES, 0)
    for probe in taken:
        states[probe.state] += 1
    fitting = [probe for probe in taken if selection.state in ("", probe.state)]
    summed = [probe for probe in fitting if selection.sums(probe)]
    whole = Sum.of(summed, energies)
    if selection.sort == "watts":
        fitting.sort(key=lambda probe: -inf if probe.watts is None or probe.stale else probe.watts, reverse=True)
    elif selection.sort == "kwh":
        fitting.sort(key=lambda probe: energies.get(probe.name, -inf), reverse=True)
    if not selection.group:
        here = fitting[selection.first : selection.first + selection.count]
        return Shown(whole, summed, states, len(fitting), [Group("", whole, len(fitting), here)] if here else [])
    return Shown(whole, summed, states, len(fitting), list(_groups(selection, fitting, energies)))


def _groups(selection: Selection, fitting: Iterable[Probe], energies: Mapping[str, float]) -> Iterator[Group]:
    """Yield the groups that have probes on this page, by name."""
    members: dict[str, list[Probe]] = {}
    for probe in fitting:
        members.setdefault(getattr(probe, selection.group), []).append(probe)
    before = 0
    for name in sorted(members, key=natural):
        group = members[name]
        first, end = (max(place - before, 0) for place in (selection.first, selection.first + selection.count))
        before += len(group)
        if here := group[first:end]:
            yield Group(name, Sum.of([probe for probe in group if selection.sums(probe)], energies), len(group), here)

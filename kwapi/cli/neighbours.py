"""What the configurations of one directory say of each other: ports that two daemons want, endpoints where nobody is.

All of it is warned of only, since not every daemon that has a file need run here. Endpoints on other machines, and NATS
servers, are not known from here.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from oslo_config import cfg

from kwapi.cli.surroundings import Finding
from kwapi.endpoints import IPC, TCP, endpoints_of, host_and_port, stays_here

ANYWHERE = ("*", "0.0.0.0", "::")  # noqa: S104 -- read here, bound elsewhere
HTTP = (("host", "port"), ("metrics_host", "metrics_port"))
PUBLISHERS = {"drivers", "forwarder"}
REPLAY = "replay_"  # how the options begin about what was missed
DAEMON = "kwapi-"


class End(NamedTuple):
    """A place of a daemon: where it listens or, of an endpoint, connects."""

    daemon: str
    option: str
    place: str  # HOST:PORT, or the endpoint if that is a Unix socket

    def meets(self, other: "End") -> bool:
        """Return whether another place may be this one, as far as addresses tell."""
        host, _, port = self.place.rpartition(":")
        other_host, _, other_port = other.place.rpartition(":")
        return self.place == other.place or (port == other_port and (host in ANYWHERE or other_host in ANYWHERE))


def compare(configurations: Mapping[str, cfg.ConfigOpts]) -> Iterator[tuple[str, Finding]]:
    """Yield (daemon, warning) for what cannot work if all of these daemons run on this machine."""
    bound = [end for daemon, conf in configurations.items() for end in _bound(daemon, conf)]
    for one, other in combinations(bound, 2):
        if one.meets(other):
            whose = "" if one.daemon == other.daemon else f" of {DAEMON}{one.daemon}"
            text = f"{other.place} is taken by {one.option}{whose} ({one.place}); both cannot listen there"
            yield other.daemon, Finding(other.option, text, is_mistake=False)
    for daemon, conf in configurations.items():
        if not PUBLISHERS - {daemon} <= configurations.keys():  # who is not here may have its file elsewhere
            continue
        for option, endpoint, is_bound in endpoints_of(conf):
            if is_bound or not endpoint.startswith((TCP, IPC)) or not stays_here(endpoint, is_bound=False):
                continue
            here = End(daemon, option, _place(endpoint))
            there = [
                end
                for end in bound
                if end.daemon != daemon
                and end.option not in ("port", "metrics_port")
                and end.option.startswith(REPLAY) == option.startswith(REPLAY)
            ]
            if not any(here.meets(end) for end in there):
                known = ", ".join(f"{DAEMON}{end.daemon} at {end.place}" for end in there) or "nobody does here"
                does = "answers questions" if option.startswith(REPLAY) else "publishes"
                yield daemon, Finding(option, f"nobody {does} at {endpoint}; {known}", is_mistake=False)


def _bound(daemon: str, conf: cfg.ConfigOpts) -> Iterator[End]:
    """Yield where a daemon listens."""
    for option, endpoint, is_bound in endpoints_of(conf):
        if is_bound and endpoint.startswith((TCP, IPC)):
            yield End(daemon, option, _place(endpoint))
    for host, port in HTTP:
        if port in conf and conf[port]:
            yield End(daemon, port, f"{_address(conf[host])}:{conf[port]}")


def _place(endpoint: str) -> str:
    if not endpoint.startswith(TCP):
        return endpoint
    host, port = host_and_port(endpoint)
    return f"{_address(host)}:{port}"


def _address(host: str) -> str:
    """Return a host as all spell it here."""
    host = host.removeprefix("[").removesuffix("]")
    return "127.0.0.1" if host in ("localhost", "lo") else host

"""What every plugin does first: subscribe to the bus as its configuration says; and what it tells anybody of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg

from kwapi.admission import Admission
from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.plugins.positions import Saved
from kwapi.streams import Streams
from kwapi.transport import transport_of


def subscriber_of(
    conf: cfg.ConfigOpts,
    wattmeters: Sequence[str] | None = None,
    *,
    health: bool = False,
    repair: bool = False,
    saved: Saved | None = None,
) -> Subscriber:
    """Return the subscriber of a plugin's configuration; raise ConfigError if its signing keys are unusable.

    Given wattmeters, names or first parts of names, are subscribed to instead of the configured ones; with ``health``,
    their health too. With ``repair`` it asks for what it misses, and from saved positions on for what came since.
    """
    keys = KeyFile(conf.signing_key_file)
    spools = conf.replay_endpoint if repair else []
    begin = (saved.positions, saved.accounts) if saved else ()
    streams = Streams(*begin, spools=len(spools), wait=conf.repair_wait, most=conf.max_wattmeters)
    admission = Admission(max_wattmeters=conf.max_wattmeters, max_probes=conf.max_probes, slack=conf.max_skew)
    since = saved.at - conf.max_skew if saved else None
    gate = Gate(
        keys,
        max_age=conf.max_age,
        max_skew=conf.max_skew,
        since=since or 0.0,
        health=health,
        streams=streams,
        admission=admission,
    )
    names = conf.wattmeters if wattmeters is None else wattmeters
    return Subscriber(conf.probes_endpoint, names, gate, spools=spools, since=since, transport=transport_of(conf))


def public_health(counts: Mapping[str, Any], conflicts: Counter[str]) -> dict[str, object]:
    """Return what a gate counts, and conflicts by name, without a name: whoever asks needs no login."""
    skew = max(counts.get("skew", {}).values(), key=abs, default=0.0)
    return {"status": "ok", **counts, "skew": skew, "conflicts": conflicts.copy().total()}

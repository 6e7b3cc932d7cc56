"""What every plugin does first: subscribe to the bus as its configuration says; and what it tells anybody of it."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg

from kwapi.admission import Admission
from kwapi.bus import Subscriber
from kwapi.endpoints import is_nats
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.nats.opening import consumer_name
from kwapi.plugins.positions import Saved
from kwapi.streams import Streams
from kwapi.transport import transport_of


def subscriber_of(
    conf: cfg.ConfigOpts,
    wattmeters: Sequence[str] | None = None,
    *,
    health: bool = False,
    repair: Path | None = None,
    saved: Saved | None = None,
) -> Subscriber:
    """Return the subscriber of a plugin's configuration; raise ConfigError if its signing keys are unusable.

    Given wattmeters, names or first parts of names, are subscribed to instead of the configured ones; with ``health``,
    their health too. With ``repair``, the file where positions are saved, it asks for what it misses, and from saved
    positions on for what came since; at NATS servers its consumers are called after that file.
    """
    keys = KeyFile(conf.signing_key_file)
    spools = conf.replay_endpoint if repair else []
    begin = (saved.positions, saved.accounts, saved.boots) if saved else ()
    resumes = all(map(is_nats, conf.probes_endpoint))
    streams = Streams(*begin, spools=len(spools), resumes=resumes, wait=conf.repair_wait, most=conf.max_wattmeters)
    admission = Admission(max_wattmeters=conf.max_wattmeters, max_probes=conf.max_probes, slack=conf.max_skew)
    since = saved.at - conf.max_skew if saved else None
    if resumes:  # what was stored since then comes, however late, and of a wattmeter that is new to us too
        heard_at = min((mark.at for mark in saved.marks.values()), default=saved.at) if saved else None
        since = time.time() - conf.max_age if heard_at is None else heard_at - conf.max_skew
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
    subscriber = Subscriber(
        conf.probes_endpoint,
        names,
        gate,
        spools=spools,
        since=None if resumes else since,
        transport=transport_of(conf),
    )
    if subscriber.reading is not None and repair is not None:
        subscriber.reading.resume(consumer_name(repair), saved.marks if saved else {})
    return subscriber


def public_health(counts: Mapping[str, Any], conflicts: Counter[str]) -> dict[str, object]:
    """Return what a gate counts, and conflicts by name, without a name: whoever asks needs no login."""
    skew = max(counts.get("skew", {}).values(), key=abs, default=0.0)
    return {"status": "ok", **counts, "skew": skew, "conflicts": conflicts.copy().total()}

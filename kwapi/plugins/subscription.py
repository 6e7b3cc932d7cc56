"""What every plugin does first: subscribe to the bus as its configuration says."""

from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg

from kwapi.bus import Gate, Subscriber
from kwapi.signing import KeyRing, read_key


def subscriber_of(conf: cfg.ConfigOpts, wattmeters: Sequence[str] | None = None) -> Subscriber:
    """Return the subscriber of a plugin's configuration; raise ConfigError if its signing key is unusable.

    Given wattmeters, names or first parts of names, are subscribed to instead of the configured ones.
    """
    keys = KeyRing([read_key(Path(conf.signing_key_file))])
    gate = Gate(keys, max_age=conf.max_age, max_skew=conf.max_skew)
    return Subscriber(conf.probes_endpoint, conf.wattmeters if wattmeters is None else wattmeters, gate)

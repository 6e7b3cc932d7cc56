"""What every plugin does first: subscribe to the bus as its configuration says."""

from pathlib import Path

from oslo_config import cfg

from kwapi.bus import Gate, Subscriber
from kwapi.signing import KeyRing, read_key


def subscriber_of(conf: cfg.ConfigOpts) -> Subscriber:
    """Return the subscriber of a plugin's configuration; raise ConfigError if its signing key is unusable."""
    keys = KeyRing([read_key(Path(conf.signing_key_file))])
    gate = Gate(keys, max_age=conf.max_age, max_skew=conf.max_skew)
    return Subscriber(conf.probes_endpoint, conf.wattmeters, gate)

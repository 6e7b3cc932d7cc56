"""What the commands about energy registers share: where these are."""

import sys
from pathlib import Path

from oslo_config import cfg

from kwapi.config import Reader
from kwapi.plugins.api.machines import machines_of, read_machines
from kwapi.plugins.api.registers import DIRECTORY

ABOUT = "says where the energy registers are"


def read_api(path: Path) -> cfg.ConfigOpts:
    """Return the configuration of kwapi-api, with its machines; raise ConfigError with every mistake in these."""
    reader = Reader("api", [path])
    read_machines(reader)
    return reader.finish()


def warn_of_machines(conf: cfg.ConfigOpts, probe: str) -> None:
    """Print which machines still name a probe that is no longer there: they are shown nowhere until that is changed."""
    for machine in machines_of(conf):
        if probe in machine.probes:
            print(
                f"kwapi: [machine {machine.name}] of {conf.config_file[-1]} still names {probe!r}; "
                "change that and restart kwapi-api",
                file=sys.stderr,
            )


def directory_of(conf: cfg.ConfigOpts) -> Path:
    """Return the directory of the energy registers."""
    return Path(conf.state_dir) / DIRECTORY

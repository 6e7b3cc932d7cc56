"""The options of the daemons of 2013: which are called otherwise now, and why others are gone."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from kwapi.cli.migrate.old import OldSection, Report, is_true
from kwapi.endpoints import stays_here
from kwapi.option_types import Endpoint
from kwapi.options import OPTIONS

Tell = Callable[[str, str], None]

RENAMED = {
    "drivers": {},
    "forwarder": {},
    "api": {"api_port": "port", "cleaning_interval": "cleaning_interval"},
    "rrd": {
        "rrd_port": "port",
        "kwh_price": "kwh_price",
        "currency": "currency",
        "refresh_interval": "refresh_interval",
        "cleaning_interval": "cleaning_interval",
    },
}
SIGNED = "every message is signed and checked, by a new key of kwapi init or kwapi-drivers"
NEW_KEY = "not taken over: it stood in several files; a new key signs, and nothing of 2013 is on the bus any more"
PICTURES = "pictures are drawn when they are asked for"
COLOURS = "the pages have colours of their own, light and dark"
LOGS = "the log goes to the journal, or to standard error"
GONE = {
    "enable_signing": SIGNED,
    "signature_checking": SIGNED,
    "metering_secret": NEW_KEY,
    "driver_metering_secret": NEW_KEY,
    "check_drivers_interval": "each wattmeter is watched at every poll",
    "png_dir": PICTURES,
    "rebuild_graphs_interval": PICTURES,
    "rrd_dir": "its files are copied with --rrd; new ones are in rrd of state_dir",
    "max_watts": "graphs find their own scale",
    "max_metrics": "graphs find their own scale",
    "size": "graphs are as wide as the page",
    "g5k_sites": "the first parts of the names of wattmeters are the sites",
    "policy_file": "its rules are not converted; policy.yaml beside api.conf says who may read",
    **dict.fromkeys(("color", "hue", "hues", "min_brightness", "max_brightness"), COLOURS),
    **dict.fromkeys(("log_file", "log_dir", "log_config", "log_format", "log_date_format", "logfile_mode"), LOGS),
    **dict.fromkeys(("use_syslog", "syslog_log_facility", "use_stderr", "default_log_levels", "publish_errors"), LOGS),
}
ENDPOINTS = {  # that every installation had, in a directory which each daemon has of its own under systemd
    "ipc:///tmp/kwapi-drivers": "tcp://127.0.0.1:5555",
    "ipc:///tmp/kwapi-forwarder": "tcp://127.0.0.1:5556",
}
KEYSTONE = {
    "admin_user": "username",
    "admin_password": "password",
    "admin_tenant_name": "project_name",
    "auth_uri": "www_authenticate_uri",
    "cafile": "cafile",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "insecure": "insecure",
    "token_cache_time": "token_cache_time",
}
KEYSTONE_GONE = {
    "admin_token": "a token of the administrator is no way to ask any more; username and password are",
    "signing_dir": "tokens of that kind are gone",
}
PLACES = ("identity_uri", "auth_host", "auth_port", "auth_protocol")


def convert(daemon: str, section: OldSection, tell: Tell, wattmeters: Iterable[str] = ()) -> dict[str, str]:
    """Return the options of [DEFAULT] as they are now; what is not simply taken over is told, by option."""
    found: dict[str, str] = {}
    for old, new in RENAMED[daemon].items():
        if value := section.take(old):
            found |= _checked(daemon, old, new, value, tell)
    found |= _endpoints(daemon, section, tell)
    found |= _watched(section, tell, wattmeters) if daemon in ("api", "rrd") else {}
    found |= _level(section)
    for key in list(section.values):
        if why := GONE.get(key):
            section.take_all(key)
            tell(key, why)
    return found


def _checked(daemon: str, old: str, new: str, value: str, tell: Tell) -> dict[str, str]:
    option = next(option for option in OPTIONS[daemon] if option.dest == new)
    try:
        option.type(value)
    except ValueError as error:
        tell(old, f"left at its default, {option.default}: {error}")
        return {}
    return {new: value}


def _endpoints(daemon: str, section: OldSection, tell: Tell) -> dict[str, str]:
    """Return the endpoints, those of /tmp elsewhere; what left the machine unencrypted still does."""
    found: dict[str, str] = {}
    bound = {"drivers": "probes_endpoint", "forwarder": "forwarder_endpoint"}.get(daemon)
    leaves = []
    for key in ("probes_endpoint", "forwarder_endpoint"):
        taken = []
        for old in section.take_all(key):
            new = ENDPOINTS.get(old, old)
            if new != old:
                tell(key, f"{old} is {new} now: under systemd each daemon has a /tmp of its own")
            try:
                Endpoint()(new)
            except ValueError as error:
                tell(key, f"left out: {error}")
                continue
            taken.append(new)
            leaves += [] if stays_here(new, is_bound=key == bound) else [new]
        if taken:
            found[key] = ", ".join(taken) if key != bound else taken[-1]
    if leaves:
        found["allow_plaintext"] = "true"
        tell(
            "probes_endpoint",
            f"{', '.join(leaves)} leaves this machine unencrypted, as before; docs/security.md, CURVE",
        )
    if daemon in ("api", "rrd") and leaves:
        found["replay_endpoint"] = ""
        tell(
            "probes_endpoint", "what is missed is asked for nowhere, until replay_endpoint names that of kwapi-drivers"
        )
    return found


def _watched(section: OldSection, tell: Tell, wattmeters: Iterable[str]) -> dict[str, str]:
    """Return which wattmeters are subscribed to: it was the first parts of names of probes."""
    wanted = section.take_all("watch_probe")
    known = list(wattmeters)
    fitting = [name for name in wanted if any(f"{each}.".startswith(f"{name}.") for each in known)]
    for name in wanted:
        if name not in fitting:
            tell("watch_probe", f"{name!r} names probes; wattmeters takes names of wattmeters, or their first parts")
    return {"wattmeters": ", ".join(fitting)} if fitting and len(fitting) == len(wanted) else {}


def _level(section: OldSection) -> dict[str, str]:
    debug, verbose = is_true(section.take("debug")), is_true(section.take("verbose", "true"))
    if debug:
        return {"log_level": "debug"}
    return {} if verbose else {"log_level": "warning"}


def keystone(section: OldSection, tell: Tell) -> dict[str, str]:
    """Return the options of [keystone_authtoken] as they are now."""
    found: dict[str, str] = {}
    place = {key: section.take(key) for key in PLACES if key in section.values}
    if place:
        protocol, port = place.get("auth_protocol", "https"), place.get("auth_port", "35357")
        here = place.get("identity_uri") or f"{protocol}://{place.get('auth_host', '127.0.0.1')}:{port}"
        found["auth_url"] = here.rstrip("/")
    for old, new in KEYSTONE.items():
        if value := section.take(old):
            found[new] = value
    for key, why in KEYSTONE_GONE.items():
        if key in section.values:
            section.take_all(key)
            tell(key, why)
    if found:
        found |= {"user_domain_name": "Default", "project_domain_name": "Default"}
        tell("", "user and project are of the domain Default, as all were in 2013")
    return found


def lacks(values: dict[str, str]) -> Sequence[str]:
    """Return what Keystone cannot be asked without."""
    return [key for key in ("auth_url", "username", "password", "project_name") if not values.get(key)]


def report_rest(path: Path, section: OldSection, report: Report) -> None:
    """Tell of what nobody has taken."""
    for key in section.values:
        report.tell(path, section, key, "an option that is not known; left out")

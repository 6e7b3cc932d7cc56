"""The options of api.conf about who may read, and what can be wrong with them.

[keystone_authtoken] and [oslo_policy] belong to libraries, which say what may stand there; the defaults that are ours,
and the few options that people need, stand here.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from oslo_config import cfg

from kwapi.config import DEFAULT, Reader
from kwapi.keys import PLACEHOLDERS

KEYSTONE, POLICY = "keystone_authtoken", "oslo_policy"
AUTH_SECTIONS = (KEYSTONE, POLICY)
SAMPLE: Mapping[str, tuple[cfg.Opt, ...]] = {  # the libraries know more, with help that changes from one to the next
    KEYSTONE: (
        cfg.StrOpt("auth_type", default="password", help="How kwapi-api itself gets a token."),
        cfg.StrOpt("auth_url", required=True, help="Address of Keystone, such as https://keystone.example.org:5000."),
        cfg.StrOpt("username", required=True, help="The user as whom kwapi-api asks; it needs the role service."),
        cfg.StrOpt(
            "password",
            required=True,
            secret=True,
            help="Its password; the environment variable KWAPI_KEYSTONE_AUTHTOKEN__PASSWORD gives it as well.",
        ),
        cfg.StrOpt("user_domain_name", required=True, help="The domain of that user, mostly Default."),
        cfg.StrOpt("project_name", required=True, help="The project where it has that role, mostly service."),
        cfg.StrOpt("project_domain_name", required=True, help="The domain of that project, mostly Default."),
        cfg.StrOpt(
            "www_authenticate_uri", default="", help="Where those without a token are sent; auth_url by default."
        ),
        cfg.StrOpt("cafile", default="", help="PEM file with the authority that has signed Keystone's certificate."),
        cfg.IntOpt(
            "token_cache_time",
            default=60,
            help="Seconds that a token is not asked about again, and a revoked one may still read. -1: ask each time.",
        ),
        cfg.IntOpt(
            "http_connect_timeout",
            default=2,
            min=1,
            help="Seconds that Keystone has to answer a request. A token may take twice as long, then ours is 503.",
        ),
    ),
    POLICY: (
        cfg.StrOpt(
            "policy_file", default="policy.yaml", help="File with other rules, beside this one; it may be missing."
        ),
    ),
}
NO_KEYSTONE = f"is true, so the Keystone of [{KEYSTONE}] is asked; where there is none, write acl_enabled = false"
SECRETS = ("password", "token", "application_credential_secret", "client_secret", "access_token", "passcode")
OURS = {"http_request_max_retries": 0, "service_type": "energy"}  # beside those of the sample


def access_problems(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) unless it is settled who may read."""
    if not conf.acl_enabled and not conf.anybody_may_read and not _is_loopback(conf.host):
        yield (
            "host",
            f"without acl_enabled anybody could read on {conf.host}; take acl_enabled = false out, so that Keystone is "
            "asked, or set anybody_may_read = true, if they shall",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_sections(reader: Reader) -> Iterable[str]:
    """Read the libraries' sections if they are there or needed, noting mistakes; return the names of those known."""
    try:
        is_needed = reader.is_whole and reader.conf.acl_enabled  # nothing is missing that was not read
    except ValueError:  # which the reader has noted
        is_needed = False
    sections = list(AUTH_SECTIONS)
    if is_needed or KEYSTONE in reader.sections:
        sections.append(_read_keystone(reader, is_needed))
    if is_needed or POLICY in reader.sections:
        _read_policy(reader)
    return dict.fromkeys(sections)


def _read_keystone(reader: Reader, is_needed: bool) -> str:
    """Read how Keystone is asked; return the section that says as whom, which [keystone_authtoken] may name.

    Nothing can be missing where it is not needed.
    """
    from keystoneauth1 import exceptions, loading
    from keystonemiddleware.opts import list_auth_token_opts

    options = {option.dest: option for _, group in list_auth_token_opts() for option in group}
    section: str = reader.value(KEYSTONE, options["auth_section"]) or KEYSTONE
    kind = reader.value(section, options["auth_type"]) or "password"
    try:
        loader: loading.BaseLoader[Any] = loading.get_plugin_loader(kind)
    except exceptions.NoMatchingPlugin:
        reader.mistake(section, "auth_type", f"there is no {kind!r}; mostly it is password")
        return section
    user = loading.get_auth_plugin_conf_options(loader)
    for option in () if is_needed else user:
        option.required = False
    mistakes = len(reader.mistakes)
    if section == KEYSTONE:
        values = known = reader.values(KEYSTONE, [*options.values(), *user])
    else:
        known = reader.values(KEYSTONE, list(options.values()))
        values = reader.values(section, [options["auth_type"], *user])
    noted = "\n".join(reader.mistakes[mistakes:])
    for key, problem in (*_asking_problems(known), *(_user_problems(values) if is_needed else ())):
        if f"] {key}: " not in noted:  # an option that is wrong is not missing
            reader.mistake(section if key in values else KEYSTONE, key, problem)
    if KEYSTONE not in reader.sections and "] auth_url: is missing" in noted:
        reader.mistake(DEFAULT, "acl_enabled", NO_KEYSTONE)
    if len(reader.mistakes) > mistakes or not is_needed:
        return section
    try:
        loader.load_from_options_getter(lambda option: values[option.dest])
    except exceptions.AuthPluginException as error:
        reader.mistake(section, "auth_type", str(error))
    for option in SAMPLE[KEYSTONE]:
        if option.default not in (None, ""):
            reader.conf.set_default(option.name, option.default, section if option.name == "auth_type" else KEYSTONE)
    for name, default in {**OURS, "www_authenticate_uri": values.get("auth_url")}.items():
        reader.conf.set_default(name, default, KEYSTONE)
    return section


def secrets_of(conf: cfg.ConfigOpts) -> list[str]:
    """Return what Keystone is told that nobody else may know."""
    section = conf.keystone_authtoken.auth_section or KEYSTONE
    return [str(conf[section][name]) for name in SECRETS if name in conf[section] and conf[section][name]]


def _asking_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) of what would let a thread wait, or a request pass."""
    if values["delay_auth_decision"]:
        yield "delay_auth_decision", "must be false: nobody would be told when Keystone is out of order"
    if (seconds := values["http_connect_timeout"]) is not None and seconds < 1:
        yield "http_connect_timeout", f"must be 1 or more, not {seconds}"


def _user_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) of the user as whom Keystone is asked."""

    def has(*names: str) -> bool:
        return any(values.get(name) for name in names)

    if has("auth_url") and not values["auth_url"].startswith(("http://", "https://")):
        yield "auth_url", f"{values['auth_url']!r} does not begin with http:// or https://"
    if "password" not in values:
        return
    domains = ("default_domain_name", "default_domain_id")
    missing = {
        "username": not has("username", "user_id"),
        "user_domain_name": has("username") and not has("user_domain_name", "user_domain_id", *domains),
        "password": not has("password") or values["password"].lower() in PLACEHOLDERS,
        "project_name": not has("project_name", "project_id", "domain_name", "domain_id", "system_scope", "trust_id"),
        "project_domain_name": has("project_name") and not has("project_domain_name", "project_domain_id", *domains),
    }
    for option in SAMPLE[KEYSTONE]:
        if missing.get(option.name):
            yield option.name, f"is missing{' or a placeholder' if has(option.name) else ''}: {option.help}"


def _read_policy(reader: Reader) -> None:
    """Read where the policy is, and the policy itself."""
    from oslo_policy.opts import list_opts

    from kwapi.plugins.api.policy import Policy, beside

    for section, options in list_opts():
        reader.values(section, options)
    if reader.mistakes:
        return
    conf = reader.conf
    # Absolute, or oslo.policy would look into the home directory as well.
    conf.set_default("policy_file", beside(conf, "policy.yaml"), POLICY)
    conf.set_default("policy_dirs", [beside(conf, "policy.d")], POLICY)
    conf.set_default("remote_timeout", 2, POLICY)
    file = conf.oslo_policy.policy_file
    found = conf.find_file(file)
    if found is None and file != beside(conf, "policy.yaml"):
        reader.mistake(POLICY, "policy_file", f"there is no {file}")
    elif found is not None and not Path(found).is_file():
        reader.mistake(POLICY, "policy_file", f"{file} is no file")
    for problem in Policy(conf).problems():
        reader.mistake(POLICY, "policy_file", problem)

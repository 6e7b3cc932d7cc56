"""The options of the daemons, of a wattmeter's section and of a machine's: name, type, default, bounds, help."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from oslo_config import cfg

from kwapi.logs import JSON, PLAIN
from kwapi.option_types import (
    BusEndpoint,
    Endpoint,
    EndpointOrNone,
    HeaderName,
    Mode,
    Owner,
    PriceFrom,
    PrivateFile,
    RrdcachedAddress,
    Timezone,
)


def _state_dir(default: str, what: str) -> cfg.Opt:
    return cfg.StrOpt("state_dir", default=default, help=f"Directory for what must survive a restart: {what}.")


STATE_DIR = _state_dir("/var/lib/kwapi", "the signing key, energy registers, RRD files")
LOG = (
    cfg.StrOpt(
        "log_level", default="info", choices=["debug", "info", "warning", "error"], help="Least severe event logged."
    ),
    cfg.StrOpt(
        "log_format",
        default=PLAIN,
        choices=[PLAIN, JSON],
        help="plain: a line for each event, in the journal with its priority; json: an object for each, with time, "
        "level, logger, message and what else is known, such as the wattmeter.",
    ),
)
COMMON = (*LOG, STATE_DIR)
KEY_FILE = cfg.Opt(
    "signing_key_file",
    type=PrivateFile(),
    default="$state_dir/signing.key",
    help="File of mode 0600 with the secrets that sign every measurement, as kwapi keygen makes it; the same on every "
    "machine. kwapi-drivers makes one with a random secret at its first start. Read again when it changes.",
)
ENCRYPTION = (
    cfg.Opt(
        "curve_key_file",
        type=PrivateFile(),
        default="",
        help="File NAME.key_secret of mode 0600 with the keys of this daemon, made by kwapi keygen; every tcp:// "
        "endpoint is encrypted then. Empty: none is, and they must be on loopback.",
    ),
    cfg.BoolOpt(
        "allow_plaintext",
        default=False,
        help="Without curve_key_file, use tcp:// endpoints beyond loopback too; whoever is on the network can then "
        "read all.",
    ),
)
SERVERS = cfg.StrOpt(
    "curve_servers_dir",
    default="$state_dir/servers",
    help="Directory with the public keys of the endpoints that are connected to, each a file named as the endpoint has "
    "it: HOST.key, or HOST:PORT.key.",
)
LISTENING = (
    cfg.StrOpt(
        "curve_clients_dir",
        default="$state_dir/clients",
        help="Directory with the public keys, files NAME.key, of those who may connect; read again when it changes.",
    ),
    cfg.Opt("ipc_mode", type=Mode(), default="0600", help="Mode of the Unix sockets of ipc:// endpoints."),
    cfg.Opt(
        "ipc_owner",
        type=Owner(),
        default="",
        help="Owner of the Unix sockets: USER, USER:GROUP or :GROUP; empty: who the daemon runs as.",
    ),
)
NATS = (
    cfg.StrOpt(
        "nats_stream",
        default="kwapi",
        regex="[A-Za-z0-9_-]+",
        help="For nats:// and tls:// endpoints: the stream that keeps the messages. kwapi nats init makes it.",
    ),
    cfg.StrOpt(
        "nats_credentials_file",
        default="",
        help="File of mode 0600 with who we are at the NATS servers: what nsc makes for a user, or one line with "
        "USER:PASSWORD or a token; empty where they let everybody in.",
    ),
    cfg.StrOpt(
        "nats_ca_file",
        default="",
        help="PEM file with the authority whose certificates tls:// endpoints have; empty for those that this machine "
        "trusts.",
    ),
    cfg.StrOpt(
        "nats_certificate_file",
        default="",
        help="PEM file with our certificate, for tls:// servers that want one; its key too, unless nats_key_file has "
        "that.",
    ),
    cfg.StrOpt("nats_key_file", default="", help="PEM file of mode 0600 with the key of nats_certificate_file."),
)
PLUGIN = (
    KEY_FILE,
    cfg.ListOpt(
        "probes_endpoint",
        item_type=BusEndpoint(),
        required=True,
        default=["tcp://127.0.0.1:5556"],
        help="ZeroMQ endpoints of kwapi-forwarder, or of kwapi-drivers, that measurements are taken from; or NATS "
        "servers of a cluster, nats://HOST:PORT;HOST:PORT, or tls://",
    ),
    *NATS,
    cfg.ListOpt(
        "replay_endpoint",
        item_type=Endpoint(),
        default=["tcp://127.0.0.1:5565"],
        help="Where to ask for messages that were missed: replay_endpoint of kwapi-drivers, or of forwarders that keep "
        "some; empty for nowhere.",
    ),
    cfg.FloatOpt(
        "repair_wait", default=60, min=1, help="Seconds without an answer after which what was missed is lost."
    ),
    *ENCRYPTION,
    SERVERS,
    cfg.ListOpt(
        "wattmeters",
        default=[""],
        help="Wattmeters that are subscribed to, by name or by the first parts of a dotted name (lyon takes "
        "lyon.pdu1); empty for all.",
    ),
    cfg.FloatOpt(
        "max_age", default=600, min=1, help="A message older than so many seconds is dropped, as a replay could be."
    ),
    cfg.FloatOpt("max_skew", default=60, min=0, help="A message so many seconds from the future is dropped."),
    cfg.IntOpt(
        "max_wattmeters",
        default=10_000,
        min=1,
        help="Wattmeters that one signing key may introduce; more are refused, so that nobody fills the memory.",
    ),
    cfg.IntOpt(
        "max_probes",
        default=100_000,
        min=1,
        help="Probes that one signing key may introduce; more are refused.",
    ),
    cfg.FloatOpt(
        "max_gap",
        default=60,
        min=1,
        help="A hole of more seconds than this, and than 2.5 intervals of the wattmeter, adds no energy from watts.",
    ),
    cfg.FloatOpt(
        "cleaning_interval", default=300, min=1, help="A probe silent for so many seconds leaves the live lists."
    ),
    cfg.StrOpt("host", default="127.0.0.1", help="Address to listen on for HTTP."),
)


def _spool(directory: str, port: int) -> Sequence[cfg.Opt]:
    return (
        cfg.StrOpt(
            "spool_dir",
            default=directory,
            help="Directory where the messages of the last hours are kept, for plugins that missed some; empty: none.",
        ),
        cfg.FloatOpt("spool_hours", default=24, min=0.1, help="A message is kept for so many hours at most."),
        cfg.IntOpt("spool_size", default=1024, min=16, help="Megabytes that the kept messages may take."),
        cfg.Opt(
            "replay_endpoint",
            type=EndpointOrNone(),
            default=f"tcp://127.0.0.1:{port}",
            help="ZeroMQ endpoint where plugins ask for what they missed, if anything is kept; empty for none, "
            "where all of them read NATS servers.",
        ),
    )


def _metrics(what: str) -> Sequence[cfg.Opt]:
    return (
        cfg.PortOpt("metrics_port", default=0, help=f"Port where Prometheus finds {what}; 0: none."),
        cfg.StrOpt("metrics_host", default="127.0.0.1", help="Address to listen on for Prometheus."),
    )


def _threads(default: int) -> cfg.Opt:
    return cfg.IntOpt("threads", default=default, min=1, max=256, help="Threads that answer HTTP requests.")


OPTIONS: Mapping[str, Sequence[cfg.Opt]] = {
    "drivers": (
        *COMMON,
        KEY_FILE,
        cfg.Opt(
            "probes_endpoint",
            type=BusEndpoint(),
            default="tcp://127.0.0.1:5555",
            help="ZeroMQ endpoint where measurements are published; or the NATS servers that store them, such as "
            "nats://127.0.0.1:4222, or tls://HOST:PORT;HOST:PORT of a cluster.",
        ),
        *NATS,
        *_spool("$state_dir/spool", 5565),
        *ENCRYPTION,
        *LISTENING,
        cfg.IntOpt(
            "max_hung_workers",
            default=32,
            min=1,
            help="When more wattmeters than this hang at one time in a way that cannot be ended, the daemon exits, to "
            "be started again by systemd.",
        ),
        cfg.IntOpt(
            "workers",
            default=0,
            min=0,
            max=64,
            help="Processes that share the wattmeters, for more of them than one process of Python can poll; 0: all "
            "in the daemon itself.",
        ),
        *_metrics("the health of all and the spool"),
    ),
    "forwarder": (
        *LOG,
        # Its own, since it is another user to whom the secrets of the others are closed.
        _state_dir("/var/lib/kwapi-forwarder", "the keys of those that it knows, what it keeps"),
        cfg.ListOpt(
            "probes_endpoint",
            item_type=BusEndpoint(),
            required=True,
            default=["tcp://127.0.0.1:5555"],
            help="ZeroMQ endpoints of kwapi-drivers, or of other forwarders, that measurements are taken from; or NATS "
            "servers of a cluster, nats://HOST:PORT;HOST:PORT, or tls://",
        ),
        cfg.Opt(
            "forwarder_endpoint",
            type=BusEndpoint(),
            default="tcp://127.0.0.1:5556",
            help="ZeroMQ endpoint where they are passed on; or the NATS servers that store them.",
        ),
        *NATS,
        *_spool("", 5566),
        cfg.ListOpt(
            "spool_topics",
            default=[""],
            help="Wattmeters whose messages are kept, by name or by the first parts of a dotted name; empty for all. "
            "What is not kept is passed on only while a plugin subscribes to it.",
        ),
        cfg.ListOpt(
            "replay_upstream",
            item_type=Endpoint(),
            default=[],
            help="replay_endpoint of kwapi-drivers, or of forwarders before this one, where is asked for what is not "
            "kept here, such as what came while this forwarder was away.",
        ),
        *ENCRYPTION,
        SERVERS,
        *LISTENING,
        *_metrics("the spool and the connections"),
    ),
    "api": (
        *COMMON,
        *PLUGIN,
        cfg.PortOpt("port", default=5000, help="Port to listen on for HTTP."),
        _threads(32),
        cfg.IntOpt(
            "streams",
            default=16,
            min=0,
            max=255,
            help="Readers that /v2/stream serves at a time; fewer than threads, since each of them holds one.",
        ),
        cfg.FloatOpt(
            "stream_seconds",
            default=300,
            min=1,
            help="A stream ends after so many seconds, so that its reader's token is checked again; readers come back "
            "by themselves and miss nothing.",
        ),
        cfg.Opt(
            "tls_certificate_file",
            type=PrivateFile(),
            default="",
            help="PEM file with the certificate, and those that lead to a known one; the API then speaks HTTPS only. "
            "Read again when it changes.",
        ),
        cfg.Opt("tls_key_file", type=PrivateFile(), default="", help="PEM file with the certificate's key."),
        cfg.ListOpt(
            "cors_origins",
            default=[],
            help="Origins, such as https://example.org, whose pages may read the API in a browser; empty for none.",
        ),
        cfg.BoolOpt("acl_enabled", default=True, help="Ask Keystone whether a request's token may read."),
        cfg.BoolOpt(
            "anybody_may_read",
            default=False,
            help="Let whoever reaches the API read, where acl_enabled is false; it listens on loopback only otherwise.",
        ),
        cfg.BoolOpt("metrics_public", default=False, help="Show /metrics without a token."),
    ),
    "rrd": (
        *COMMON,
        *PLUGIN,
        cfg.PortOpt("port", default=8080, help="Port to listen on for HTTP."),
        _threads(8),
        cfg.StrOpt("rrd_dir", default="$state_dir/rrd", help="Directory of the RRD files, one for each probe."),
        cfg.FloatOpt("kwh_price", default=0.25, min=0, help="Price of one kWh; 0: no cost is shown."),
        cfg.ListOpt(
            "tariff",
            item_type=PriceFrom(),
            default=[],
            help="In place of kwh_price: prices that change at times of the day, such as 06:00 0.25, 22:00 0.15. Each "
            "holds until the next, over midnight too, by the clock of timezone.",
        ),
        cfg.Opt(
            "timezone",
            type=Timezone(),
            default="",
            help="Time zone of graphs and tariff, such as Europe/Paris; empty for that of this machine.",
        ),
        cfg.FloatOpt(
            "flush_interval",
            default=30,
            min=1,
            max=300,
            help="Seconds for which values are gathered until they are written; of a fast wattmeter at most 60 values.",
        ),
        cfg.FloatOpt(
            "retention",
            default=0,
            min=0,
            help="Files that nothing was written to for so many days are removed; 0 keeps them for ever.",
        ),
        cfg.Opt(
            "rrdcached_address",
            type=RrdcachedAddress(),
            default="",
            help="A running rrdcached, which has a journal, that writes the files: unix:/path or host:port. It has "
            "them under the same path. Empty: kwapi-rrd writes them itself.",
        ),
        cfg.StrOpt("currency", default="€", help="Currency of the price."),
        cfg.StrOpt("title", default="Kwapi", help="Title of the pages."),
        cfg.FloatOpt(
            "refresh_interval",
            default=5,
            min=1,
            max=3600,
            help="Seconds after which an open page asks for what is new.",
        ),
        cfg.Opt(
            "password_file",
            type=PrivateFile(),
            default="",
            help="File with those who may look, each line made by kwapi password; the pages ask for a login then. Read "
            "again when it changes.",
        ),
        cfg.Opt(
            "login_header",
            type=HeaderName(),
            default="",
            help="Header in which a reverse proxy on this machine says who has logged in, such as X-Remote-User; a "
            "request without it is refused.",
        ),
        cfg.BoolOpt(
            "anybody_may_read",
            default=False,
            help="Let whoever reaches the pages look, without a login; they are on loopback only otherwise.",
        ),
        *_metrics("what the bus counts"),
    ),
}


def secret_file(option: cfg.Opt) -> cfg.Opt:
    """Return the option that names a file with a secret, in place of the option of the secret itself."""
    return cfg.Opt(
        f"{option.dest}_file",
        type=PrivateFile(),
        default="",
        help=f"Instead of {option.dest}: file with it, closed to others; or the name of a credential of systemd.",
    )


def with_secret_files(options: Iterable[cfg.Opt]) -> Iterator[cfg.Opt]:
    """Yield options, each that is a secret followed by the one for its file."""
    for option in options:
        yield option
        if option.secret:
            yield secret_file(option)

"""Where NATS servers may stand in a configuration, and what is refused."""

import pytest

from kwapi.config import Reader
from kwapi.endpoints import servers_of, stays_here
from kwapi.errors import ConfigError
from kwapi.transport import transport_of

LOCAL, FAR, ENCRYPTED = "nats://127.0.0.1:4222", "nats://nats1:4222;127.0.0.1:4222", "tls://nats1:4222;nats2:4222"


def conf_of(directory, daemon, text):
    path = directory / f"{daemon}.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {directory}\n{text}\n")
    return Reader(daemon, [path]).finish()


def test_an_endpoint_names_servers_of_one_cluster():
    assert servers_of(ENCRYPTED) == ["tls://nats1:4222", "tls://nats2:4222"]
    assert servers_of(LOCAL) == [LOCAL]


@pytest.mark.parametrize(("endpoint", "stays"), [(LOCAL, True), (FAR, False), ("nats://[::1]:4222", True)])
def test_what_stays_on_this_machine(endpoint, stays):
    assert stays_here(endpoint, is_bound=False) is stays


@pytest.mark.parametrize(
    ("daemon", "option"),
    [
        ("drivers", "probes_endpoint"),
        ("forwarder", "probes_endpoint"),
        ("forwarder", "forwarder_endpoint"),
        ("api", "probes_endpoint"),
        ("rrd", "probes_endpoint"),
    ],
)
def test_wherever_the_bus_is_a_server_may_be_named_and_one_that_encrypts_beyond_loopback(tmp_path, daemon, option):
    rest = "acl_enabled = false" if daemon == "api" else ""
    for endpoint in (LOCAL, ENCRYPTED):
        conf = conf_of(tmp_path, daemon, f"{option} = {endpoint}\n{rest}")
        assert conf[option] in (endpoint, [endpoint])
        transport_of(conf)
    for more in ("", "curve_key_file = /nowhere"):  # CURVE is of ZeroMQ
        with pytest.raises(ConfigError, match=f"{option}: .* leaves this machine unencrypted; make it tls://"):
            conf_of(tmp_path, daemon, f"{option} = {FAR}\n{rest}\n{more}")
    conf_of(tmp_path, daemon, f"{option} = {FAR}\n{rest}\nallow_plaintext = true")


@pytest.mark.parametrize("endpoint", ["nats://a", "nats://a:99999", "nats://", "tls://a:1;", "tls://a:1;b"])
def test_what_is_no_endpoint_is_a_mistake(tmp_path, endpoint):
    with pytest.raises(ConfigError, match="is no endpoint such as nats://127.0.0.1:4222"):
        conf_of(tmp_path, "drivers", f"probes_endpoint = {endpoint}")


def test_a_login_in_an_endpoint_is_a_mistake_that_does_not_show_it(tmp_path):
    with pytest.raises(ConfigError, match="it stands in nats_credentials_file") as caught:
        conf_of(tmp_path, "drivers", "probes_endpoint = nats://user:hunter2@a:1")
    assert "hunter2" not in str(caught.value)


def test_a_spool_is_asked_by_zeromq(tmp_path):
    with pytest.raises(ConfigError, match="is no endpoint such as tcp://"):
        conf_of(tmp_path, "drivers", f"replay_endpoint = {LOCAL}")


def test_credentials_that_cannot_be_read_keep_a_daemon_from_starting(tmp_path):
    text = f"probes_endpoint = {{}}\nnats_credentials_file = {tmp_path}/none"
    with pytest.raises(ConfigError, match="nats_credentials_file: cannot read"):
        transport_of(conf_of(tmp_path, "drivers", text.format(LOCAL)))
    transport_of(conf_of(tmp_path, "drivers", text.format("tcp://127.0.0.1:5555")))

"""What leaves the machine, and who may use a Unix socket."""

import os
import socket
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from kwapi.cli.check import check
from kwapi.config import Reader
from kwapi.endpoints import MAX_PATH, Ipc, addresses_of, listen_at, stays_here
from kwapi.errors import ConfigError
from kwapi.transport import Transport, transport_of
from tests.certificates import Keys
from tests.integration.daemons import program

OTHER = 65534  # nobody
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


@pytest.mark.parametrize(
    ("endpoint", "is_bound", "stays"),
    [
        ("tcp://127.0.0.1:5555", True, True),
        ("tcp://127.9.8.7:5555", False, True),
        ("tcp://[::1]:5555", True, True),
        ("tcp://::1:5555", False, True),
        ("tcp://localhost:5555", False, True),
        ("tcp://lo:5555", True, True),
        ("tcp://lo:5555", False, False),  # a host of that name
        ("tcp://10.0.0.1:0;127.0.0.1:5555", False, True),
        ("tcp://127.0.0.1:0;10.0.0.1:5555", False, False),
        ("tcp://*:5555", True, False),
        ("tcp://0.0.0.0:5555", True, False),
        ("tcp://[::]:5555", True, False),
        ("tcp://eth0:5555", True, False),
        ("tcp://10.0.0.1:5555", False, False),
        ("tcp://[::ffff:10.0.0.1]:5555", False, False),
        ("tcp://[fe80::1%lo]:5555", False, False),
        ("tcp://localhost.example.org:5555", False, False),
        ("tcp://127.0.0.1.example.org:5555", False, False),
        ("tcp://kwapi.example.org:5555", False, False),
        ("ipc:///run/kwapi/bus", True, True),
        ("ipc://@kwapi", False, True),
    ],
)
def test_what_stays_on_this_machine(endpoint, is_bound, stays):
    assert stays_here(endpoint, is_bound=is_bound) is stays


def test_addresses_are_compared_whatever_their_form():
    assert addresses_of("tcp://127.0.0.1:5") == addresses_of("tcp://[::ffff:127.0.0.1]:5") == {("127.0.0.1", "5")}
    assert addresses_of("tcp://[::1]:5") == {("::1", "5")}
    assert addresses_of("tcp://no such host:5") == set()


FILES = {
    "drivers": ["probes_endpoint = tcp://*:5555", "replay_endpoint = tcp://eth0:5565"],
    "forwarder": ["probes_endpoint = tcp://a:5555, tcp://127.0.0.1:5", "forwarder_endpoint = tcp://0.0.0.0:5556"],
    "api": ["probes_endpoint = tcp://b:5556", "replay_endpoint = tcp://b:5566", "acl_enabled = false"],
    "rrd": ["probes_endpoint = ipc:///run/kwapi/bus", "replay_endpoint = tcp://[fd00::1]:5566"],
}


@pytest.fixture
def files(tmp_path):
    for daemon, lines in FILES.items():
        sections = "[meter]\ndriver = dummy\nprobes = a\n" if daemon == "drivers" else ""
        lines = ["[DEFAULT]", f"state_dir = {tmp_path}", *lines, sections]
        (tmp_path / f"{daemon}.conf").write_text("\n".join(lines))
    return tmp_path


def test_every_endpoint_that_would_be_plaintext_is_a_mistake(files):
    with pytest.raises(ConfigError) as caught:
        check(files)
    found = [mistake.removeprefix(f"{files}/").split(" leaves")[0] for mistake in caught.value.mistakes]
    assert found == [
        "drivers.conf:3: [DEFAULT] probes_endpoint: tcp://*:5555",
        "drivers.conf:4: [DEFAULT] replay_endpoint: tcp://eth0:5565",
        "forwarder.conf:3: [DEFAULT] probes_endpoint: tcp://a:5555",
        "forwarder.conf:4: [DEFAULT] forwarder_endpoint: tcp://0.0.0.0:5556",
        "api.conf:3: [DEFAULT] probes_endpoint: tcp://b:5556",
        "api.conf:4: [DEFAULT] replay_endpoint: tcp://b:5566",
        "rrd.conf:4: [DEFAULT] replay_endpoint: tcp://[fd00::1]:5566",
    ]


@pytest.mark.parametrize("line", ["allow_plaintext = true", "curve_key_file = /nowhere"])
def test_who_says_so_or_encrypts_is_not_refused(files, line):
    for daemon in FILES:
        path = files / f"{daemon}.conf"
        path.write_text(path.read_text().replace("[DEFAULT]", f"[DEFAULT]\n{line}"))
    check(files)


def test_an_endpoint_that_is_not_used_is_no_mistake(files):
    path = files / "drivers.conf"
    path.write_text(
        path.read_text().replace("tcp://*:5555", "tcp://127.0.0.1:1").replace("\n[meter]", "\nspool_dir =\n[meter]")
    )
    Reader("drivers", [path]).finish()


@pytest.mark.parametrize("daemon", FILES)
def test_a_daemon_does_not_start_where_others_could_listen(files, daemon):
    command = [program(daemon), "--config-dir", str(files)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "leaves this machine unencrypted; set curve_key_file" in ended.stderr


def conf_of(directory, daemon, text):
    path = directory / f"{daemon}.conf"
    path.write_text(f"[DEFAULT]\nstate_dir = {directory}\n{text}")
    return Reader(daemon, [path]).finish()


def test_the_transport_of_a_configuration_has_its_keys(tmp_path):
    keys = Keys(tmp_path)
    for name in ("forwarder", "drivers", "plugin"):
        keys.make(name)
    keys.allow("plugin")
    text = f"curve_key_file = {tmp_path}/forwarder.key_secret\nprobes_endpoint = tcp://a:5555, ipc:///run/kwapi\n"
    conf = conf_of(tmp_path, "forwarder", text)
    with pytest.raises(ConfigError, match=r"servers/a\.key.*copy the public key of tcp://a:5555 there"):
        transport_of(conf)
    keys.trust("tcp://a", "drivers")
    transport = transport_of(conf)
    assert transport.certificate == keys.make("forwarder")
    assert transport.server_key("tcp://a:5555") == keys.make("drivers").public
    assert transport.clients.name_of(keys.make("plugin").public) == "plugin"


def test_a_plugin_needs_no_directory_of_clients_and_drivers_none_of_servers(tmp_path):
    keys = Keys(tmp_path)
    keys.make("a")
    (tmp_path / "clients").rmdir()
    text = f"curve_key_file = {tmp_path}/a.key_secret\n"
    keys.trust("tcp://127.0.0.1", "a")
    assert transport_of(conf_of(tmp_path, "api", text)).clients is None
    with pytest.raises(ConfigError, match="curve_clients_dir: cannot read"):
        transport_of(conf_of(tmp_path, "drivers", text))
    (tmp_path / "clients").mkdir()
    assert transport_of(conf_of(tmp_path, "drivers", text)).servers is None


@contextmanager
def as_somebody_else():
    """Be a user that is neither root nor the owner of anything; its group is called the same."""
    os.setegid(OTHER)
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def is_let_in(path):
    """Return whether somebody else can connect."""
    with socket.socket(socket.AF_UNIX) as caller, as_somebody_else():
        try:
            caller.connect(str(path))
        except PermissionError:
            return False
        return True


def test_a_unix_socket_has_its_mode_and_owner(tmp_path):
    me = os.getuid(), os.getgid()
    listener = listen_at(tmp_path / "bus", Ipc(0o660, *me))
    status = (tmp_path / "bus").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o660, *me)
    listener.close()


@pytest.fixture
def public():
    """A directory that everybody may look into, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@needs_root
@pytest.mark.parametrize(
    ("ipc", "expected"),
    [(Ipc(), False), (Ipc(0o666), True), (Ipc(0o600, OTHER), True), (Ipc(0o660, -1, OTHER), True), (Ipc(0o660), False)],
)
def test_other_users_are_let_in_by_mode_and_owner_only(public, ipc, expected):
    with listen_at(public / "bus", ipc):
        assert is_let_in(public / "bus") is expected


def test_a_socket_that_a_daemon_left_behind_is_replaced(tmp_path):
    path = tmp_path / "bus"
    listen_at(path, Ipc()).close()
    assert path.exists()
    listen_at(path, Ipc()).close()


def test_a_socket_in_use_and_what_is_no_socket_are_left_alone(tmp_path):
    path = tmp_path / "bus"
    with listen_at(path, Ipc()), pytest.raises(ConfigError, match="another process listens there"):
        listen_at(path, Ipc())
    path.unlink()
    path.write_text("mine")
    with pytest.raises(ConfigError, match="a file that is no socket"):
        listen_at(path, Ipc())
    assert path.read_text() == "mine"


def test_a_socket_that_cannot_be_is_told(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        listen_at(tmp_path / "nowhere" / "bus", Ipc())
    with pytest.raises(ConfigError, match=f"{MAX_PATH + 1} bytes long, {MAX_PATH} at most"):
        listen_at(tmp_path / ("x" * (MAX_PATH - len(str(tmp_path)))), Ipc())


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("ipc_mode = rw", "'rw' is no mode such as 0660"),
        ("ipc_mode = 0888", "'0888' is no mode such as 0660"),
        ("ipc_owner = nobody-of-that-name", "is no USER:GROUP of this machine"),
        (f"probes_endpoint = ipc:///{'x' * 107}", "is 108 bytes long; that of a socket is 107 at most"),
    ],
)
def test_an_option_of_unix_sockets_that_cannot_be_is_a_mistake(tmp_path, line, mistake):
    with pytest.raises(ConfigError, match=mistake):
        conf_of(tmp_path, "drivers", line)


def test_mode_and_owner_of_a_configuration(tmp_path):
    assert transport_of(conf_of(tmp_path, "drivers", "ipc_mode = 0660\nipc_owner = root:root\n")).ipc == Ipc(
        0o660, 0, 0
    )
    assert transport_of(conf_of(tmp_path, "drivers", "ipc_owner = :root\n")).ipc == Ipc(0o600, -1, 0)
    assert transport_of(conf_of(tmp_path, "drivers", "")).ipc == Ipc()


@needs_root
def test_an_abstract_name_is_for_processes_of_the_same_user():
    """As between kwapi-drivers and its workers."""
    endpoint = f"ipc://@kwapi-test-{os.getpid()}"

    def push(context, text):
        with context.socket(zmq.PUSH) as socket:
            socket.linger = 500
            socket.connect(endpoint)
            socket.send(text)

    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        Transport().listen(pull, endpoint)
        with as_somebody_else(), zmq.Context() as other:
            push(other, b"stranger")
        with zmq.Context() as own:
            push(own, b"own")
        assert pull.poll(10_000)
        assert pull.recv() == b"own"
        assert not pull.poll(100)

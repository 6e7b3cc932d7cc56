import os
import shutil
import tempfile
from pathlib import Path

import pytest

from kwapi.cli.main import main
from kwapi.config import PATHS
from kwapi.keys import make_key_file
from kwapi.simulator.certificate import make_certificate
from tests.certificates import Keys
from tests.test_layers import ROOT

NOBODY = 65534
METER = "[lab.meter]\ndriver = dummy\nprobes = a\n"
PDU = "[lab.pdu]\ndriver = snmp\nhost = 127.0.0.1\nprobes = b\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("KWAPI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def check(tmp_path, capsys):
    """Return what checks the files of a directory, given by name: the exit status, and what is printed."""

    def checked(*arguments, **texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.conf").write_text(text.replace("{}", str(tmp_path)))
        status = main(["check", *(arguments or ("--config-dir", str(tmp_path)))])
        return status, capsys.readouterr().err.replace(f"{tmp_path}/", "")

    return checked


def test_it_tells_of_all_files_that_are_there(tmp_path, capsys):
    assert main(["check", "--config-dir", str(ROOT / "etc" / "demo")]) == 0
    assert "no mistakes" in capsys.readouterr().out
    (tmp_path / "drivers.conf").write_text("[x]\ndriver = dumy\n")
    assert main(["check", "--config-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "unknown driver 'dumy'" in printed
    assert "forwarder" not in printed  # which is not there


def test_of_a_file_that_cannot_be_read_nothing_is_said_to_be_missing(check):
    files = {"api": "[DEFAULT]\nacl_enabled = false\nrubbish\n", "drivers": f"{METER}rubbish\n"}
    told = "drivers.conf:4: No ':' or '=' found in assignment\napi.conf:3: No ':' or '=' found in assignment\n"
    assert check(**files) == (2, told)


def test_it_knows_the_sections_of_keystone_and_of_the_policy(tmp_path, capsys):
    text = "[keystone_authtoken]\nauth_ulr = http://a\npassword = 5ecret words\n[oslo_policy]\npolicy = a\n[other]\n"
    (tmp_path / "api.conf").write_text(text)
    assert main(["check", "--config-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    for mistake in (
        "api.conf:2: [keystone_authtoken] auth_ulr: unknown option; did you mean auth_url?",
        "api.conf:1: [keystone_authtoken] auth_url: is missing",
        "api.conf:1: [keystone_authtoken] username: is missing",
        "api.conf:5: [oslo_policy] policy: unknown option",
        "api.conf:6: [other]: unknown section",
    ):
        assert mistake in printed
    assert "5ecret" not in printed


def test_it_tells_of_a_machine_with_the_name_of_a_probe(tmp_path, capsys):
    for path in (ROOT / "etc" / "demo").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    with (tmp_path / "api.conf").open("a") as file:
        file.write("[machine m]\nprobes = web-1\n[machine web-1]\nprobes = x\n")
    assert main(["check", "--config-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "[machine web-1]: 'web-1' is a probe of the wattmeter" in printed
    assert "[machine m] probes: 'web-1' is a machine" in printed


def test_one_configuration_may_be_checked_alone(tmp_path, check):
    own = "[DEFAULT]\nstate_dir = {}\n"
    texts = {"drivers": own + METER, "api": own + "prot = 1\nacl_enabled = false\n"}
    assert check("--config-dir", str(tmp_path), "--only", "drivers", **texts) == (0, "")
    assert check(f"{tmp_path}/drivers.conf") == (0, "")
    wrong = (2, "api.conf:3: [DEFAULT] prot: unknown option; did you mean port?\n")
    assert check(f"{tmp_path}/drivers.conf", f"{tmp_path}/api.conf") == wrong
    assert check("--only", "api", "--config-dir", str(tmp_path)) == wrong
    assert check("--only", "rrd", "--config-dir", str(tmp_path)) == (
        2,
        "rrd.conf: cannot be read: No such file or directory\n",
    )


def test_whose_a_file_is_its_name_says_or_the_command_line(tmp_path, check):
    (tmp_path / "lyon.conf").write_text(f"[DEFAULT]\nstate_dir = {tmp_path}\n{METER}")
    assert check(f"{tmp_path}/lyon.conf")[1] == (
        "lyon.conf: whose file is it? Say that with --only, one of drivers, forwarder, api, rrd\n"
    )
    assert check(f"{tmp_path}/lyon.conf", "--only", "drivers") == (0, "")
    assert check(f"{tmp_path}/lyon.conf", f"{tmp_path}/a.conf", "--only", "drivers")[0] == 2


def test_a_directory_without_a_configuration_is_told(tmp_path, check):
    status, said = check()
    assert status == 2
    assert said.endswith(
        ": there is none of drivers.conf, forwarder.conf, api.conf, rrd.conf; kwapi init makes a first one\n"
    )
    assert check(str(tmp_path)) == (status, said)


def test_beside_a_file_no_directory_is_taken(tmp_path, check):
    for directory in (tmp_path, PATHS):
        said = check(str(directory), f"{tmp_path}/api.conf", api="[DEFAULT]\nprot = 1\n")[1]
        assert "whose file is it?" in said


def test_a_directory_may_be_given_as_it_is(tmp_path, check):
    texts = {"drivers": "[DEFAULT]\nstate_dir = {}\n" + METER, "rrd": "[DEFAULT]\nstate_dir = {}\nprot = 1\n"}
    assert check(str(tmp_path), **texts) == (2, "rrd.conf:3: [DEFAULT] prot: unknown option; did you mean port?\n")


def test_variables_are_those_that_the_daemons_read(check, monkeypatch):
    monkeypatch.setenv("KWAPI_LAB_PDU__COMMUNITY", "5ecret")
    monkeypatch.setenv("KWAPI_LAB_PDU__VERSION", "4")
    monkeypatch.setenv("KWAPI_LAB_PDU__COMUNITY", "5ecret")
    status, said = check(drivers="[DEFAULT]\nstate_dir = {}\n" + PDU)
    assert status == 2
    assert said == (
        "drivers.conf:3: [lab.pdu] version: '4' is none of 1, 2c, 3 (from the environment, KWAPI_LAB_PDU__VERSION)\n"
        "warning: KWAPI_LAB_PDU__COMUNITY in the environment is no option; did you mean KWAPI_LAB_PDU__COMMUNITY?\n"
    )


def test_drop_ins_are_checked_too(tmp_path, check):
    directory = tmp_path / "drivers.conf.d"
    directory.mkdir()
    (directory / "a.conf").write_text("[a]\ndriver = dumy\n")
    status, said = check(drivers="[DEFAULT]\nstate_dir = {}\n")
    assert (status, said.split(";")[:2]) == (
        2,
        ["drivers.conf.d/a.conf:2: [a] driver: unknown driver 'dumy'", " did you mean dummy?"],
    )


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (None, 0, "cannot read signing.key: No such file or directory; copy it from where kwapi-drivers runs, or let "),
        ("0123456789abcdef\n", 0o644, "signing.key can be read by others (mode 0644); run chmod 600 "),
        ("short\n", 0o600, "signing.key:1: the secret is shorter than 16 bytes"),
        ("0123456789abcdef wattmeter=a\n", 0o600, "signing.key:1: a word after the secret begins with none of "),
    ],
)
def test_the_signing_key_is_looked_at(tmp_path, check, content, mode, told):
    if content:
        (tmp_path / "signing.key").write_text(content)
        (tmp_path / "signing.key").chmod(mode)
    status, said = check(rrd="[DEFAULT]\nstate_dir = {}\n")
    assert status == 2
    assert said.startswith(f"rrd.conf:1: [DEFAULT] signing_key_file: {told}")
    assert "0123456789" not in said


def test_a_signing_key_that_kwapi_drivers_will_make_is_not_missing(check):
    own = "[DEFAULT]\nstate_dir = {}\n"
    assert check(drivers=own + METER, rrd=own) == (0, "")


ENCRYPTED = "[DEFAULT]\nstate_dir = {}\ncurve_key_file = {}/forwarder.key_secret\n"


@pytest.fixture
def keys(tmp_path):
    keys = Keys(tmp_path)
    keys.make("forwarder")
    keys.make("drivers")
    (tmp_path / "servers" / "127.0.0.1.key").write_bytes((tmp_path / "drivers.key").read_bytes())
    return tmp_path


def test_sound_keys_are_no_mistake(keys, check):
    assert check(forwarder=ENCRYPTED) == (0, "")


def test_a_public_key_in_place_of_a_secret_one_is_told(keys, check):
    status, said = check(forwarder=ENCRYPTED.replace("_secret", ""))
    assert status == 2
    assert (
        "forwarder.conf:3: [DEFAULT] curve_key_file: forwarder.key has a public key only; forwarder.key_secret, "
        in said
    )


def test_a_secret_key_among_public_ones_is_told(keys, check):
    for name in ("clients/a.key_secret", "servers/b.key"):
        shutil.copy(keys / "drivers.key_secret", keys / name)
    status, said = check(forwarder=ENCRYPTED)
    assert status == 0
    told = "holds a secret key, which is for its own machine alone; only NAME.key belongs here\n"
    assert said == (
        f"warning: forwarder.conf:1: [DEFAULT] curve_clients_dir: clients/a.key_secret {told}"
        f"warning: forwarder.conf:1: [DEFAULT] curve_servers_dir: servers/b.key {told}"
    )


def test_a_client_without_a_key_and_a_server_that_is_not_known_are_told(keys, check):
    (keys / "clients" / "a.key").write_text("nothing")
    (keys / "servers" / "127.0.0.1.key").unlink()
    status, said = check(forwarder=ENCRYPTED)
    assert status == 2
    assert (
        "[DEFAULT] curve_servers_dir: cannot read servers/127.0.0.1.key: No such file or directory; copy the " in said
    )
    assert "[DEFAULT] curve_clients_dir: clients/a.key lets nobody in: it has no public-key of 40 characters" in said


def test_directories_of_keys_without_a_key_encrypt_nothing(check):
    status, said = check(drivers="[DEFAULT]\nstate_dir = {}\ncurve_clients_dir = {}\n" + METER)
    assert status == 2
    assert said.startswith("drivers.conf:3: [DEFAULT] curve_clients_dir: nothing is encrypted without curve_key_file")


def test_a_directory_that_is_none_is_told(tmp_path, check):
    (tmp_path / "file").write_text("")
    status, said = check(drivers="[DEFAULT]\nstate_dir = {}\nspool_dir = {}/file/spool\n" + METER)
    assert (status, said) == (2, "drivers.conf:3: [DEFAULT] spool_dir: file is no directory\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to become somebody who may not write")
def test_who_may_not_look_or_write_is_told_so(capsys):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        own = f"[DEFAULT]\nstate_dir = {directory}/state\n"
        (directory / "drivers.conf").write_text(own + METER)
        (directory / "rrd.conf").write_text(own)
        (directory / "state").mkdir(mode=0o700)
        make_key_file(directory / "state" / "signing.key")
        assert main(["check", "--config-dir", name]) == 0
        assert not capsys.readouterr().err
        os.seteuid(NOBODY)
        try:
            assert main(["check", "--config-dir", name]) == 0
        finally:
            os.seteuid(0)
        said = capsys.readouterr().err.replace(f"{name}/", "")
    assert "drivers.conf:2: [DEFAULT] state_dir: the user nobody cannot write in state; check as " in said
    assert "[DEFAULT] signing_key_file: the user nobody may not look at state/signing.key; check as " in said


def test_what_lets_a_daemon_in_at_nats_servers_is_looked_at(tmp_path, check):
    (tmp_path / "nats.secret").write_bytes(b"kwapi:5ecret\xff\n")
    (tmp_path / "nats.secret").chmod(0o600)
    make_key_file(tmp_path / "signing.key")
    files = "nats_credentials_file = {}/nats.secret\nnats_ca_file = {}/ca.pem\nnats_certificate_file = {}/our.pem\n"
    at_nats = f"[DEFAULT]\nstate_dir = {{}}\nprobes_endpoint = nats://127.0.0.1:4222\n{files}"
    status, said = check(rrd=at_nats)
    assert status == 2
    assert "rrd.conf:4: [DEFAULT] nats_credentials_file: nats.secret is not UTF-8: byte 12\n" in said
    assert "rrd.conf:5: [DEFAULT] nats_ca_file: cannot use ca.pem: [Errno 2] No such file or directory\n" in said
    assert "rrd.conf:6: [DEFAULT] nats_certificate_file: cannot use our.pem with our.pem: [Errno 2] " in said
    (tmp_path / "nats.secret").chmod(0o644)
    assert (
        "nats_credentials_file: nats.secret can be read by others (mode 0644); run chmod 600 nats.secret\n"
        in check()[1]
    )


def test_the_key_of_a_certificate_for_nats_servers_is_looked_at(tmp_path, check):
    make_key_file(tmp_path / "signing.key")
    make_certificate(tmp_path / "our.pem")
    (tmp_path / "our.key").write_bytes((tmp_path / "our.pem").read_bytes())
    (tmp_path / "our.key").chmod(0o644)
    at_nats = "[DEFAULT]\nstate_dir = {}\nprobes_endpoint = nats://127.0.0.1:4222\nnats_key_file = {}/our.key\n"
    alone = "rrd.conf:4: [DEFAULT] nats_key_file: without nats_certificate_file it is of no use\n"
    assert check(rrd=at_nats) == (2, alone)
    open_to_others = (
        "rrd.conf:4: [DEFAULT] nats_key_file: our.key can be read by others (mode 0644); run chmod 600 our.key\n"
    )
    assert check(rrd=at_nats + "nats_certificate_file = {}/our.pem\n") == (2, open_to_others)


def test_a_key_of_nats_is_told_at_the_option_that_names_it(tmp_path, check):
    (tmp_path / "our.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "our.key").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "our.key").chmod(0o644)
    make_key_file(tmp_path / "signing.key")
    certificate = (
        "[DEFAULT]\nstate_dir = {}\nprobes_endpoint = tls://localhost:4222\nnats_certificate_file = {}/our.pem\n"
    )
    told = "rrd.conf:4: [DEFAULT] nats_certificate_file: our.pem has no key; nats_key_file names the file that has it\n"
    assert told in check(rrd=certificate)[1]
    told = "rrd.conf:5: [DEFAULT] nats_key_file: our.key can be read by others (mode 0644); run chmod 600 our.key\n"
    assert told in check(rrd=f"{certificate}nats_key_file = {{}}/our.key\n")[1]


OWN = "[DEFAULT]\nstate_dir = {}\n"
ALL = {"drivers": OWN + METER, "forwarder": OWN, "api": OWN + "acl_enabled = false\n", "rrd": OWN}


def test_daemons_that_fit_together_are_no_matter(check):
    assert check(**ALL) == (0, "")


@pytest.mark.parametrize(
    ("daemon", "line", "warning"),
    [
        ("rrd", "port = 5000", "rrd.conf:3: [DEFAULT] port: 127.0.0.1:5000 is taken by port of kwapi-api"),
        ("drivers", "metrics_port = 8080", "rrd.conf:1: [DEFAULT] port: 127.0.0.1:8080 is taken by metrics_port of"),
        ("rrd", "metrics_port = 8080", "rrd.conf:3: [DEFAULT] metrics_port: 127.0.0.1:8080 is taken by port (127.0."),
        (
            "forwarder",
            "forwarder_endpoint = tcp://*:5555\nallow_plaintext = true",
            "forwarder.conf:3: [DEFAULT] forwarder_endpoint: *:5555 is taken by probes_endpoint of kwapi-drivers (127.",
        ),
        (
            "rrd",
            "probes_endpoint = tcp://127.0.0.1:5557",
            "rrd.conf:3: [DEFAULT] probes_endpoint: nobody publishes at tcp://127.0.0.1:5557; kwapi-drivers at "
            "127.0.0.1:5555, kwapi-forwarder at 127.0.0.1:5556",
        ),
        (
            "drivers",
            "probes_endpoint = ipc:///run/kwapi/drivers/bus",
            "forwarder.conf:1: [DEFAULT] probes_endpoint: nobody publishes at tcp://127.0.0.1:5555; kwapi-drivers at "
            "ipc:///run/kwapi/drivers/bus",
        ),
        (
            "drivers",
            "spool_dir =",
            "api.conf:1: [DEFAULT] replay_endpoint: nobody answers questions at tcp://127.0.0.1:5565; nobody does here",
        ),
    ],
)
def test_what_cannot_work_beside_another_daemon_is_warned_of(check, daemon, line, warning):
    status, said = check(**ALL | {daemon: ALL[daemon].replace(OWN, f"{OWN}{line}\n")})
    assert status == 0
    assert f"warning: {warning}" in said


def test_what_listens_on_all_addresses_is_reached_here(check):
    texts = ALL | {"forwarder": f"{OWN}forwarder_endpoint = tcp://*:5556\nallow_plaintext = true\n"}
    assert check(**texts) == (0, "")


def test_who_is_elsewhere_is_not_missed(check):
    elsewhere = "probes_endpoint = tcp://pdus.example.org:5556\nreplay_endpoint = tcp://pdus.example.org:5566\n"
    texts = ALL | {"rrd": f"{OWN}{elsewhere}allow_plaintext = true\n"}
    assert check(**texts) == (0, "")


def test_a_keystone_that_nobody_asks_is_warned_of(check):
    status, said = check(**ALL | {"api": f"{ALL['api']}[keystone_authtoken]\nauth_url = http://127.0.0.1:35357\n"})
    assert (status, said) == (
        0,
        "warning: api.conf:3: [DEFAULT] acl_enabled: is false, so nobody asks the Keystone of [keystone_authtoken]\n",
    )

"""No secret is told anywhere: every place that can hold one has one, all daemons debug, and nothing works."""

import base64
import signal
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request

import pytest

from kwapi.cli.main import main
from kwapi.plugins.rrd.login import password_line
from tests.certificates import Keys
from tests.drivers.certificates import make_certificate
from tests.integration.daemons import DAEMONS, Site, free_port
from tests.integration.echoes import Echoes
from tests.waiting import eventually

pytestmark = pytest.mark.integration
MARK = "5ecret"  # in every one of them
TOKEN = f"{MARK}-token"
LOGIN = f"{MARK}-login"


def spellings(secret):
    """Return how a secret, or a part of it, could be written."""
    plain = secret.encode()
    shifted = [base64.b64encode(b"-" * shift + plain)[4:-4].decode() for shift in range(3)]
    return [secret, plain.hex(), plain.hex(" "), urllib.parse.quote(secret, safe=""), *shifted]


SPELLINGS = [each.lower() for each in spellings(MARK + "-") if len(each) > 4]


def sections(echoes, directory):
    """Return sections of wattmeters that can all not be read, with a secret wherever one can stand."""
    udp, tcp = echoes.raw(socket.SOCK_DGRAM), echoes.raw(socket.SOCK_STREAM)
    refusing, broken, wrong = echoes.http(401), echoes.http(500), echoes.http(200)
    https = {status: echoes.http(status, make_certificate(directory)[0]) for status in (200, 401, 500)}
    closed = free_port()
    file = directory / "password"
    file.write_text(f"{MARK}-file\n")
    file.chmod(0o600)
    by_host = {"host": "127.0.0.1", "timeout": "1"}
    v3 = {"version": "3", "user": "kwapi", "auth_key": f"{MARK}-auth", "priv_key": f"{MARK}-priv", **by_host}
    bmc = {"user": "kwapi", "password": f"{MARK}-password", **by_host}
    all_of_them = {
        **{f"snmp-{port}": {"community": f"{MARK}-community", "port": port, **by_host} for port in (udp, closed)},
        "snmp-old": {"version": "1", "community_file": file, "port": udp, **by_host},
        "snmp-v3": {**v3, "port": udp},
        "ipmi": {**bmc, "password": f"{MARK}-pass", "kg": f"{MARK}-kg", "port": udp},
        "ipmi-closed": {**bmc, "password": f"{MARK}-pass", "port": closed},
        **{
            f"redfish-{auth}-{port}": {**bmc, "auth": auth, "verify": "false", "port": port}
            for auth in ("session", "basic")
            for port in (*https.values(), tcp, closed)
        },
        "redfish-named": {**bmc, "password": f"{MARK}-named", "port": https[401]},  # its certificate is not trusted
        **{
            f"http_json-{auth}-{port}": {
                "url": f"http://127.0.0.1:{port}/?key={MARK}-key",
                "user": "kwapi",
                "password": f"{MARK}-password",
                "auth": auth,
                "w": "power W",
            }
            for auth in ("basic", "digest", "query")
            for port in (refusing, broken, wrong, tcp, closed)
        },
        "mqtt": {"topic": "a/{device}", "w": "power W", **bmc, "port": tcp},
        **{f"kasa-{port}": {"protocol": "smart", **bmc, "port": port} for port in (refusing, broken, wrong, tcp)},
        "nut": {**bmc, "login": "true", "ups": "a", "port": tcp},
        "nut-open": {**bmc, "ups": "a", "port": tcp},
    }
    text = ""
    for name, values in all_of_them.items():
        lines = "".join(f"{key} = {value}\n" for key, value in values.items())
        text += f"[{name}]\ndriver = {name.split('-')[0]}\nprobes = {name}.a\n{lines}"
    return text, list(all_of_them)


class Everything(Site):
    """The daemons, encrypted, with a Keystone that is out of order as well."""

    def __init__(self, directory, echoes):
        text, self.names = sections(echoes, directory)
        super().__init__(directory, text)
        (directory / "keys").mkdir()
        keys = Keys(directory / "keys")
        metrics = {name: free_port() for name in ("drivers", "forwarder", "rrd")}
        self.pages = [f"http://127.0.0.1:{port}/metrics" for port in metrics.values()]
        certificate = make_certificate(directory)[0]
        keystone = echoes.http(401, is_keystone=True)
        own = {
            "drivers": f"spool_dir = {directory}/spool\n",
            "forwarder": f"spool_dir = {directory}/passed\nreplay_endpoint = tcp://127.0.0.1:{free_port()}\n",
            "api": f"tls_certificate_file = {certificate}\ntls_key_file = {certificate}\nmetrics_public = true\n",
            "rrd": f"password_file = {directory}/logins\n",
        }
        for name, lines in own.items():
            keys.make(name)
            lines += f"curve_key_file = {directory}/keys/{name}.key_secret\n"
            lines += f"curve_servers_dir = {directory}/keys/servers\n" if name != "drivers" else ""
            lines += f"curve_clients_dir = {directory}/keys/clients\n" if name in ("drivers", "forwarder") else ""
            lines += f"metrics_port = {metrics[name]}\n" if name in metrics else ""
            path = directory / f"{name}.conf"
            path.write_text(path.read_text().replace("[DEFAULT]\n", f"[DEFAULT]\n{lines}", 1))
        for endpoint, name in ((self.published, "drivers"), (self.forwarded, "forwarder"), (self.replayed, "drivers")):
            keys.trust(endpoint, name)
        for name in ("forwarder", "api", "rrd"):
            keys.allow(name)
        with (directory / "api.conf").open("a") as file:
            file.write(
                f"[keystone_authtoken]\nauth_url = http://127.0.0.1:{keystone}\nusername = kwapi\n"
                f"password = {MARK}-keystone\nuser_domain_name = a\nproject_name = b\nproject_domain_name = c\n"
            )
        (directory / "api.conf").write_text((directory / "api.conf").read_text().replace("acl_enabled = false\n", ""))
        (directory / "logins").write_text(password_line("kwapi", LOGIN, salt=b"5ecret-salt12345") + "\n")
        (directory / "state").mkdir(mode=0o700)
        (directory / "state" / "signing.key").write_text(f"{MARK}-signing-key-0123456789\n")
        (directory / "state" / "signing.key").chmod(0o600)
        self.curve = [line for name in DAEMONS for line in secret_lines(directory / "keys" / f"{name}.key_secret")]
        self.curve += secret_lines(certificate)


def secret_lines(path):
    """Return what a file of keys holds, in pieces that would be recognised."""
    quoted = [line.partition('"')[2].rstrip('"') for line in path.read_text().splitlines() if "secret-key" in line]
    text = path.read_text()
    pem = text[text.index("PRIVATE KEY") :].splitlines()[1:-1] if "PRIVATE KEY" in text else []
    assert all(len(each) > 10 for each in (*quoted, *pem[:3]))
    return [*quoted, *pem[:3]]


def asked(url, **headers):
    """Return what a page says, whatever its status."""
    context = ssl._create_unverified_context()  # noqa: S323 -- our own certificate of a moment ago
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as page:  # noqa: S310
            return page.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode("utf-8", "replace")


@pytest.mark.parametrize("workers", [0, 2])
def test_no_secret_is_told_anywhere(tmp_path, capfd, workers):
    said = {}
    with Echoes() as echoes, Everything(tmp_path, echoes) as site:
        for name in DAEMONS:
            site.start(name, environ={"KWAPI_WORKERS": str(workers), "KWAPI_IPMI__KG": f"{MARK}-kg"})
        eventually(lambda: all(f"{name} is down" in site.log("drivers") for name in site.names), timeout=120)
        login = base64.b64encode(f"kwapi:{LOGIN}".encode()).decode()
        wrong = base64.b64encode(f"kwapi:{MARK}-wrong".encode()).decode()
        place = ["--config-dir", str(tmp_path)]
        eventually(lambda: "answering on" in site.log("api"), timeout=60)
        eventually(lambda: "showing graphs" in site.log("rrd"), timeout=60)
        for path in ("/v1/probes/", "/v2/probes", "/metrics", "/", "/healthz", f"/v1/probes/?token={TOKEN}"):
            said[f"api{path[:12]}"] = asked(f"https://127.0.0.1:{site.api_port}{path}", **{"X-Auth-Token": TOKEN})
        for path in ("/", "/healthz", "/nothing"):
            for password in (login, wrong):
                said[f"rrd{path}"] = asked(f"http://127.0.0.1:{site.rrd_port}{path}", Authorization=f"Basic {password}")
        for page in site.pages:
            said[page] = asked(page)
        assert "kwapi_wattmeter" in said[site.pages[0]]
        capfd.readouterr()
        main(["status", *place, "--wait", "20"])
        main(["status", *place, "--json", "--wait", "20"])
        for name in site.names:
            main(["read", name, *place])
        main(["check", *place])
        (tmp_path / "drivers.conf").write_text(
            (tmp_path / "drivers.conf")
            .read_text()
            .replace("community = ", "community ")
            .replace("password = ", "pass = ")
        )
        site.processes["drivers"].send_signal(signal.SIGHUP)
        eventually(lambda: "not reloaded" in site.log("drivers"), timeout=30)
        assert main(["check", *place]) == 2
        printed = capfd.readouterr()
        said["printed"], said["complained"] = printed.out, printed.err
        assert "KWAPI CRITICAL" in said["printed"]
        for name in reversed(DAEMONS):
            site.stop(name)
        said |= {name: site.log(name) for name in DAEMONS}
    told = {
        f"{where}: {line}"
        for where, text in said.items()
        for line in text.splitlines()
        if any(each in line.lower() for each in SPELLINGS) or any(each in line for each in site.curve)
    }
    assert "/v3/auth/tokens" in said["api"]  # so that Keystone's password was sent
    assert sorted(told) == []

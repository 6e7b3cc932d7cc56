"""A real Keystone on a free port of the loopback: SQLite, Fernet tokens, and the users that the tests need.

Its database is made once for each environment and copied for each run, since Keystone takes ten seconds to make it.
"""

import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.integration.environments import needed_environment
from tests.ports import free_port
from tests.waiting import eventually

PASSWORDS = {name: f"{name}'s own 8-key" for name in ("admin", "kwapi", "ceilometer", "visitor")}
ROLES = {"kwapi": "service", "ceilometer": "reader", "visitor": "visitor"}  # in the project "service"
PROJECT, REGION = "service", "RegionOne"
CONFIGURATION = """
[DEFAULT]
public_endpoint = {url}
[database]
connection = sqlite:///{directory}/keystone.sqlite
[token]
provider = fernet
[fernet_tokens]
key_repository = {directory}/keys
[fernet_receipts]
key_repository = {directory}/keys
[credential]
key_repository = {directory}/keys
[identity]
password_hash_rounds = 4
"""


class Keystone:
    """Keystone as a process; stopped and started again it keeps its port, its users and its tokens."""

    def __init__(self, directory: Path, environment: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = directory / "keystone.sqlite"
        self._environment = environment
        self._process = None
        keys = directory / "keys"
        keys.mkdir(mode=0o700)
        for number in "01":
            (keys / number).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        text = CONFIGURATION.format(url=self.url, directory=directory)
        (directory / "keystone.conf").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start Keystone and wait until it tells of a token: the first time it has a lot to load."""
        with (self.directory / "keystone.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._environment / "bin" / "python",
                    "-I",  # else this module would be found in place of Keystone
                    Path(__file__).with_name("keystone_server.py"),
                    str(self.port),
                    self.directory / "requests",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "OS_KEYSTONE_CONFIG_DIR": str(self.directory)},
            )
        eventually(self._answers, timeout=60)
        token = self.token("admin")
        self.call("GET", "/auth/tokens", token=token, subject=token)

    def stop(self) -> None:
        """End Keystone, also a frozen one."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def frozen(self):
        """Let Keystone take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def requests(self) -> list[str]:
        """Return method and path of each request so far."""
        return (self.directory / "requests").read_text().splitlines()

    def manage(self, *arguments: str) -> None:
        """Run keystone-manage."""
        command = [self._environment / "bin" / "keystone-manage", "--config-dir", self.directory, *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def call(self, method: str, path: str, body=None, token: str = "", subject: str = ""):
        """Return the headers of an answer and what it says, None if that is nothing; subject is a token asked about."""
        given = {"Content-Type": "application/json", "X-Auth-Token": token, "X-Subject-Token": subject}
        headers = {name: value for name, value in given.items() if value}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v3{path}", content, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            content = answer.read()
            return answer.headers, json.loads(content) if content else None

    def token(self, user: str) -> str:
        """Return a new token of a user."""
        project = "admin" if user == "admin" else PROJECT
        known = {"name": user, "domain": {"id": "default"}, "password": PASSWORDS[user]}
        identity = {"methods": ["password"], "password": {"user": known}}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        return self._authenticate({"identity": identity, "scope": scope})

    def brief_token(self, user: str, seconds: float) -> str:
        """Return a new token of a user that ends in so many seconds."""
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        return self.narrow_token(user, expires_at=end.strftime("%Y-%m-%dT%H:%M:%S.%f"))

    def narrow_token(self, user: str, **limits) -> str:
        """Return a new token of a user by an application credential, which can limit what the token is good for."""
        token = self.token(user)
        _, described = self.call("GET", "/auth/tokens", token=token, subject=token)
        path = f"/users/{described['token']['user']['id']}/application_credentials"
        wanted = {"name": secrets.token_hex(8), **limits}
        _, made = self.call("POST", path, {"application_credential": wanted}, token)
        credential = {key: made["application_credential"][key] for key in ("id", "secret")}
        identity = {"methods": ["application_credential"], "application_credential": credential}
        return self._authenticate({"identity": identity})

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        self.call("DELETE", "/auth/tokens", token=token, subject=token)

    def register(self, service: str, url: str) -> None:
        """Put a service of a type such as energy into the catalogue, or another address for it."""
        token = self.token("admin")
        _, found = self.call("GET", f"/services?type={service}", token=token)
        if found["services"]:
            self.call("DELETE", f"/services/{found['services'][0]['id']}", token=token)
        _, made = self.call("POST", "/services", {"service": {"type": service, "name": f"kwapi {service}"}}, token)
        for interface in ("public", "internal", "admin"):
            endpoint = {"service_id": made["service"]["id"], "interface": interface, "url": url, "region_id": REGION}
            self.call("POST", "/endpoints", {"endpoint": endpoint}, token)

    def _authenticate(self, auth) -> str:
        headers, _ = self.call("POST", "/auth/tokens", {"auth": auth})
        return headers["X-Subject-Token"]

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.directory / "keystone.log").read_text()[-2000:]
        try:
            self.call("GET", "")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True


@contextmanager
def serve_keystone(directory: Path):
    """Yield a Keystone of its own with the users of the tests."""
    environment = needed_environment("keystone")
    server = Keystone(directory, environment)
    with (
        closing(sqlite3.connect(_seed(environment, directory))) as seed,
        closing(sqlite3.connect(server.database)) as own,
    ):
        seed.backup(own)
        own.execute("UPDATE endpoint SET url = ?", (f"{server.url}/v3",))  # only Keystone itself is there yet
        own.commit()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _seed(environment: Path, directory: Path) -> Path:
    """Return the database that every run begins with; made where this version of this file has not made it yet."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    seed = environment / f"seed-{version}.sqlite"
    if seed.exists():
        return seed
    work = directory / "seed"
    work.mkdir()
    server = Keystone(work, environment)
    server.manage("db_sync")
    addresses = [f"--bootstrap-{interface}-url={server.url}/v3" for interface in ("public", "internal", "admin")]
    server.manage(
        "bootstrap", f"--bootstrap-password={PASSWORDS['admin']}", f"--bootstrap-region-id={REGION}", *addresses
    )
    server.start()
    try:
        _add_users(server)
    finally:
        server.stop()
    made = seed.with_suffix(f".{os.getpid()}")
    shutil.copy(server.database, made)
    made.rename(seed)
    return seed


def _add_users(server: Keystone) -> None:
    token = server.token("admin")
    project = {"name": PROJECT, "domain_id": "default"}
    _, made = server.call("POST", "/projects", {"project": project}, token)
    project_id = made["project"]["id"]
    server.call("POST", "/roles", {"role": {"name": "visitor"}}, token)
    _, found = server.call("GET", "/roles", token=token)
    roles = {role["name"]: role["id"] for role in found["roles"]}
    for name, role in ROLES.items():
        user = {"name": name, "domain_id": "default", "password": PASSWORDS[name]}
        _, made = server.call("POST", "/users", {"user": user}, token)
        server.call("PUT", f"/projects/{project_id}/users/{made['user']['id']}/roles/{roles[role]}", token=token)

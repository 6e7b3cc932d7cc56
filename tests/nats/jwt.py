"""What nsc makes for an operator, an account and a user of it: JWTs and nkeys, by the library's own keys."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import nkeys

LIMITS = "subs data payload imports exports conn leaf mem_storage disk_storage streams consumer"
UNLIMITED = dict.fromkeys(LIMITS.split(), -1)
CREDENTIALS = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Issuer:
    """An operator with one account."""

    def __init__(self) -> None:
        self._operator, self._account = _pair(nkeys.PREFIX_BYTE_OPERATOR), _pair(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = _pair(nkeys.PREFIX_BYTE_ACCOUNT)

    def server_options(self) -> str:
        """Return how a server's file names them."""
        operator = _jwt(self._operator, self._operator, {"type": "operator"})
        accounts = {
            _public(each): _jwt(self._operator, each, {"type": "account", "limits": limits})
            for each, limits in ((self._account, UNLIMITED | {"wildcards": True}), (self._system, {}))
        }
        preload = "\n".join(f"  {name}: {token}" for name, token in accounts.items())
        return (
            f"operator: {operator}\nsystem_account: {_public(self._system)}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{preload}\n}}\n"
        )

    def write_credentials(self, path: Path) -> None:
        """Write the file of a user."""
        seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        user = nkeys.from_seed(bytearray(seed))
        limits: dict[str, Any] = {"type": "user", "subs": -1, "data": -1, "payload": -1}
        token = _jwt(self._account, user, limits)
        path.write_text(CREDENTIALS.format(jwt=token, seed=bytes(seed).decode()))
        path.chmod(0o600)


def _pair(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), kind)))


def _public(pair: nkeys.KeyPair) -> str:
    return bytes(pair.public_key).decode()


def _jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, claims: dict[str, Any]) -> str:
    body = {
        "jti": base64.b32encode(os.urandom(32)).decode(),
        "iat": int(time.time()),
        "iss": _public(issuer),
        "name": claims["type"],
        "sub": _public(subject),
        "nats": {**claims, "version": 2},
    }
    signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
    signature = base64.urlsafe_b64encode(issuer.sign(signed.encode())).decode().rstrip("=")
    return f"{signed}.{signature}"


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

"""Reads and verifies what stands around the content of an SNMPv3 message: whose it is, and its signature.

    SEQUENCE {
        INTEGER version,
        SEQUENCE {INTEGER message id, INTEGER largest answer, OCTET STRING flags, INTEGER security model},
        OCTET STRING {SEQUENCE {OCTET STRING engine id, INTEGER boots, INTEGER time, OCTET STRING user,
                                OCTET STRING signature, OCTET STRING salt}},
        content, encrypted or not}

The signature is an HMAC of the whole message, cut short, calculated with zeros in its place.

Source: RFC 3412, 6 (message); RFC 3414, 2.4 (security parameters), 3.2 (7.), 6.3.2 and 7.3.2 (signature), 4 (discovery
of an engine id); RFC 7860, 4 (SHA-2).
"""

import hmac
from dataclasses import dataclass

from kwapi.drivers.snmp.ber import INTEGER, OCTETS, SEQUENCE, Place, elements, integer

SIGNED = 1  # in the flags
DISCOVERY = bytes.fromhex(  # version 3; header; nobody at engine ""; a GET of nothing
    "3038020103"
    "300e020101020300ffe3040104020103"
    "0410300e0400020100020100040004000400"
    "301104000400a00b0201010201000201003000"
)
VERSION, USM = 3, 3
SIGNATURES = {  # hash function, bytes of the signature
    "MD5": ("md5", 12),
    "SHA": ("sha1", 12),
    "SHA-224": ("sha224", 16),
    "SHA-256": ("sha256", 24),
    "SHA-384": ("sha384", 32),
    "SHA-512": ("sha512", 48),
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around the content of a message."""

    message_id: int
    flags: int
    engine_id: bytes
    signature: Place


def open_envelope(datagram: bytes) -> Envelope:
    """Return what stands around the content of a message; raise ValueError if that is malformed."""
    ((start, end),) = elements(datagram, (0, len(datagram)), SEQUENCE)
    version, header, security = elements(datagram, (start, end), INTEGER, SEQUENCE, OCTETS)
    message_id, _, flags, model = elements(datagram, header, INTEGER, INTEGER, OCTETS, INTEGER)
    (parameters,) = elements(datagram, security, SEQUENCE)
    engine_id, _, _, _, signature, _ = elements(datagram, parameters, OCTETS, INTEGER, INTEGER, OCTETS, OCTETS, OCTETS)
    if (integer(datagram, version), integer(datagram, model)) != (VERSION, USM) or flags[1] - flags[0] != 1:
        raise ValueError("the SNMPv3 message is malformed")
    return Envelope(
        message_id=integer(datagram, message_id),
        flags=datagram[flags[0]],
        engine_id=datagram[slice(*engine_id)],
        signature=signature,
    )


def is_signed(datagram: bytes, signature: Place, protocol: str, key: bytes) -> bool:
    """Return whether a message is signed with this key, which is that of one engine."""
    function, length = SIGNATURES[protocol]
    start, end = signature
    blank = datagram[:start] + bytes(end - start) + datagram[end:]
    return hmac.compare_digest(hmac.digest(key, blank, function)[:length], datagram[start:end])


def to_engine_id(datagram: bytes) -> bytes:
    """Return the engine id of the agent that sent this message; raise ValueError if there is none."""
    engine_id = open_envelope(datagram).engine_id
    if not 5 <= len(engine_id) <= 32:  # RFC 3411, SnmpEngineID
        raise ValueError(f"the engine id is {len(engine_id)} bytes long")
    return engine_id

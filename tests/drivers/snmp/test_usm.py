import hashlib
import hmac

import pytest

from kwapi.drivers.snmp.usm import DISCOVERY, SIGNATURES, is_signed, open_envelope, to_engine_id

ENGINE_ID = bytes.fromhex("80004fb805") + b"a PDU"
KEY = b"k" * 20


def element(tag, *contents):
    content = b"".join(contents)
    length = bytes([len(content)]) if len(content) < 128 else bytes([0x82, *len(content).to_bytes(2, "big")])
    return bytes([tag]) + length + content


def message(*, version=3, model=3, flags=b"\x01", engine_id=ENGINE_ID, signature=b"", content=b"x" * 300):
    header = element(
        0x30, element(2, b"\x7f\0\0\x07"), element(2, b"\0\xff\xff"), element(4, flags), element(2, bytes([model]))
    )
    parameters = [element(4, engine_id), element(2, b"\5"), element(2, b"\1\0"), element(4, b"me")]
    security = element(4, element(0x30, *parameters, element(4, signature), element(4, b"saltsalt")))
    return element(0x30, element(2, bytes([version])), header, security, element(4, content))


def signed(protocol, **fields):
    function, length = SIGNATURES[protocol]
    blank = message(signature=bytes(length), **fields)
    return blank.replace(bytes(length), hmac.digest(KEY, blank, function)[:length], 1)


def test_an_envelope_tells_number_flags_and_engine():
    envelope = open_envelope(message(flags=b"\x03"))
    assert (envelope.message_id, envelope.flags, envelope.engine_id) == (0x7F000007, 3, ENGINE_ID)


@pytest.mark.parametrize("protocol", SIGNATURES)
def test_who_has_the_key_has_signed(protocol):
    datagram = signed(protocol)
    assert is_signed(datagram, open_envelope(datagram).signature, protocol, KEY)
    assert not is_signed(datagram, open_envelope(datagram).signature, protocol, KEY[1:])


@pytest.mark.parametrize("protocol", SIGNATURES)
def test_any_changed_byte_spoils_the_signature(protocol):
    datagram = signed(protocol)
    place = open_envelope(datagram).signature
    for changed in range(len(datagram)):
        forged = bytearray(datagram)
        forged[changed] ^= 1
        assert not is_signed(bytes(forged), place, protocol, KEY)


@pytest.mark.parametrize("length", [0, 1, 11, 13, 20])
def test_a_signature_of_another_length_is_none(length):
    blank = message(signature=bytes(length))
    datagram = blank.replace(bytes(length), hmac.digest(KEY, blank, hashlib.sha1)[:length], 1) if length else blank
    assert not is_signed(datagram, open_envelope(datagram).signature, "SHA", KEY)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"junk",
        bytes(range(64)),
        b"\x30\x03\x02\x01\x03",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        message(version=1),
        message(model=2),
        message(flags=b""),
        message(flags=b"\1\1"),
    ],
)
def test_what_is_no_v3_message_is_refused(datagram):
    with pytest.raises(ValueError, match="malformed"):
        open_envelope(datagram)


def test_a_message_cut_off_anywhere_is_refused():
    whole = message()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="malformed"):
            open_envelope(whole[:length])


@pytest.mark.parametrize("length", [0, 4, 33])
def test_an_engine_id_has_5_to_32_bytes(length):
    with pytest.raises(ValueError, match=f"{length} bytes"):
        to_engine_id(message(engine_id=b"e" * length))


def test_discovery_is_a_message_to_nobody():
    assert open_envelope(DISCOVERY).engine_id == b""
    assert open_envelope(DISCOVERY).flags == 4  # please report

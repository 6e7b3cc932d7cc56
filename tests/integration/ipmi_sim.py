"""OpenIPMI's ipmi_sim: a BMC with sensors and without DCMI, on 127.0.0.1 and with a user of its own for a while.

The raw readings of its sensors, 0 to 255, are read from files, which a test may change; half a second later they hold.
"""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.programs import needed_program
from tests.ports import free_port
from tests.waiting import eventually

USER, PASSWORD = "user", "pa55w0rd"
SENSOR_TYPES = {1: 0x01, 6: 0x0B}  # by unit: temperature, other


def sensor_record(
    name: str,
    number: int,
    *,
    entity: int = 0x07,
    unit: int = 6,
    form: int = 0,
    m: int = 1,
    b: int = 0,
    result_exponent: int = 0,
    b_exponent: int = 0,
    linearization: int = 0,
    owner: int = 0x20,
    identity: int | None = None,
) -> bytes:
    """Return a full sensor record (IPMI 2.0, 43.1)."""
    body = bytearray(43)  # from byte 5 of the record on
    body[0:4] = owner, 0, number, entity
    body[4:9] = 1, 0x7F, 0x68, SENSOR_TYPES.get(unit, 0x0B), 0x01
    body[13:15] = 0x3F, 0x3F
    body[15:17] = form << 6, unit
    body[18:23] = linearization, m & 0xFF, m >> 2 & 0xC0, b & 0xFF, b >> 2 & 0xC0
    body[24] = (result_exponent & 0xF) << 4 | b_exponent & 0xF
    body[26:29] = 0, 255, 0
    body[42] = 0xC0 | len(name)
    body += name.encode("latin-1")
    identity = number if identity is None else identity
    return identity.to_bytes(2, "little") + bytes([0x51, 0x01, len(body)]) + body


@contextmanager
def serve_sensors(directory: Path, records: Sequence[bytes]) -> Iterator[int]:
    """Serve the records and readings of files named after the sensors' numbers; yield the UDP port."""
    program = needed_program("ipmi_sim", "openipmi")
    port = free_port(socket.SOCK_DGRAM)
    (directory / "lan.conf").write_text(_lan(port))
    (directory / "sim.emu").write_text(_emulation(directory, records))
    state = directory / "state"
    state.mkdir()
    command = [program, "-n", "-c", str(directory / "lan.conf"), "-f", str(directory / "sim.emu"), "-s", str(state)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, (directory / "log").read_text()
        yield port
    finally:
        process.kill()
        process.wait()


def _lan(port: int) -> str:
    return f"""name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid 6b776170690000000000000000000001
  endlan
  user 2 true "{USER}" "{PASSWORD}" admin 10 none md2 md5 straight
"""


def _emulation(directory: Path, records: Sequence[bytes]) -> str:
    none = "0" * 15
    lines = ["mc_setbmc 0x20", "mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr"]
    for record in records:
        number, kind = record[7], record[12]
        reading = directory / str(number)
        reading.touch()
        lines += [
            f'sensor_add 0x20 0 {number} {kind:#04x} 0x01 poll 500 file "{reading}"',
            "main_sdr_add 0x20 " + " ".join(f"{octet:#04x}" for octet in record),
            f"sensor_set_event_support 0x20 0 {number} enable scanning per-state {none} {none} {none} {none}",
        ]
    return "\n".join([*lines, "mc_enable 0x20", ""])


def _listens(port: int) -> bool:
    table = Path("/proc/net/udp").read_text()
    return f":{port:04X} " in table

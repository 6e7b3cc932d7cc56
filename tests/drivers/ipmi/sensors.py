"""The sensor records of a BMC in tests, and their readings."""

from tests.integration.ipmi_sim import sensor_record

POWER = (0x2C, 0x02)
INVALID_COMMAND = (0xC1, b"")
ON = b"\xc0\0\0"  # a reading's flags: scanning


class Sdr:
    """A BMC's records and readings of its sensors, by number."""

    def __init__(self, records, readings=(), largest=255):
        self.records = records
        self.readings = dict(readings)
        self.largest = largest
        self.changes = 0
        self.losses = 0
        self.reservation = 0

    def __call__(self, netfn, command, payload, lun=0):
        if netfn == 0x04:
            return self.readings[payload[0]]
        if (netfn, command) == POWER:
            return INVALID_COMMAND
        if command == 0x20:
            return 0, b"\x51" + len(self.records).to_bytes(2, "little") + bytes([0, 0, self.changes])
        if command == 0x22:
            self.reservation += 1
            return 0, self.reservation.to_bytes(2, "little")
        if self.losses or payload[:2] != self.reservation.to_bytes(2, "little"):
            self.losses -= 1
            return 0xC5, b""
        place, offset, size = int.from_bytes(payload[2:4], "little"), payload[4], payload[5]
        assert offset + size <= len(self.records[place])
        if size > self.largest:
            return 0xCA, b""
        following = place + 1 if place + 1 < len(self.records) else 0xFFFF
        return 0, following.to_bytes(2, "little") + self.records[place][offset : offset + size]


def supplies():
    return [
        sensor_record("PS1 Input", 1, entity=10, m=4),
        sensor_record("PS2 Input", 2, entity=10, m=2, b=-3),
        sensor_record("Inlet Temp", 3, unit=1),
        sensor_record("System Level", 4, m=15, result_exponent=-1, b=1, b_exponent=2),
    ]

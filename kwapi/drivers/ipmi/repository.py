"""The sensors that a BMC describes in its repository of sensor data records (SDR).

A large repository takes longer to list than a poll may, so the listing goes on where it stopped. A record is read in
pieces that every BMC can send, and no further than shows that it is not of watts.

Source: IPMI 2.0 revision 1.1, 33.9 (repository info), 33.11 (reservation), 33.12 (Get SDR), table 5-2 (codes).
"""

from collections.abc import Callable

from kwapi.drivers.ipmi.records import FULL_RECORD, Sensor, may_be_watts, parse_sensor
from kwapi.errors import DeviceError

Ask = Callable[[int, int, bytes], tuple[int, bytes]]  # netfn, command, payload -> completion code, answer

STORAGE, GET_INFO, RESERVE, GET_RECORD = 0x0A, 0x20, 0x22, 0x23
HEADER, PIECE = 5, 20  # bytes; a header and one piece reach beyond the unit
FIRST, LAST = 0x0000, 0xFFFF  # ids of records
LOST_RESERVATION = 0xC5
MAX_RECORDS = 4096  # a longer list does not end


class LostReservation(DeviceError):
    """The BMC changed something, and wants a new reservation."""


class Repository:
    """The listing of one BMC's sensors of watts."""

    def __init__(self, bmc: str, ask: Ask) -> None:
        self.sensors: list[Sensor] = []
        self.is_complete = False
        self._bmc = bmc
        self._ask = ask
        self._info = b""  # of what was listed: its size, and the times of its changes
        self._next = FIRST
        self._count = 0
        self._reservation = b""

    def refresh(self) -> None:
        """Begin anew if the repository has changed since."""
        info = self._answer(GET_INFO, b"")
        if info != self._info:
            self.sensors, self.is_complete = [], False
            self._info, self._next, self._count = info, FIRST, 0

    def go_on(self, has_time: Callable[[], bool]) -> None:
        """List more records, for as long as there is time."""
        self._reservation = b""
        before = self._count
        while not self.is_complete and has_time():
            if not self._reservation:
                self._reservation = self._answer(RESERVE, b"")[:2]
            try:
                following, record = self._record()
            except LostReservation:
                self._reservation = b""
                continue
            sensor = parse_sensor(record) if may_be_watts(record) else None
            if sensor and sensor not in self.sensors:
                self.sensors.append(sensor)
            self._count += 1
            if following == self._next or self._count > MAX_RECORDS:
                raise DeviceError(f"{self._bmc}: record {following:#06x} follows itself in its list of sensor records")
            self._next = following
            self.is_complete = following == LAST
        if not self.is_complete and self._count == before:
            raise DeviceError(f"{self._bmc} gave none of its sensor records in the time there was")

    def _record(self) -> tuple[int, bytes]:
        """Return the id of the following record and the next one, as far as it is of interest."""
        following, record = self._piece(0, HEADER)
        if len(record) < HEADER:
            raise DeviceError(f"{self._bmc}: malformed sensor record {record!r}")
        length = HEADER + record[4]
        while len(record) < length and record[3] == FULL_RECORD:
            _, piece = self._piece(len(record), min(PIECE, length - len(record)))
            record += piece
            if not piece or not may_be_watts(record):
                break
        return following, record

    def _piece(self, offset: int, size: int) -> tuple[int, bytes]:
        place = self._next.to_bytes(2, "little") + bytes([offset, size])
        answer = self._answer(GET_RECORD, self._reservation + place)
        return int.from_bytes(answer[:2], "little"), answer[2:]

    def _answer(self, command: int, payload: bytes) -> bytes:
        code, answer = self._ask(STORAGE, command, payload)
        if code or len(answer) < 2:
            failure = LostReservation if code == LOST_RESERVATION else DeviceError
            raise failure(f"{self._bmc} answered its sensor records' command {command:#04x} with code {code:#04x}")
        return answer

import pytest

from kwapi.drivers.ipmi.repository import Repository
from kwapi.errors import DeviceError
from tests.drivers.ipmi.sensors import Sdr, supplies


def test_a_listing_goes_on_where_it_stopped_and_is_kept():
    sdr = Sdr(supplies())
    asked = []

    def ask(*request):
        asked.append(request)
        return sdr(*request)

    repository = Repository("bmc", ask)
    repository.refresh()
    times = iter([True, True, False])
    repository.go_on(lambda: next(times))
    assert [sensor.number for sensor in repository.sensors] == [1, 2] and not repository.is_complete
    repository.refresh()
    repository.go_on(lambda: True)
    assert [sensor.number for sensor in repository.sensors] == [1, 2, 4] and repository.is_complete
    asked.clear()
    repository.refresh()
    repository.go_on(lambda: True)
    assert [request[:2] for request in asked] == [(0x0A, 0x20)]
    sdr.changes += 1
    repository.refresh()
    assert not repository.is_complete and repository.sensors == []


def test_a_lost_reservation_is_made_again():
    sdr = Sdr(supplies())
    sdr.losses = 3
    repository = Repository("bmc", sdr)
    repository.go_on(lambda: True)
    assert [sensor.number for sensor in repository.sensors] == [1, 2, 4]


@pytest.mark.parametrize("command", [0x20, 0x22, 0x23])
def test_a_bmc_that_takes_back_every_reservation_is_a_device_error(command):
    sdr = Sdr(supplies())
    repository = Repository("bmc", lambda *request: (0xC5, b"") if request[1] == command else sdr(*request))
    times = iter([True, True, False])
    with pytest.raises(DeviceError, match="bmc answered .* with code 0xc5|bmc gave none of its sensor records"):
        repository.refresh()
        repository.go_on(lambda: next(times))


def test_a_sensor_that_is_listed_twice_is_one():
    repository = Repository("bmc", Sdr([*supplies(), *supplies()]))
    repository.go_on(lambda: True)
    assert [sensor.number for sensor in repository.sensors] == [1, 2, 4]


def test_only_records_of_watts_are_read_to_their_end():
    pieces = []
    sdr = Sdr([*supplies(), b"\5\0\x51\x02\x03abc"], largest=20)  # the last is no full record

    def ask(netfn, command, payload):
        if command == 0x23:
            pieces.append((int.from_bytes(payload[2:4], "little"), *payload[4:]))
        return sdr(netfn, command, payload)

    Repository("bmc", ask).go_on(lambda: True)
    assert [piece for piece in pieces if piece[0] == 2] == [(2, 0, 5), (2, 5, 20)]
    assert [piece for piece in pieces if piece[0] == 4] == [(4, 0, 5)]
    assert [piece for piece in pieces if piece[0] == 0] == [(0, 0, 5), (0, 5, 20), (0, 25, 20), (0, 45, 12)]


@pytest.mark.parametrize(
    ("following", "octets", "message"),
    [
        (0, b"\0\0\x51\x02\0", "follows itself"),
        (1, b"\0\0\x51", "malformed sensor record"),
    ],
)
def test_records_without_an_end_are_a_device_error(following, octets, message):
    def ask(netfn, command, payload):
        return 0, (following.to_bytes(2, "little") + octets if command == 0x23 else b"\1\0")

    with pytest.raises(DeviceError, match=f"bmc: .*{message}"):
        Repository("bmc", ask).go_on(lambda: True)

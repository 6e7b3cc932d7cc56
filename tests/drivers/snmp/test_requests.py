"""How columns and cells are asked for: answers that are small, and agents that go astray, in memory."""

import asyncio

import pytest

from kwapi.drivers.snmp.client import (
    VARBINDS,
    NoSuchName,
    Target,
    TooBig,
    read_columns,
    read_instances,
    to_oid,
)
from kwapi.errors import DeviceError


class Table:
    """A session with a table in memory; ``largest`` is how many values fit in an answer."""

    target = Target("table")

    def __init__(self, cells, largest=1000, version="2c"):
        self.cells = {to_oid(oid): value for oid, value in cells.items()}
        self.largest = largest
        self.version = version

    async def get(self, oids):
        if len(oids) > self.largest:
            raise TooBig
        if self.version == "1" and (absent := [place for place, oid in enumerate(oids) if oid not in self.cells]):
            raise NoSuchName(absent[0])
        return [(oid, self.cells.get(oid)) for oid in oids]

    async def next(self, oids, repetitions):
        if len(oids) > self.largest:
            raise TooBig
        answer, row = [], list(oids)
        for _ in range(1 if self.version == "1" else repetitions):
            row = [min((known for known in self.cells if known > oid), default=None) for oid in row]
            if self.version == "1" and None in row:
                raise NoSuchName(row.index(None))
            answer += [(oid or asked, self.cells.get(oid)) for asked, oid in zip(oids, row, strict=True)]
            row = [oid or asked for asked, oid in zip(oids, row, strict=True)]
        return answer[: self.largest]  # an agent cuts off what does not fit


@pytest.mark.parametrize("version", ["1", "2c"])
@pytest.mark.parametrize("largest", [1, 2, 3, 7, 1000])
def test_small_answers_lose_nothing(version, largest):
    cells = {f"1.{column}.{row}": column * 100 + row for column in range(1, 8) for row in range(1, 12)}
    columns = [f"1.{column}" for column in range(1, 9)]
    read = asyncio.run(read_columns(Table(cells, largest, version), columns, {"1.1": 3, "1.2": 50}))
    expected = {f"1.{c}": {(r,): c * 100 + r for r in range(1, 12)} for c in range(1, 8)} | {"1.8": {}}
    assert read == expected
    oids = [*cells, "1.9.1"]
    assert asyncio.run(read_instances(Table(cells, largest, version), oids)) == cells


class Astray(Table):
    def __init__(self, answer):
        super().__init__({})
        self.answer = answer

    async def next(self, oids, repetitions):
        return self.answer(oids[0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda oid: [], "nothing"),
        (lambda oid: [((1, 1, 5), 1), ((1, 1, 5), 1)], "do not increase"),
        (lambda oid: [((1, 1, *(oid[2:] or (0,)), 1), 1)], "more than"),
    ],
    ids=["empty", "repeating", "endless"],
)
def test_an_agent_astray_is_given_up(answer, message):
    with pytest.raises(DeviceError, match=message):
        asyncio.run(read_columns(Astray(answer), ["1.1"], {}, max_rows=100))


def test_a_value_that_never_fits_is_a_device_error():
    with pytest.raises(DeviceError, match="too big"):
        asyncio.run(read_instances(Table({"1.1": 1}, largest=0), ["1.1"]))


def test_no_request_asks_for_more_than_fits_a_frame():
    class Counting(Table):
        async def next(self, oids, repetitions):
            assert len(oids) * repetitions <= VARBINDS
            return await super().next(oids, repetitions)

    cells = {f"1.{column}.{row}": row for column in range(1, 100) for row in range(1, 3)}
    assert asyncio.run(read_columns(Counting(cells), [f"1.{column}" for column in range(1, 100)], {}))

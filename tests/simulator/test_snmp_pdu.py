"""The PDU over loopback UDP, asked by pysnmp's own client."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.proto import rfc1902, rfc1905

from kwapi.simulator.device import Device, elapsed
from kwapi.simulator.load import MICROJOULES_PER_WH, rack
from kwapi.simulator.snmp_pdu import EPDU, SYSTEM, Agent, Oid, User

USER = User("operator", "auth-passphrase", "priv-passphrase")
OUTLET_COLUMNS = ((6, 4, 1, 3), (6, 5, 1, 2), (6, 5, 1, 3), (6, 5, 1, 4))  # mA, VA, W, Wh
OBJECTS = 4 + 9 + 12 * 5
NULL = rfc1902.Null("")

Answer = tuple[str, int, list[tuple[Oid, Any]]]  # what went wrong on the way, error status, names and values


@dataclass(frozen=True)
class Asker:
    """Who asks, and how: by a community, or by a user whose keys decide on the security level."""

    name: str = "public"
    version: int = 1  # as in messages: 0 is v1, 1 is v2c, 3 is v3
    auth: str | None = None
    priv: str | None = None


V1, V2C = Asker(version=0), Asker()
V3 = Asker(USER.name, 3, USER.auth_passphrase, USER.priv_passphrase)


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Asks the agent of a port. (Not by pysnmp.hlapi: its import warns where pysmi is installed.)"""

    def __init__(self, asker: Asker, port: int, timeout: float) -> None:
        self.engine = engine = SnmpEngine()
        level = "noAuthNoPriv"
        if asker.version < 3:
            config.add_v1_system(engine, asker.name, asker.name)
        else:
            auth = config.USM_AUTH_HMAC192_SHA256 if asker.auth else config.USM_AUTH_NONE
            priv = config.USM_PRIV_CFB128_AES if asker.priv else config.USM_PRIV_NONE
            config.add_v3_user(engine, asker.name, auth, asker.auth, priv, asker.priv)
            level = "authPriv" if asker.priv else "authNoPriv" if asker.auth else level
        config.add_transport(engine, udp.DOMAIN_NAME, udp.UdpTransport().open_client_mode())
        config.add_target_parameters(engine, "asker", asker.name, level, asker.version)
        config.add_target_address(
            engine, "pdu", udp.DOMAIN_NAME, ("127.0.0.1", port), "asker", timeout=int(timeout * 100), retryCount=0
        )

    async def ask(self, generator: Any, *request: Any) -> Answer:
        answer = asyncio.get_running_loop().create_future()

        def take(_engine: Any, _handle: Any, error: Any, status: Any, _place: Any, bindings: Any, _: Any) -> None:
            answer.set_result((str(error or ""), int(status), [(tuple(name), value) for name, value in bindings]))

        generator.send_varbinds(self.engine, "pdu", None, b"", *request, take)
        return await answer

    async def get(self, *oids: Oid) -> Answer:
        return await self.ask(cmdgen.GetCommandGenerator(), [(oid, NULL) for oid in oids])

    async def get_next(self, *oids: Oid) -> Answer:
        return await self.ask(cmdgen.NextCommandGeneratorSingleRun(), [(oid, NULL) for oid in oids])

    async def bulk(self, repetitions: int, *oids: Oid) -> Answer:
        return await self.ask(cmdgen.BulkCommandGeneratorSingleRun(), 0, repetitions, [(oid, NULL) for oid in oids])

    async def walk(self) -> dict[Oid, Any]:
        """Return every object of the agent, by GETBULK to the end of its tree."""
        found: dict[Oid, Any] = {}
        oid: Oid = (1, 3)
        while True:
            error, status, bindings = await self.bulk(20, oid)
            assert (error, status) == ("", 0)
            for oid, value in bindings:
                if value.isSameTypeWith(rfc1905.endOfMibView):
                    return found
                assert oid > max(found, default=(0,))
                found[oid] = value


def converse(
    conversation: Callable[[Client], Awaitable[Any]],
    asker: Asker = V2C,
    timeout: float = 5,
    user: User | None = None,
    clock: Callable[[], float] | None = None,
    **options: Any,
) -> Any:
    """Return what the conversation with a PDU of 12 outlets returns."""

    async def session() -> Any:
        agent = Agent(user=user)
        agent.add(Device(rack(12, seed=1), clock=elapsed(clock or Clock()), **options))
        client = Client(asker, await agent.open(), timeout)
        try:
            return await conversation(client)
        finally:
            client.engine.close_dispatcher()
            agent.close()

    return asyncio.run(session())


def numbers(walked: dict[Oid, Any]) -> dict[Oid, int]:
    """Return the numbers of a walk by their place under the PDU's arc."""
    places = {oid[len(EPDU) :]: value for oid, value in walked.items() if oid > EPDU}
    return {place: int(value) for place, value in places.items() if place[:2] != (6, 1)}


@pytest.mark.parametrize("asker", [V1, V2C, V3], ids=["v1", "v2c", "v3"])
def test_pdu_says_what_it_is(asker):
    oids = [(*SYSTEM, place, 0) for place in (1, 2, 3, 5)]
    error, status, bindings = converse(lambda client: client.get(*oids), asker, user=USER, clock=Clock(), name="pdu-7")
    assert (error, status) == ("", 0)
    assert [oid for oid, _ in bindings] == oids
    description, object_id, up_time, name = (value for _, value in bindings)
    assert str(description) == "ePDU simulated by Kwapi, 12 outlets"
    assert tuple(object_id) == EPDU
    assert int(up_time) == 0
    assert str(name) == "pdu-7"


def test_walk_ends_with_every_object_seen_once():
    found = converse(Client.walk)
    assert len(found) == OBJECTS
    assert {oid[len(EPDU) :][:4] for oid in found if oid > EPDU} == {
        *((3, 1, 1, 3), (3, 2, 1, 3), (3, 3, 1, 4), (3, 4, 1, 3), (3, 4, 1, 4), (3, 4, 1, 5)),
        *((3, 5, 1, 3), (3, 5, 1, 4), (3, 5, 1, 5)),
        *((6, 1, 1, 3), (6, 4, 1, 3), (6, 5, 1, 2), (6, 5, 1, 3), (6, 5, 1, 4)),
    }
    assert str(found[*EPDU, 6, 1, 1, 3, 0, 12]) == "server-12"


@pytest.mark.parametrize("asker", [V1, V2C, V3], ids=["v1", "v2c", "v3"])
def test_steps_through_all_objects(asker):
    async def steps(client: Client) -> list[Oid]:
        seen: list[Oid] = []
        oid: Oid = (1, 3)
        while True:
            error, status, [(oid, value)] = await client.get_next(oid)
            assert not error
            if status or value.isSameTypeWith(rfc1905.endOfMibView):
                assert status == (2 if asker is V1 else 0)  # v1 has no such value: the end is an error, noSuchName
                return seen
            seen.append(oid)

    seen = converse(steps, asker, user=USER)
    assert len(seen) == OBJECTS
    assert seen == sorted(seen)


def test_unknown_object_leaves_the_others_alone():
    known, unknown = (*SYSTEM, 5, 0), (*EPDU, 6, 5, 1, 3, 0, 13)
    error, status, bindings = converse(lambda client: client.get(known, unknown))
    assert (error, status) == ("", 0)
    assert str(bindings[0][1]) == "simulated-pdu"
    assert bindings[1][1].isSameTypeWith(rfc1905.noSuchInstance)


def test_columns_come_in_one_answer():
    columns = [(*EPDU, *place) for place in OUTLET_COLUMNS]
    error, status, bindings = converse(lambda client: client.bulk(12, *columns))
    assert (error, status) == ("", 0)
    assert [oid for oid, _ in bindings] == [(*oid, 0, number) for number in range(1, 13) for oid in columns]


def test_values_agree_with_each_other_and_the_truth():
    clock = Clock()

    async def later(client: Client) -> dict[Oid, Any]:
        clock.now += 4000.5
        return await client.walk()

    found = numbers(converse(later, clock=clock))
    milliamps, va, watts, wh = ([found[*column, 0, n] for n in range(1, 13)] for column in OUTLET_COLUMNS)
    volts = found[3, 2, 1, 3, 0, 1, 1] / 1000

    assert all(p <= s for p, s in zip(watts, va, strict=True))
    assert [volts * i / 1000 for i in milliamps] == pytest.approx(va, abs=0.51)
    assert found[3, 5, 1, 4, 0, 1] == pytest.approx(sum(watts) + 4, abs=6.5)  # each outlet is rounded
    assert found[3, 5, 1, 3, 0, 1] == pytest.approx(volts * found[3, 3, 1, 4, 0, 1, 1] / 1000, abs=0.51)
    assert found[3, 5, 1, 4, 0, 1] <= found[3, 5, 1, 3, 0, 1]
    assert 499 <= found[3, 1, 1, 3, 0, 1] <= 501
    for phase, whole in ((3, 3), (4, 4), (5, 5)):
        assert found[3, 4, 1, phase, 0, 1, 1] == found[3, 5, 1, whole, 0, 1]

    twin = rack(12, seed=1)
    twin.advance(4_000_500)
    assert wh == [outlet.microjoules // MICROJOULES_PER_WH for outlet in twin.outlets]
    assert min(wh) > 90
    assert found[3, 5, 1, 5, 0, 1] == twin.microjoules // MICROJOULES_PER_WH


def test_register_starts_where_it_is_told_and_wraps_at_32_bits():
    clock = Clock()

    async def register(client: Client) -> list[int]:
        values = []
        for _ in range(2):
            _, _, [(_, value)] = await client.get((*EPDU, 6, 5, 1, 4, 0, 1))
            assert value.tagSet == rfc1902.Unsigned32.tagSet
            values.append(int(value))
            clock.now += 3600
        return values

    before, after = converse(register, start=(2**32 - 1) * MICROJOULES_PER_WH, clock=clock)
    assert before == 2**32 - 1
    assert 80 < after < 120  # an hour of an idle server


def test_power_is_that_of_the_moment():
    clock = Clock()

    async def watch(client: Client) -> set[int]:
        seen = set()
        for _ in range(20):
            _, _, [(_, value)] = await client.get((*EPDU, 3, 5, 1, 4, 0, 1))
            seen.add(int(value))
            clock.now += 1
        return seen

    assert len(converse(watch, clock=clock)) > 10


def test_nothing_can_be_set():
    name = [((*SYSTEM, 5, 0), rfc1902.OctetString("mine"))]
    error, status, _ = converse(lambda client: client.ask(cmdgen.SetCommandGenerator(), name))
    assert (error, status) == ("", 17)  # notWritable


def test_wrong_community_gets_no_answer():
    error, _, _ = converse(lambda client: client.get((*SYSTEM, 1, 0)), Asker("private"), timeout=0.05)
    assert "timeout" in error


@pytest.mark.parametrize(
    ("asker", "refusal"),
    [
        (Asker(USER.name, 3, "another passphrase", USER.priv_passphrase), "Wrong SNMP PDU digest"),
        (Asker("nobody", 3, USER.auth_passphrase, USER.priv_passphrase), "Unknown USM user"),
    ],
    ids=["wrong key", "unknown user"],
)
def test_stranger_is_refused(asker, refusal):
    error, _, _ = converse(lambda client: client.get((*SYSTEM, 1, 0)), asker, user=USER)
    assert refusal in error


@pytest.mark.parametrize(
    "asker", [Asker(USER.name, 3), Asker(USER.name, 3, USER.auth_passphrase)], ids=["unsigned", "in the clear"]
)
def test_user_must_sign_and_encrypt(asker):
    error, _, _ = converse(lambda client: client.get((*SYSTEM, 1, 0)), asker, user=USER)
    assert "Unsupported SNMP security level" in error


def test_taken_port_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            asyncio.run(Agent().open(port=other.getsockname()[1]))


def test_community_says_which_pdu_answers():
    async def session() -> list[str]:
        agent = Agent()
        for name in ("lyon", "nancy"):
            agent.add(Device(rack(1), name=name, clock=Clock()), community=f"of {name}", context=name)
        port = await agent.open()
        names = []
        for community in ("of nancy", "of lyon"):
            client = Client(Asker(community), port, timeout=5)
            _, _, [(_, name)] = await client.get((*SYSTEM, 5, 0))
            names.append(str(name))
            client.engine.close_dispatcher()
        agent.close()
        return names

    assert asyncio.run(session()) == ["nancy", "lyon"]

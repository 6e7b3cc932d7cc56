"""The relay over loopback, in front of servers that answer whatever they get, twice as long."""

import asyncio
import socket

import pytest

from kwapi.simulator.device import Fault
from kwapi.simulator.relay import MAX_CLIENTS, TcpRelay, UdpRelay

REQUEST, ANSWER = b"watts?", b"watts?watts?"
SOON, LONG = 0.05, 10.0  # seconds: for what is not to come, and for what is


def draw(count):
    return b"#" * count


class UdpServer(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, request, client):
        self.transport.sendto(2 * request, client)


class UdpClient:
    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))

    async def ask(self, seconds=LONG):
        """Return the answer, None if it does not come in so many seconds."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.socket, REQUEST)
        try:
            return await asyncio.wait_for(loop.sock_recv(self.socket, 100), seconds)
        except TimeoutError:
            return None

    def close(self):
        self.socket.close()


class TcpServer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, request):
        self.transport.write(2 * request)
        if request.endswith(b"!"):
            self.transport.close()


class TcpClient:
    """Connects anew after an end."""

    def __init__(self, port):
        self.port = port
        self.writer = None

    async def ask(self, seconds=LONG, request=REQUEST):
        """Return the answer, b"" for an end, None if neither comes in so many seconds."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request)
        try:
            answer = await asyncio.wait_for(self.reader.read(100), seconds)
        except TimeoutError:
            return None
        except ConnectionResetError:
            answer = b""
        if not answer:
            self.close()
        return answer

    def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


async def open_udp(loop):
    transport, _ = await loop.create_datagram_endpoint(UdpServer, local_addr=("127.0.0.1", 0))
    return transport, transport.get_extra_info("sockname")[1]


async def open_tcp(loop):
    server = await loop.create_server(TcpServer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


KINDS = {"udp": (open_udp, UdpRelay, UdpClient), "tcp": (open_tcp, TcpRelay, TcpClient)}


@pytest.fixture(params=KINDS)
def converse(request):
    """Return what runs a conversation of a client with a server behind a relay."""
    open_server, new_relay, new_client = KINDS[request.param]

    def converse(conversation):
        async def session():
            loop = asyncio.get_running_loop()
            server, server_port = await open_server(loop)
            relay = new_relay(draw)
            client = new_client(relay.open(server_port))
            try:
                return await conversation(relay, client)
            finally:
                client.close()
                relay.close()
                server.close()
                await asyncio.sleep(0.01)  # the loop closes sockets when it comes round

        return asyncio.run(session())

    converse.kind = request.param
    return converse


def test_without_a_fault_everything_passes(converse):
    async def twice(relay, client):
        return [await client.ask(), await client.ask()]

    assert converse(twice) == [ANSWER, ANSWER]


def test_silence_holds_and_ends(converse):
    async def conversation(relay, client):
        before = await client.ask()
        relay.switch(Fault("silent"))
        during = await client.ask(SOON)
        relay.switch(None)
        return before, during, await client.ask()

    assert converse(conversation) == (ANSWER, None, ANSWER)


def test_nothing_is_lost_when_it_is_slow(converse):
    async def conversation(relay, client):
        relay.switch(Fault("slow", 0.1))
        early = await client.ask(SOON)
        late = await client.ask()
        relay.switch(None)
        return early, late

    early, late = converse(conversation)
    assert early is None
    assert late in (ANSWER, 2 * ANSWER)  # of the first request, or of both


def test_refusal_closes_the_port_and_opens_the_same_again(converse):
    async def refused(client):
        for _ in range(3):  # datagrams are refused from the second on, a connection may end first
            try:
                if await client.ask(SOON):
                    return False
            except ConnectionRefusedError:
                return True
        return False

    async def conversation(relay, client):
        outcome = []
        for _ in range(2):
            outcome.append(await client.ask())
            relay.switch(Fault("refused"))
            relay.switch(Fault("refused"))
            outcome.append(await refused(client))
            relay.switch(None)
        while (answer := await client.ask(SOON)) is None:  # the notice that the last was refused may still come
            continue
        return [*outcome, answer]

    assert converse(conversation) == [ANSWER, True, ANSWER, True, ANSWER]


def test_cut_answer_is_half_of_it(converse):
    async def conversation(relay, client):
        relay.switch(Fault("cut"))
        half = await client.ask()
        end = await client.ask(SOON) if converse.kind == "tcp" else b""
        relay.switch(None)
        return half, end, await client.ask()

    assert converse(conversation) == (b"watts?", b"", ANSWER)


def test_garbage_is_as_long_as_the_answer(converse):
    async def conversation(relay, client):
        relay.switch(Fault("garbage"))
        garbage = await client.ask()
        relay.switch(None)
        return garbage, await client.ask()

    assert converse(conversation) == (b"############", ANSWER)


def test_one_fault_follows_another(converse):
    async def conversation(relay, client):
        relay.switch(Fault("refused"))
        relay.switch(Fault("garbage"))
        garbage = await client.ask()
        relay.switch(Fault("refused"))
        relay.close()
        return garbage

    assert converse(conversation) == b"############"


def test_device_that_starts_anew_knows_no_client(converse):
    async def conversation(relay, client):
        await client.ask()
        relay.drop()
        again = await client.ask()
        return again or await client.ask()

    assert converse(conversation) == ANSWER


def test_old_clients_make_room_for_new_ones():
    async def session():
        server, server_port = await open_udp(asyncio.get_running_loop())
        relay = UdpRelay()
        port = relay.open(server_port)
        clients = [UdpClient(port) for _ in range(3 * MAX_CLIENTS)]
        answers = [await client.ask() for _ in range(2) for client in clients]
        for each in (*clients, relay, server):
            each.close()
        await asyncio.sleep(0.01)
        return answers

    assert asyncio.run(session()) == [ANSWER] * 6 * MAX_CLIENTS


def test_slow_answer_is_complete_although_the_server_closes_after_it():
    async def session():
        server, server_port = await open_tcp(asyncio.get_running_loop())
        relay = TcpRelay()
        client = TcpClient(relay.open(server_port))
        relay.switch(Fault("slow", 0.05))
        answers = [await client.ask(request=b"watts!"), await client.ask()]
        for each in (client, relay, server):
            each.close()
        await asyncio.sleep(0.01)
        return answers

    assert asyncio.run(session()) == [b"watts!watts!", b""]


def test_server_that_is_not_there_is_an_end():
    async def session():
        server, server_port = await open_tcp(asyncio.get_running_loop())
        server.close()
        await server.wait_closed()
        relay = TcpRelay()
        client = TcpClient(relay.open(server_port))
        answer = await client.ask()
        client.close()
        relay.close()
        await asyncio.sleep(0.01)
        return answer

    assert asyncio.run(session()) == b""


@pytest.mark.parametrize(("relay", "kind"), [(UdpRelay, socket.SOCK_DGRAM), (TcpRelay, socket.SOCK_STREAM)])
def test_taken_port_is_told(relay, kind):
    async def session(port):
        relay().open(1, port=port)

    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        with pytest.raises(OSError, match="in use"):
            asyncio.run(session(other.getsockname()[1]))

"""The HTTP server of the simulator, byte by byte."""

import asyncio

import pytest

from kwapi.simulator.http_server import MAX_REQUEST, HttpServer, Response

GET = b"GET /power HTTP/1.1\r\nHost: plug\r\n\r\n"


def converse(*parts):
    """Return what the server answers to these parts, which come one after the other."""

    async def session():
        server = HttpServer(lambda request: Response([request.method, request.path, request.body.decode()]))
        reader, writer = await asyncio.open_connection("127.0.0.1", await server.open())
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await server.close()
        await asyncio.sleep(0.01)  # the loop closes sockets when it comes round
        return answer

    return asyncio.run(session())


def bodies(answer):
    return [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]


def test_connection_serves_many_requests():
    answer = converse(GET, GET + GET)
    assert bodies(answer) == [b'["GET", "/power", ""]'] * 3
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n")


def test_request_comes_in_pieces():
    post = b"POST /login HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    assert bodies(converse(*(post[at : at + 7] for at in range(0, len(post), 7)))) == [b'["POST", "/login", "hello"]']


def test_connection_closes_where_that_is_asked_for():
    answer = converse(GET.replace(b"plug", b"plug\r\nConnection: close") + GET)
    assert len(bodies(answer)) == 1
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"\xff / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"x" * (MAX_REQUEST + 1),
    ],
)
def test_what_is_no_request_is_refused(request_bytes):
    assert converse(request_bytes).startswith(b"HTTP/1.1 400 Bad Request\r\n")

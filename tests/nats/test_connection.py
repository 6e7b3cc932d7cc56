"""What becomes of a connection when those who work with it have a bug."""

import asyncio
import threading

import pytest

from kwapi.nats.connection import Connection, taking
from kwapi.nats.login import Login
from tests.waiting import eventually


@pytest.fixture
def ends(monkeypatch):
    """The errors by which threads have ended."""
    ends = []
    monkeypatch.setattr(threading, "excepthook", lambda end: ends.append(end.exc_value))
    return ends


def fail(*_):
    raise ZeroDivisionError("a bug of ours")


async def meet_a_bug_in_what_is_taken(client):
    async with taking(client, "to.us", fail):
        await client.publish("to.us", b"")
        await asyncio.Event().wait()


async def meet_a_bug(_):
    fail()


@pytest.mark.parametrize("work", [meet_a_bug, meet_a_bug_in_what_is_taken])
def test_a_bug_of_those_who_work_with_it_ends_the_thread_and_is_told(server, ends, work):
    connection = Connection(server.endpoint, Login(), work)
    connection.start()
    eventually(lambda: ends)
    with pytest.raises(RuntimeError, match="the thread of NATS has ended"):
        connection.check()
    connection.stop()
    (error,) = ends
    assert isinstance(error, ZeroDivisionError)


def test_a_bug_beside_the_thread_ends_it_too(server, ends):
    async def work(_):
        connection.well()
        await asyncio.Event().wait()

    connection = Connection(server.endpoint, Login(), work)
    connection.start()
    eventually(lambda: connection.is_well)
    connection.fail(error := ZeroDivisionError("a bug of ours"))
    eventually(lambda: ends)
    connection.stop()
    assert ends == [error]

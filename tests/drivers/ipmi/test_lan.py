"""The session with one BMC: in which order it logs in, asks and gives up, with a session that a test answers."""

import pytest

from kwapi.drivers.ipmi.client import (
    Reply,
    Request,
)
from kwapi.drivers.ipmi.pyghmi import IDLE, Lan
from tests.drivers.ipmi.test_client import ASK_POWER, GET_DEVICE_ID, target_of


class FakeSession:
    """A session in whose place a test logs in and answers."""

    def __init__(self, *credentials, onlogon, privlevel):
        self.onlogon = onlogon
        self.asked = []

    def raw_command(self, netfn, command, data, callback, rslun):
        self.asked.append((netfn, command))
        self.callback = callback

    def answer(self, code=0):
        self.callback({"code": code, "data": b"ok"})

    def logout(self, sessionok):
        self.asked.append("logout")


@pytest.fixture
def lan():
    """Return a BMC, the replies it gave, and what moves it on at a time."""
    now = [0.0]
    replies = []
    bmc = Lan(target_of(1, privilege=3), replies.append, lambda: now[0], FakeSession)

    def at(time):
        now[0] = time
        bmc.move_on(time)

    return bmc, replies, at


def request(number, seconds=5.0):
    return Request(number, target_of(1), *ASK_POWER, 0, seconds)


def logged_in(lan):
    bmc, replies, at = lan
    bmc.add(request(1))
    at(0)
    bmc.session.onlogon({"success": True})
    at(0)
    bmc.session.answer()
    at(0)
    bmc.session.answer()
    at(0)
    assert replies.pop() == Reply(1, 0, b"ok")
    return bmc.session


def test_one_request_is_in_flight(lan):
    bmc, replies, at = lan
    session = logged_in(lan)
    session.asked.clear()
    bmc.add(request(2))
    bmc.add(request(3))
    at(1)
    at(2)
    assert session.asked == [ASK_POWER[:2]] and replies == []
    session.answer()
    at(3)
    assert session.asked == [ASK_POWER[:2]] * 2 and replies == [Reply(2, 0, b"ok")]


def test_an_idle_session_is_kept_alive_and_dropped_without_an_answer(lan):
    bmc, replies, at = lan
    session = logged_in(lan)
    session.asked.clear()
    at(IDLE - 0.1)
    assert session.asked == []
    at(IDLE + 0.1)
    assert session.asked == [GET_DEVICE_ID]
    session.answer()
    at(IDLE + 0.2)
    assert bmc.session is session and replies == []
    at(2 * IDLE + 1)
    at(2 * IDLE + 7)
    assert session.asked == [GET_DEVICE_ID, GET_DEVICE_ID, "logout"]
    assert bmc.session is None and replies == []


def test_an_answer_that_comes_too_late_answers_nothing_else(lan):
    bmc, replies, at = lan
    late = logged_in(lan)
    bmc.add(request(2, seconds=1.0))
    at(1)
    bmc.add(request(3))
    at(2)
    assert replies == [Reply(2, error="no answer in 1.0 s")] and bmc.session is not late
    late.answer()
    late.onlogon({"error": "Incorrect password provided"})
    at(2)
    bmc.session.onlogon({"success": True})
    at(2)
    bmc.session.answer()
    at(2)
    assert len(replies) == 1
    bmc.session.answer()
    at(2)
    assert replies[1:] == [Reply(3, 0, b"ok")]


def test_a_privilege_is_asked_for_also_when_the_first_request_is_gone(lan):
    bmc, replies, at = lan
    bmc.add(request(1, seconds=1.0))
    bmc.add(request(2))
    at(0)
    at(2)
    bmc.session.onlogon({"success": True})
    at(2)
    assert bmc.session.asked == [(0x06, 0x3B)]
    bmc.session.answer()
    at(2)
    assert bmc.session.asked == [(0x06, 0x3B), ASK_POWER[:2]]


def test_a_privilege_that_is_not_granted_is_refused_credentials(lan):
    bmc, replies, at = lan
    bmc.add(request(1))
    at(0)
    bmc.session.onlogon({"success": True})
    at(0)
    bmc.session.answer(0x81)
    at(0)
    assert replies == [Reply(1, error="privilege level 3 not granted, code 0x81", refused=True)]
    assert bmc.session is None


def no_login(number, seconds):
    error = f"no login for user 'user' in {seconds} s; is the host right, and the user?"
    return Reply(number, error=error, at_login=True)


def test_requests_that_wait_for_a_login_expire_each_at_its_time(lan):
    bmc, replies, at = lan
    bmc.add(request(1, seconds=2.0))
    bmc.add(request(2, seconds=4.0))
    at(0)
    session = bmc.session
    at(3)
    assert replies == [no_login(1, 2.0)] and bmc.session is session
    at(5)
    assert replies[1:] == [no_login(2, 4.0)]
    at(5)
    assert bmc.session is None and session.asked == ["logout"]


def test_a_login_without_an_answer_is_begun_anew_until_time_is_over(lan):
    bmc, replies, at = lan
    bmc.add(request(1, seconds=5.0))
    at(0)
    first = bmc.session
    first.onlogon({"error": "timeout", "code": 0xFFFF})
    at(4)
    at(4)
    assert replies == [] and bmc.session is not first
    at(6)
    assert replies == [no_login(1, 5.0)]

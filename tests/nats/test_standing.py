"""What a plugin saves while something is missing, and what one that goes on from there is given."""

import time
from functools import partial

import pytest

from kwapi.gate import Gate
from kwapi.measurement import END
from kwapi.stream import Account, Answer, Position
from tests.messages import frame, health
from tests.nats.test_feed import NAMES, Plugin, Source, listens
from tests.nats_server import Connected
from tests.threads import running
from tests.waiting import eventually

LYON, PARIS = (f"{name}.".encode() for name in NAMES)


@pytest.fixture
def source(server):
    source = Source(server.endpoint)
    yield source
    source.stop()


def hole(server, plugin, first=3):
    """Have a message of lyon missing, and wait until a plugin that asks a spool in vain knows that it is."""
    with Connected(server.endpoint) as other:
        for seq in (0, 1, 2, first + 1, first + 2):
            other.send(frame(wattmeter=NAMES[0], boot=1, seq=seq, timestamp=time.time()))
    eventually(lambda: plugin.gate.streams.behind())


def asking(server):
    """Return a plugin that has heard of a spool."""
    plugin = Plugin(server.endpoint, spools=1)
    plugin.gate.streams.heard_of_spool(0)
    return plugin


def lack_all(streams):
    """Answer what is asked as a spool does that has none of it, and only what comes later."""
    for ask in list(streams.asks()):
        streams.answer(ask, Answer(None if ask.last is None else ask.last + 1, ask.last))


def test_where_the_others_are_is_saved_though_one_is_behind(server, source):
    before = asking(server)
    with before.running():
        listens(server, before)
        hole(server, before)
        source.publish(5, NAMES[1])
        eventually(lambda: len(before.taken) == 8)
        saved = before.subscriber.standing()
    assert saved.topics[LYON].position == Position(1, 3)
    assert saved.topics[PARIS].position == Position(1, 5)
    assert saved.topics[PARIS].account == Account(delivered=5)


def test_what_waits_behind_something_missing_comes_again_after_a_restart_and_nothing_else_is_given(server, source):
    before = asking(server)
    with before.running():
        listens(server, before)
        source.publish(3, NAMES[1])
        eventually(lambda: len(before.taken) == 3)
        hole(server, before)
        source.publish(5, NAMES[1])
        eventually(lambda: len(before.taken) == 11)
        before.standing = before.subscriber.standing()
    after = Plugin(server.endpoint, before)  # without a spool
    with after.running():
        source.publish(1, NAMES[1])
        eventually(lambda: len(after.taken) == 3)
    assert after.taken == [(NAMES[0], 1, 4), (NAMES[0], 1, 5), (NAMES[1], 1, 8)]
    assert after.gate.account(NAMES[0]) == Account(delivered=5, lost=1)
    account = after.gate.account(NAMES[1])
    assert (account.delivered, account.lost, account.unknown_ends) == (9, 0, 0)


def test_the_end_of_a_run_waits_for_its_turn_too_and_is_shown_to_nobody(server, source):
    plugin, shown = asking(server), []
    with running(lambda stop: plugin.subscriber.run(stop, plugin.add, show=shown.append)):
        listens(server, plugin)
        hole(server, plugin)
        with Connected(server.endpoint) as other:
            other.send(frame(wattmeter=NAMES[0], boot=1, seq=6, timestamp=time.time(), type=END, probes=[]))
            other.send(frame(wattmeter=NAMES[0], boot=2, seq=0, timestamp=time.time()))
        eventually(lambda: len(shown) == 3)
        eventually(lambda: len(plugin.taken) == 6 or lack_all(plugin.gate.streams))
    assert {(message.boot, message.seq) for message in shown} == {(1, 4), (1, 5), (2, 0)}
    assert plugin.gate.account(NAMES[0]) == Account(delivered=7, lost=1)


def test_an_older_run_that_comes_again_is_known(server, source):
    """It stands in the stream behind what another wattmeter lacks."""
    before = asking(server)
    with before.running():
        listens(server, before)
        hole(server, before)
        before.gate.streams.is_helped = False  # or the end of each run would be waited for too
        for _ in range(3):
            source.publish(4, NAMES[1])
            source.stop()
            source.start()
        source.publish(1, NAMES[1])
        eventually(lambda: len(before.of(NAMES[1])) == 13)
        before.standing = before.subscriber.standing()
    after = Plugin(server.endpoint, before)
    with after.running():
        source.publish(1, NAMES[1])
        eventually(lambda: after.of(NAMES[1]))
    assert after.of(NAMES[1]) == [(4, 1)]
    account = after.gate.account(NAMES[1])
    assert (account.delivered, account.lost, account.unknown_ends) == (17, 0, 0)  # with three that say that they end


def test_what_health_tells_of_is_not_asked_for_while_the_stream_has_more(server, source):
    """The consumers of measurements and of health are two, where a plugin watches some wattmeters only."""
    before = Plugin(server.endpoint, wattmeters=["lyon"])
    with before.running():
        listens(server, before)
        source.publish(1)
        eventually(lambda: len(before.taken) == 1)
    source.publish(5000)
    source.publisher.tell(health(timestamp=time.time()))
    eventually(lambda: server.info().state.messages == 5002)
    after = Plugin(server.endpoint, before, wattmeters=["lyon"], gate=partial(Gate, health=True), spools=1)
    after.gate.streams.heard_of_spool(0)
    with after.running():
        eventually(lambda: len(after.taken) == 5000)
    assert after.gate.account(NAMES[0]) == Account(delivered=5001)


def test_what_the_stream_has_is_given_though_no_spool_answers(server, source, tmp_path):
    """Several runs came, whose ends are asked for in vain: only these are in doubt."""
    before = Plugin(server.endpoint)
    with before.running():
        listens(server, before)
        source.publish(2)
        eventually(lambda: len(before.taken) == 2)
    with Connected(server.endpoint) as other:
        for boot in (2, 3, 4):
            for seq in range(5):
                other.send(frame(wattmeter=NAMES[0], boot=boot, seq=seq, timestamp=time.time()))
    after = Plugin(server.endpoint, before, spools=1, wait=0.05, replay=f"ipc://{tmp_path}/nobody")
    with after.running():
        eventually(lambda: len(after.taken) == 15)
    assert after.of(NAMES[0]) == [(boot, seq) for boot in (2, 3, 4) for seq in range(5)]
    assert after.gate.account(NAMES[0]) == Account(delivered=17, unknown_ends=3)

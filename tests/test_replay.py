"""What a subscriber missed comes back from a spool, over real sockets."""

import socket
import time
from contextlib import ExitStack
from functools import partial

import msgspec
import pytest
import zmq

from kwapi.errors import ConfigError
from kwapi.plugins.positions import Positions
from kwapi.questions import PAGE_RUNS, Frames, Runs, Wanted, encode, read_question
from kwapi.replay import Client, Service
from kwapi.signing import key_from, sign
from kwapi.stream import Position
from kwapi.streams import Streams
from tests.messages import KEY, frame, health
from tests.nats_server import NatsServer
from tests.replaying import DeafGate, LossyGate, Plugin, Site, all_of, heard
from tests.waiting import eventually

of_spools = pytest.mark.parametrize("site", ["zeromq"], indirect=True)  # whatever carries the bus
HUGE = [b"12345678", msgspec.msgpack.encode({"type": "frames", "topic": b"lyon.pdu1.", "boot": 2**64 - 1, "first": 0})]
DEEP = [b"12345678", b"\x82\xa4type\xa4runs\xa1x" + b"\x91" * 1010]


@pytest.fixture(params=["zeromq", "nats"])
def site(request, tmp_path):
    with ExitStack() as opened:
        server = opened.enter_context(NatsServer(tmp_path)) if request.param == "nats" else None
        site = Site(tmp_path, server.endpoint if server else None)
        opened.callback(site.close)
        yield site


def test_a_plugin_that_was_away_gets_all_it_missed(site):
    before = Plugin(site)
    with before.running():
        heard(before, site)
    site.publish(500)
    after = Plugin(site, before.streams.positions())
    with after.running():
        eventually(lambda: site.publish(1) or len(after.taken) > len(after.late))
        eventually(lambda: before.taken + after.taken == all_of(site, before))
    assert len(after.late) >= 500
    assert after.gate.lost == 0


def test_what_was_published_while_nobody_listened_and_nothing_comes_after_it(site):
    """A wattmeter falls silent, another one appears: both are found."""
    before = Plugin(site)
    with before.running():
        heard(before, site)
    saved_at = time.time()
    site.publish(50)
    site.publish(20, "paris.pdu9")
    after = Plugin(site, before.streams.positions(), since=saved_at - 1)
    with after.running():
        eventually(lambda: len(after.taken) >= 70)
        eventually(lambda: after.streams.behind() == 0)
    assert [seq for name, _, seq in after.taken if name == "paris.pdu9"] == list(range(20))
    assert before.taken + [taken for taken in after.taken if taken[0] == "lyon.pdu1"] == all_of(site, before)


@of_spools
def test_wattmeters_are_found_however_many_there_are(site):
    names = [f"site-{number % 9}.pdu{number}" for number in range(2 * PAGE_RUNS + 100)]
    for name in names:
        site.publish(1, name)
    eventually(lambda: site.spool.kept == len(names))
    plugin = Plugin(site, since=time.time() - 3600)
    with plugin.running():
        # A millisecond for each of 8,100, if nobody else is at work.
        eventually(lambda: {taken[0] for taken in plugin.taken} == set(names), timeout=180)
    assert len(plugin.taken) == len(names)


def test_the_end_of_a_publisher_that_was_restarted_is_got(site):
    before = Plugin(site)
    with before.running():
        heard(before, site)
    site.publish(20)
    first = all_of(site, before)
    site.restart()
    site.publish(10)
    after = Plugin(site, before.streams.positions())
    with after.running():
        eventually(lambda: site.publish(1) or len(after.taken) > 31)
        eventually(lambda: after.streams.behind() == 0)
    boot, taken = site.publisher.boot, before.taken + after.taken
    assert taken == first + [("lyon.pdu1", boot, seq) for seq in range(len(taken) - len(first))]


def test_the_newest_messages_of_a_wattmeter_that_fell_silent_are_got(site):
    """Nothing tells of them but its health."""
    plugin = Plugin(site, gate=partial(DeafGate, health=True))
    with plugin.running():
        heard(plugin, site)
        plugin.gate.is_deaf = True
        site.publish(5)
        eventually(lambda: plugin.gate.heard >= 5)
        plugin.gate.is_deaf = False
        site.publisher.tell(health(timestamp=time.time()))
        eventually(lambda: plugin.taken == all_of(site, plugin))
    assert plugin.streams.accounts()[b"lyon.pdu1."].repaired >= 5


def test_a_publisher_that_is_stopped_says_so_and_one_that_is_killed_does_not(site):
    plugin = Plugin(site)
    with plugin.running():
        heard(plugin, site)
        site.restart()
        eventually(lambda: site.publish(1) or site.publisher.boot in {boot for _, boot, _ in plugin.taken})
        assert plugin.streams.accounts()[b"lyon.pdu1."].unknown_ends == 0
        site.publisher._lines.clear()  # as if it had never been: a kill -9 says nothing
        site.restart()
        eventually(lambda: site.publish(1) or site.publisher.boot in {boot for _, boot, _ in plugin.taken})
        assert plugin.streams.accounts()[b"lyon.pdu1."].unknown_ends == 1
    assert {name for name, _, _ in plugin.taken} == {"lyon.pdu1"}


def test_what_comes_live_is_shown_while_what_was_missed_is_still_to_come(site):
    before = Plugin(site)
    with before.running():
        heard(before, site)
    site.publish(2000)
    site.close_replay()
    after = Plugin(site, before.streams.positions())
    with after.running():
        eventually(lambda: site.publish(1) or after.shown)
        site.open_replay()
        eventually(lambda: after.taken[-1:] >= after.shown[-1:])
    assert set(after.shown) <= set(after.late)
    taken = before.taken + after.taken
    assert taken == all_of(site, before)[: len(taken)]
    assert len(after.late) >= 2000


def test_a_hole_in_what_is_heard_is_filled(site):
    plugin = Plugin(site, gate=LossyGate)
    with plugin.running():
        heard(plugin, site)
        for _ in range(30):
            site.publish(10)
        eventually(lambda: site.publish(1) or len(plugin.taken) > 300)
        eventually(lambda: plugin.streams.behind() == 0)
    got = [seq for _, _, seq in plugin.taken]
    assert got == list(range(got[0], got[0] + len(got)))
    assert plugin.streams.accounts()[b"lyon.pdu1."].repaired > 100
    assert plugin.gate.lost == 0


def test_what_a_spool_does_not_have_any_more_is_lost_and_live_goes_on(site):
    before = Plugin(site)
    with before.running():
        heard(before, site)
    position = before.streams.positions()
    site.forgets = True
    site.publish(7)
    site.forgets = False
    site.publish(5)
    after = Plugin(site, position)
    with after.running():
        eventually(lambda: site.publish(1) or len(after.taken) > 8)
        eventually(lambda: after.streams.behind() == 0)
    assert after.gate.lost == 7


def test_frames_of_another_key_are_not_believed_out_of_a_spool_either(site, tmp_path):
    plugin = Plugin(site, key=key_from(b"another key for this one"))
    with plugin.running():
        site.publish(5)
        eventually(lambda: site.publish(1) or plugin.gate.rejected["unknown key"] > 3)
    assert plugin.taken == []


@of_spools
@pytest.mark.parametrize(
    "junk", [[], [b""], [b"12345678"], [b"12345678", b"junk"], [b"1", msgspec.msgpack.encode({})], HUGE, DEEP]
)
def test_a_question_that_is_none_is_passed_over(site, junk):
    site.publish(1)
    eventually(lambda: site.spool.kept)
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.connect(site.replay)
        client.send_multipart(junk or [b""])
        client.send_multipart([b"12345678", msgspec.msgpack.encode({"type": "runs", "prefix": b"", "timestamp": 0.0})])
        assert client.poll(10_000)
        assert client.recv_multipart()[0] == b"12345678"


def test_a_forged_frame_in_a_spool_loses_nothing_and_live_goes_on(site):
    """A forwarder keeps what passes, without a key: here a number far ahead, of a boot that is known."""
    before = Plugin(site)
    with before.running():
        heard(before, site)
    forger, boot = key_from(b"another key for this one"), site.publisher.boot
    site.spool.hand(frame(forger, boot=boot, seq=2**60, probes=["lyon.pdu1-1"]))
    site.publish(5)
    eventually(lambda: site.spool.kept == site.publisher._lines[b"lyon.pdu1."].next + 1)
    after = Plugin(site, before.streams.positions())
    with after.running():
        eventually(lambda: site.publish(1) or len(after.taken) > 8)
        eventually(lambda: after.streams.behind() == 0)
        eventually(lambda: before.taken + after.taken == all_of(site, before))
    assert after.gate.rejected["unknown key"] > 0
    assert after.gate.lost == 0


@of_spools
@pytest.mark.parametrize(
    ("topic", "boot", "seq"),
    [(b"\x80.", 1, 0), (b"lyon.pdu8", 1, 0), (b" .", 1, 0), (b"lyon.pdu8.", -1, 0), (b"lyon.pdu8.", 1, -1)],
)
def test_a_run_that_nobody_can_have_is_neither_asked_for_nor_saved(site, tmp_path, topic, boot, seq):
    """A forwarder keeps what passes, whatever it is; a topic that is no text would end the plugin at its next save."""
    forged = msgspec.msgpack.encode({"boot": boot, "seq": seq, "timestamp": time.time()})
    site.spool.hand(sign(KEY, topic, forged))
    site.publish(5)
    eventually(lambda: site.spool.kept == 6)
    plugin = Plugin(site, since=time.time() - 60)
    with plugin.running():
        eventually(lambda: len(plugin.taken) == 5)
        eventually(lambda: plugin.streams.behind() == 0)
    positions = Positions(tmp_path / "positions.json")
    positions.save(plugin.streams.positions())
    assert positions.load().positions == {b"lyon.pdu1.": Position(site.publisher.boot, 5)}


def test_a_spool_is_believed_only_about_what_it_was_asked_for(tmp_path):
    """Asked whether it is there, it tells of a run of last week, of which a new subscriber knows nothing."""
    streams, context = Streams(spools=1), zmq.Context()
    with context, context.socket(zmq.ROUTER) as spool:
        spool.bind(f"ipc://{tmp_path}/spool")
        client = Client(context, [f"ipc://{tmp_path}/spool"], streams)
        client.ask()
        assert spool.poll(5000)
        name, number, _ = spool.recv_multipart()
        spool.send_multipart([name, number, encode(Runs([(b"lyon.pdu1.", 1, 0)]))])
        eventually(lambda: list(client.answers()) or streams.is_helped)
        client.close()
    assert streams.accounts() == {}


def test_a_spool_cannot_answer_for_another(tmp_path):
    """Questions are numbered one after the other, so that one may guess what the other was asked."""
    endpoints = [f"ipc://{tmp_path}/{name}" for name in ("asked", "other")]
    streams, context = Streams({b"lyon.pdu1.": Position(1, 5)}, spools=2), zmq.Context()
    with context, context.socket(zmq.ROUTER) as asked, context.socket(zmq.ROUTER) as other:
        for spool, endpoint in zip((asked, other), endpoints, strict=True):
            spool.bind(endpoint)
        client = Client(context, endpoints, streams)
        client.ask()
        questions = [asked.recv_multipart()[1:] for _ in range(2)]
        (number,) = [number for number, question in questions if isinstance(read_question(question), Wanted)]
        name, *_ = other.recv_multipart()
        other.send_multipart([name, number, encode(Frames(None, []))])
        other.send_multipart([name, *questions[0][:1], encode(Runs([]))])
        assert client.sockets[1].poll(5000)
        assert list(client.answers()) == []
        client.close()


def test_an_endpoint_that_is_taken_is_a_mistake(tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="cannot listen on the endpo"),
    ):
        Service(f"tcp://127.0.0.1:{taken.getsockname()[1]}", tmp_path)

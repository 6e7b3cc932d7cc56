"""What is published at a real nats-server, which is killed and comes back."""

import threading
import time
from contextlib import ExitStack

import pytest

from kwapi.bus import Publisher
from kwapi.measurement import Measurement, encode
from kwapi.nats import uplink
from kwapi.nats.backlog import FILE_NAME, Backlog
from kwapi.nats.login import Login
from kwapi.nats.uplink import Uplink
from kwapi.signing import sign
from kwapi.spool.segment import read_frame
from kwapi.spool.store import Spool
from kwapi.stream import Position
from tests.messages import KEY, frame, health, message
from tests.nats_server import NatsServer
from tests.threads import running
from tests.waiting import eventually


class Source:
    """A publisher with a spool, which can be killed and started again."""

    def __init__(self, directory, endpoint):
        self._directory, self._endpoint = directory / "spool", endpoint
        self.start(1)

    def start(self, boot):
        self._closing = ExitStack()
        self.spool = Spool(self._directory, max_bytes=64 << 20, max_age=3600.0)
        self._closing.enter_context(running(self.spool.run))
        self.publisher = Publisher(self._endpoint, KEY, boot=boot, keep=self.spool.hand_numbered, spool=self.spool)
        self._senders = {}

    def publish(self, count, wattmeter="lyon.pdu1"):
        sender = self._senders.setdefault(wattmeter, self.publisher.sender(wattmeter, 1.0))
        for _ in range(count):
            sender.publish([Measurement(f"{wattmeter}-1", watts=1.0)], time.time(), time.monotonic())

    def kill(self):
        """End as a kill -9 does: nobody says that it ends, nothing is saved."""
        path = self._directory / FILE_NAME
        eventually(path.exists)
        saved = path.read_bytes()
        self.publisher._socket.close(0)
        self.publisher._context.term()
        path.write_bytes(saved)
        self._closing.close()

    def close(self):
        self.publisher.close()
        self._closing.close()


@pytest.fixture
def source(tmp_path, server):
    source = Source(tmp_path, server.endpoint)
    yield source
    source.close()


def stored(server, topic=b"lyon.pdu1."):
    frames = [read_frame(frame) for _, frame in server.stored() if frame.startswith(topic)]
    return [(frame.boot, frame.seq) for frame in frames]


def count(server):
    return server.info().state.messages


def test_what_is_published_is_stored_untouched_and_in_order(server):
    frames = [frame(seq=seq) for seq in range(300)]
    link = Uplink(server.endpoint, Login())
    for each in frames:
        link.send(each)
    link.close(10_000)
    assert server.stored() == [("kwapi.lyon.pdu1._", each) for each in frames]


def test_a_message_that_is_sent_twice_is_stored_once(server):
    link = Uplink(server.endpoint, Login())
    for seq in (0, 1, 0, 1, 2):
        link.send(frame(seq=seq))
    link.close(10_000)
    assert stored(server) == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("junk", [b"", b"junk", b"lyon\0" + b"x" * 60, sign(KEY, b"lyon.pdu1.", b"\xc1")])
def test_what_is_no_message_is_passed_over(server, junk):
    link = Uplink(server.endpoint, Login())
    link.send(junk)
    link.send(sign(KEY, b"no dot", b"\x83\xa4boot\x01\xa3seq\x00\xa9timestamp\xcb" + bytes(8)))
    link.send(frame(seq=0))
    link.close(10_000)
    assert stored(server) == [(1, 0)]


def test_a_frame_that_the_server_cannot_take_keeps_no_other_waiting(tmp_path):
    with NatsServer(tmp_path, options="max_payload: 4096") as server:
        link = Uplink(server.endpoint, Login())
        for seq, probes in enumerate((["a"], [f"probe-{number}" for number in range(2000)], ["a"])):
            link.send(frame(seq=seq, probes=probes))
        link.close(10_000)
        assert link.dropped == 1
        assert stored(server) == [(1, 0), (1, 2)]


def test_a_server_that_is_killed_has_all_of_it_in_order_when_it_is_back(server, source):
    source.publish(50)
    eventually(lambda: count(server) == 50)
    server.kill()
    source.publish(200)
    server.start()
    source.publish(50)
    eventually(lambda: count(server) == 300)
    assert stored(server) == [(1, seq) for seq in range(300)]


def test_what_memory_does_not_hold_comes_out_of_the_spool_in_order(tmp_path, server):
    spool = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0)
    with running(spool.run):
        link = Uplink(server.endpoint, Login(), spool=spool, most_bytes=20_000)

        def publish(seqs, wattmeter):
            for seq in seqs:
                for take in (spool.hand, link.send):
                    take(frame(wattmeter=wattmeter, seq=seq, timestamp=time.time()))

        publish(range(1), "lyon.pdu1")
        eventually(lambda: count(server) == 1)
        server.kill()
        publish(range(1, 500), "lyon.pdu1")
        publish(range(500), "paris.pdu1")
        eventually(lambda: link.late == 2)
        server.start()
        publish(range(500, 520), "lyon.pdu1")
        eventually(lambda: count(server) == 1020)
        eventually(lambda: link.late == 0)
        publish(range(520, 530), "lyon.pdu1")
        link.close(10_000)
    assert stored(server) == [(1, seq) for seq in range(530)]
    assert stored(server, b"paris.pdu1.") == [(1, seq) for seq in range(500)]
    assert link.dropped == 0


def test_what_was_not_stored_before_a_stop_is_stored_after_the_start(server, source):
    source.publish(10)
    eventually(lambda: count(server) == 10)
    server.kill()
    source.publish(90)
    eventually(lambda: source.spool.kept == 100)
    source.close()
    server.start()
    source.start(2)
    source.publish(5)
    eventually(lambda: count(server) == 106)
    assert stored(server) == [(1, seq) for seq in range(101)] + [(2, seq) for seq in range(5)]


def test_after_a_kill_all_that_the_spool_has_is_stored(server, source):
    server.kill()
    source.publish(100)
    eventually(lambda: source.spool.kept == 100)
    source.kill()
    server.start()
    source.start(2)
    source.publish(1)
    eventually(lambda: count(server) == 101)
    assert stored(server) == [(1, seq) for seq in range(100)] + [(2, 0)]


def test_a_topic_of_any_bytes_ends_nothing(tmp_path, server):
    spool, topic = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0), b"\xff\xfe\xc3\xa9."
    with running(spool.run):
        link = Uplink(server.endpoint, Login(), spool=spool)
        for seq in range(3):
            link.send(sign(KEY, topic, encode(message(seq=seq))))
        eventually(lambda: link.published == 3)
        link.close(10_000)
        assert Backlog(spool).stored == {topic: Position(1, 3)}


def test_a_segment_that_cannot_be_read_costs_no_live_traffic(tmp_path, server, caplog):
    spool = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0)
    with running(spool.run):
        assert spool.opened.wait(10)
        (spool.directory / "000000000000.spool").mkdir()  # it can be opened by nobody, as one of root's
        link = Uplink(server.endpoint, Login(), spool=spool, patience=0.0)
        for seq in range(3):
            link.send(frame(seq=seq))
        eventually(lambda: link.published == 3)
        link.close(10_000)
    assert f"cannot read {spool.directory}" in caplog.text
    assert link.dropped == 0


def test_a_spool_that_is_not_opened_yet_keeps_no_more_in_memory_than_there_is_room_for(tmp_path, server):
    spool = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0)
    link = Uplink(server.endpoint, Login(), spool=spool, most_bytes=20_000)
    for seq in range(500):
        for take in (spool.hand, link.send):
            take(frame(seq=seq, timestamp=time.time()))
        if seq == 5:
            eventually(lambda: link.waiting == 6)
            assert 0 < link.waiting_bytes < 20_000
    eventually(lambda: link.late == 1)
    assert link.waiting_bytes < 20_000
    assert link.published == 0
    with running(spool.run):
        eventually(lambda: link.published == 500)
        link.close(10_000)
    assert stored(server) == [(1, seq) for seq in range(500)]
    assert link.dropped == 0


def test_a_bug_where_the_spool_is_read_is_told_and_ends_what_is_published(tmp_path, server, monkeypatch):
    ends = []
    monkeypatch.setattr(threading, "excepthook", lambda end: ends.append(end.exc_value))
    spool = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0)
    spool.opened = None
    link = Uplink(server.endpoint, Login(), spool=spool)
    eventually(lambda: ends)
    assert isinstance(ends[0], AttributeError)
    with pytest.raises(RuntimeError, match="the thread of NATS has ended"):
        link.send(frame(seq=0))
    link.close(0)
    spool.close()


def test_a_spool_of_before_is_not_published(tmp_path, server):
    spool = Spool(tmp_path / "spool", max_bytes=16 << 20, max_age=3600.0)
    with running(spool.run):
        spool.hand(frame(timestamp=time.time() - 60))
        eventually(lambda: spool.kept == 1)
        link = Uplink(server.endpoint, Login(), spool=spool)
        link.send(frame(seq=1))
        link.close(10_000)
    assert stored(server) == [(1, 1)]


def test_health_is_stored_after_the_measurement_that_it_tells_of(server):
    publisher = Publisher(server.endpoint, KEY, boot=1)
    for _ in range(100):
        publisher.sender("lyon.pdu1", 1.0).publish([Measurement("a", watts=1.0)], time.time(), 0.0)
        publisher.tell(health(timestamp=time.time()))
    eventually(lambda: count(server) == 200)
    publisher.close()
    subjects = [subject for subject, _ in server.stored()]
    assert subjects == ["kwapi.lyon.pdu1._", "kwapi.kwapi.health.lyon.pdu1._"] * 100 + ["kwapi.lyon.pdu1._"]


def test_without_a_stream_it_is_told_once_and_nothing_is_lost_when_there_is_one(tmp_path, caplog):
    with NatsServer(tmp_path, stream=False) as server:
        link = Uplink(server.endpoint, Login())
        link.send(frame(seq=0))
        link.send(frame(seq=1))
        eventually(lambda: uplink.NO_STREAM in caplog.text)
        server.make_stream()
        link.close(10_000)
        assert stored(server) == [(1, 0), (1, 1)]
    assert [record.getMessage() for record in caplog.records if uplink.NO_STREAM in record.getMessage()] == [
        f"{server.endpoint} does not serve us: {uplink.NO_STREAM}"
    ]


def test_the_answers_of_a_stream_that_is_called_error_are_none(tmp_path):
    with NatsServer(tmp_path, stream=False) as server:
        server.run(lambda client: client.jetstream().add_stream(name="error", subjects=["kwapi.>"]))
        uplink = Uplink(server.endpoint, Login(stream="error"))
        for seq in range(3):
            uplink.send(frame(seq=seq))
        eventually(lambda: uplink.published == 3)
        uplink.close(1000)
    assert (uplink.refused, uplink.dropped) == (0, 0)


@pytest.mark.parametrize(
    ("to", "answer"),
    [
        ("", b'{"error": ' + b"[" * 200_000),
        ("", b'{"error": {"err_code": Infinity}}'),
        ("junk", b""),
    ],
)
def test_an_answer_that_is_none_ends_nothing(tmp_path, to, answer):
    """Anybody may answer who knows where to."""

    async def answer_instead_of_a_server(client):
        asked = await client.subscribe("kwapi.>")
        await client.flush()
        link.send(frame(seq=0))
        question = await asked.next_msg(timeout=30)
        inbox, _, number = question.reply.rpartition(".")
        await client.publish(f"{inbox}.{to or number}", answer)
        if not to:
            question = await asked.next_msg(timeout=30)
        await question.respond(b'{"stream": "kwapi", "seq": 1}')
        await client.flush()

    with NatsServer(tmp_path, stream=False) as server:
        link = Uplink(server.endpoint, Login())
        server.run(answer_instead_of_a_server)
        eventually(lambda: link.published == 1)
        link.send(frame(seq=1))  # which is refused if the thread has ended
        link.close(0)


def test_it_may_be_stopped_at_any_moment_of_a_connection(server):
    for delay in range(40):
        link = Uplink(server.endpoint, Login())
        time.sleep(delay / 1000)
        link.close(0)


def test_a_server_that_is_away_holds_up_nobody(tmp_path):
    server = NatsServer(tmp_path)
    link = Uplink(server.endpoint, Login())
    for seq in range(1000):
        link.send(frame(seq=seq))
    link.close(0)
    assert link.dropped == 0

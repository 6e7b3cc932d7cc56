"""What carries the bus between ZeroMQ and a real nats-server."""

import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from kwapi.bus import Publisher
from kwapi.errors import ConfigError
from kwapi.measurement import Measurement
from kwapi.nats.bridge import FILE_NAME, Bridge, load, new_proxy, save
from kwapi.nats.feed import created
from kwapi.proxy import Passage, Proxy
from kwapi.spool.reader import Reader
from kwapi.spool.segment import read_frame
from kwapi.spool.store import Spool
from kwapi.stream import Mark
from tests.messages import KEY, frame
from tests.nats_server import Connected
from tests.test_bus import Listener, free_endpoint, publish_until
from tests.threads import running
from tests.waiting import eventually


@contextmanager
def passing(*arguments, **how):
    """Have a bridge run."""
    bridge, ready = Bridge(Passage(*arguments, **how)), threading.Event()
    thread = threading.Thread(target=bridge.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield bridge
    finally:
        bridge.stop()
        thread.join(5)
        assert not thread.is_alive()


def seqs(frames):
    return [read_frame(frame).seq for frame in frames if frame.startswith(b"lyon.pdu1.")]


def test_between_zeromq_endpoints_there_is_no_bridge():
    proxy = new_proxy(Passage([free_endpoint()], free_endpoint()))
    assert isinstance(proxy, Proxy)
    proxy.stop()


def test_both_sides_cannot_be_nats(server):
    with pytest.raises(ConfigError, match="both NATS servers"):
        Bridge(Passage([server.endpoint], server.endpoint))


def test_two_bridges_side_by_side_store_each_message_once(server):
    upstream = free_endpoint()
    publisher = Publisher(upstream, KEY)
    with passing([upstream], server.endpoint), passing([upstream], server.endpoint), Listener(server.endpoint) as heard:
        publish_until(publisher.sender("lyon.pdu1", 1.0), lambda: len(heard.received) > 20)
        publisher.close()
        eventually(lambda: server.info().state.messages > len(heard.received))  # the end is one too
    stored = seqs(frame for _, frame in server.stored())
    assert stored == list(range(stored[0], stored[0] + len(stored)))
    assert heard.gate.rejected == {}


def test_only_what_is_kept_passes_to_a_stream(server):
    upstream = free_endpoint()
    publisher = Publisher(upstream, KEY)
    names = ("lyon.pdu1", "paris.pdu1")
    senders = [publisher.sender(name, 1.0) for name in names]
    with passing([upstream], server.endpoint, kept=["lyon"]), Listener(server.endpoint) as heard:

        def once():
            for sender in reversed(senders):
                sender.publish([Measurement(sender.wattmeter, watts=1.0)], time.time(), 0.0)
            return len(heard.received) > 3

        eventually(once)
        publisher.close()
    assert {message.wattmeter for message in heard.received} == {"lyon.pdu1"}


def test_a_bridge_whose_server_is_away_stores_it_all_after_a_restart(server, tmp_path):
    upstream = free_endpoint()
    publisher = Publisher(upstream, KEY)
    sender = publisher.sender("lyon.pdu1", 1.0)

    @contextmanager
    def bridging():
        with ExitStack() as opened:
            spool = Spool(tmp_path / "spool", max_bytes=16 << 20, max_age=3600.0)
            opened.enter_context(running(spool.run))
            opened.enter_context(passing([upstream], server.endpoint, keep=spool.hand, spool=spool))
            yield spool

    with bridging() as spool:
        publish_until(sender, lambda: server.info().state.messages)
        server.kill()
        before = spool.kept
        for _ in range(50):
            sender.publish([Measurement("a", watts=1.0)], time.time(), 0.0)
        eventually(lambda: spool.kept >= before + 50)
    server.start()
    with bridging():
        publish_until(sender, lambda: server.info().state.messages > 55)
        publisher.close()
    stored = seqs(frame for _, frame in server.stored())
    assert stored[:51] == list(range(stored[0], stored[0] + 51))


def test_a_bridge_from_nats_goes_on_where_it_was_and_its_spool_has_no_hole(server, tmp_path):
    downstream = free_endpoint()

    @contextmanager
    def bridging():
        with ExitStack() as opened:
            spool = Spool(tmp_path / "spool", max_bytes=16 << 20, max_age=3600.0)
            opened.enter_context(running(spool.run))
            opened.enter_context(passing([server.endpoint], downstream, keep=spool.hand, spool=spool))
            yield spool

    with Connected(server.endpoint) as source:
        with bridging():
            eventually(server.consumers)
            for seq in range(10):
                source.send(frame(seq=seq))
            eventually(lambda: load(tmp_path / "spool" / FILE_NAME))
        for seq in range(10, 300):
            source.send(frame(seq=seq))
    with bridging() as spool:
        eventually(lambda: spool.kept >= 290)
        reader = Reader(spool.directory)
        eventually(lambda: len(reader.frames(b"lyon.pdu1.", 1, 0, 999, 1 << 20)) == 300)
        reader.close()


def test_marks_of_before_stay_until_there_are_newer_ones(server, tmp_path):
    """Or one that is killed twice would begin with what is stored from then on."""
    spool = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0)
    path, mark = tmp_path / "spool" / FILE_NAME, Mark(created(server.info()), 0, time.time())
    save(path, {"0 kwapi.>": mark})
    before = path.stat().st_ino
    with running(spool.run), passing([server.endpoint], free_endpoint(), keep=spool.hand, spool=spool):
        eventually(lambda: path.stat().st_ino != before)
        assert load(path) == {"0 kwapi.>": mark}


def test_marks_that_are_damaged_are_told(tmp_path, caplog):
    path = tmp_path / FILE_NAME
    assert load(path) == {}
    assert caplog.text == ""
    path.write_text("[]")
    assert load(path) == {}
    assert "cannot be used" in caplog.text

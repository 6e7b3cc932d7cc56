"""Who is let in, and what a wire shows, over real sockets."""

import logging
import os
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import msgspec
import pytest
import zmq

from kwapi.bus import Publisher, Subscriber
from kwapi.connections import FAILED, REFUSED
from kwapi.errors import ConfigError
from kwapi.gate import Gate
from kwapi.measurement import Measurement
from kwapi.proxy import Passage, Proxy
from kwapi.replay import Service
from kwapi.signing import KeyRing
from kwapi.sockets import open_socket
from kwapi.spool.store import Spool
from kwapi.streams import Streams
from kwapi.transport import Transport
from tests.certificates import Keys, Tap
from tests.messages import KEY
from tests.ports import free_endpoint
from tests.replaying import LossyGate
from tests.threads import running
from tests.waiting import eventually


@contextmanager
def context_of_links():
    """As zmq.Context, which at its end closes the sockets of other threads too."""
    context = zmq.Context()
    try:
        yield context
    finally:
        context.term()


def port_of(endpoint):
    return int(endpoint.rpartition(":")[2])


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


class Site:
    """A publisher with a spool, listening encrypted or not; what is opened here is closed at the end."""

    def __init__(self, directory, transport):
        self.bus, self.replay = free_endpoint(), free_endpoint()
        self.closing = ExitStack()
        self.spool = Spool(directory / "spool", max_bytes=16 << 20, max_age=3600.0)
        self.closing.enter_context(running(self.spool.run))
        self.service = Service(self.replay, directory / "spool", transport=transport)
        self.closing.enter_context(running(self.service.run))
        self.publisher = Publisher(self.bus, KEY, keep=self.spool.hand_numbered, transport=transport)
        self.closing.callback(self.publisher.close)
        self.sender = self.publisher.sender("lyon.pdu1", 1.0)

    def publish(self):
        self.sender.publish([Measurement("taurus-1", watts=118.0)], time.time(), time.monotonic())


class Plugin:
    """A subscriber that runs until the end of the site."""

    def __init__(self, site, endpoint, transport, spools=(), gate=Gate):
        self.taken = []
        self.streams = Streams(spools=len(spools))
        self.gate = gate(KeyRing([KEY]), streams=self.streams)
        subscriber = Subscriber([endpoint], [], self.gate, spools=spools, transport=transport)
        site.closing.enter_context(running(lambda stop: subscriber.run(stop, self.taken.append)))

    def hears(self, site):
        before = len(self.taken)
        eventually(lambda: site.publish() or len(self.taken) > before)


@pytest.fixture
def opened(tmp_path):
    with ExitStack() as stack:

        def new(transport):
            site = Site(tmp_path, transport)
            stack.callback(site.closing.close)
            return site

        yield new


def forward(site, upstream, transport):
    """Run a forwarder; return where it listens."""
    downstream, bound = free_endpoint(), threading.Event()
    proxy = Proxy(Passage([upstream], downstream, transport=transport))
    thread = threading.Thread(target=proxy.run, args=(bound.set,), daemon=True)
    thread.start()
    site.closing.callback(thread.join, 5)
    site.closing.callback(proxy.stop)
    assert bound.wait(5)
    return downstream


def test_from_drivers_by_a_forwarder_to_a_plugin_with_repair_and_a_wire_shows_nothing(keys, opened):
    keys.allow("forwarder")
    keys.allow("plugin")
    drivers, forwarder, plugin = (keys.transport(name) for name in ("drivers", "forwarder", "plugin"))
    site = opened(drivers)
    first, spool = (site.closing.enter_context(Tap(port_of(each))) for each in (site.bus, site.replay))
    for endpoint in (first.endpoint, spool.endpoint):
        keys.trust(endpoint, "drivers")
    second = site.closing.enter_context(Tap(port_of(forward(site, first.endpoint, forwarder))))
    keys.trust(second.endpoint, "forwarder")
    heard = Plugin(site, second.endpoint, plugin, [spool.endpoint], LossyGate)
    eventually(lambda: heard.streams.is_helped)
    eventually(lambda: site.publish() or len(heard.taken) > 100)
    eventually(lambda: heard.streams.behind() == 0)
    got = [message.seq for message in heard.taken]
    assert got == list(range(got[0], got[0] + len(got)))
    assert heard.streams.accounts()[b"lyon.pdu1."].repaired > 30
    for tap in (first, second, spool):
        assert len(tap.seen) > 5000
        for secret in (b"lyon", b"pdu1", b"taurus", b"measurement", KEY.id):
            assert secret not in tap.seen
    assert [drivers.failures, forwarder.failures, plugin.failures] == [{}, {}, {}]


def test_the_same_wire_unencrypted_shows_all(tmp_path, opened):
    """Or the test above would prove nothing."""
    site = opened(Transport())
    tap = site.closing.enter_context(Tap(port_of(site.bus)))
    Plugin(site, tap.endpoint, Transport()).hears(site)
    assert b"lyon.pdu1" in tap.seen
    assert b"taurus-1" in tap.seen


def test_who_is_not_allowed_hears_nothing_is_counted_and_told_once_and_let_in_without_a_restart(keys, opened, caplog):
    keys.allow("friend")
    drivers, stranger, friend = (keys.transport(name) for name in ("drivers", "stranger", "friend"))
    site = opened(drivers)
    keys.trust(site.bus, "drivers")
    outside, inside = Plugin(site, site.bus, stranger), Plugin(site, site.bus, friend)
    eventually(lambda: site.publish() or (inside.taken and drivers.failures[REFUSED] and stranger.failures[REFUSED]))
    assert outside.taken == []
    keys.allow("stranger")
    outside.hears(site)
    assert outside.gate.lost == 0
    text = caplog.text
    assert text.count(f"cannot connect to {site.bus}: it refuses our key; copy stranger.key into its curve_") == 1
    assert text.count(f"is refused at {site.bus}: its public key {stranger.certificate.public.decode()} is in no") == 1


def test_who_is_removed_is_cut_off_and_the_others_go_on(keys, opened, caplog):
    caplog.set_level(logging.INFO)
    for name in ("leaver", "friend"):
        keys.allow(name)
    drivers, leaver, friend = (keys.transport(name) for name in ("drivers", "leaver", "friend"))
    site = opened(drivers)
    for endpoint in (site.bus, site.replay):
        keys.trust(endpoint, "drivers")
    one, other = (Plugin(site, site.bus, each, [site.replay]) for each in (leaver, friend))
    eventually(lambda: one.streams.is_helped and other.streams.is_helped)
    one.hears(site)
    other.hears(site)
    keys.refuse("leaver")
    eventually(lambda: leaver.failures[REFUSED] > 1)  # of the bus and of the spool
    count = len(one.taken)
    for _ in range(5):
        other.hears(site)
    assert len(one.taken) == count
    assert f"2 connections to {site.bus} ended" in caplog.text
    eventually(lambda: other.streams.behind() == 0)
    got = [message.seq for message in other.taken]
    assert got == list(range(got[0], got[0] + len(got)))


def test_a_forwarder_that_was_refused_goes_on_when_it_is_let_in(keys, opened):
    keys.allow("plugin")
    drivers, forwarder, plugin = (keys.transport(name) for name in ("drivers", "forwarder", "plugin"))
    site = opened(drivers)
    keys.trust(site.bus, "drivers")
    downstream = forward(site, site.bus, forwarder)
    keys.trust(downstream, "forwarder")
    heard = Plugin(site, downstream, plugin)
    eventually(lambda: site.publish() or forwarder.failures[REFUSED])
    keys.allow("forwarder")
    heard.hears(site)


def test_a_wrong_key_of_the_server_is_told_on_both_sides(keys, opened, caplog):
    keys.allow("plugin")
    drivers, plugin = (keys.transport(name) for name in ("drivers", "plugin"))
    site = opened(drivers)
    keys.trust(site.bus, "plugin")
    heard = Plugin(site, site.bus, plugin)
    eventually(lambda: site.publish() or (plugin.failures[FAILED] > 1 and drivers.failures[FAILED] > 1))
    assert heard.taken == []
    assert caplog.text.count("or the key in curve_servers_dir is not its public key") == 1
    assert caplog.text.count("or has another key for us than drivers.key") == 1


@pytest.mark.parametrize("listener_encrypts", [True, False])
def test_where_one_side_only_encrypts_nothing_passes_and_both_tell(keys, opened, caplog, listener_encrypts):
    keys.allow("somebody")
    encrypted = keys.transport("somebody")
    plain = Transport()
    site = opened(encrypted if listener_encrypts else plain)
    keys.trust(site.bus, "somebody")
    heard = Plugin(site, site.bus, plain if listener_encrypts else encrypted)
    eventually(lambda: site.publish() or (plain.failures[FAILED] and encrypted.failures[FAILED]))
    assert heard.taken == []
    if listener_encrypts:
        here, there = "it encrypts; set curve_key_file here", "it does not encrypt, or has another key for us than some"
    else:
        here, there = "it does not encrypt, or the key in curve", "it encrypts, and curve_key_file is not set here"
    eventually(lambda: f"cannot connect to {site.bus}: {here}" in caplog.text)
    eventually(lambda: f"a connection to {site.bus} failed: {there}" in caplog.text)


def test_who_was_given_up_by_zeromq_is_connected_again(tmp_path):
    """A server without CURVE, where one with it comes later: libzmq never tries again."""
    keys = Keys(tmp_path)
    plugin, endpoint = keys.transport("plugin"), free_endpoint()
    keys.trust(endpoint, "plugin")
    with context_of_links() as context:
        socket = open_socket(context, zmq.SUB)
        socket.subscribe(b"")
        link = plugin.connect(socket, [endpoint])
        with zmq.Context() as others, others.socket(zmq.PUB) as plain:
            plain.bind(endpoint)
            eventually(lambda: plugin.failures[FAILED])
        publisher = Publisher(endpoint, KEY, transport=plugin)
        sender = publisher.sender("lyon.pdu1", 1.0)

        def is_heard():
            link.mend()
            sender.publish([Measurement("taurus-1", watts=118.0)], time.time(), time.monotonic())
            return socket.poll(0)

        try:
            eventually(is_heard)
        finally:
            socket.close(linger=0)
            publisher.close()


def test_the_daemons_own_key_is_let_in_and_its_server_key_is_its_own(keys, opened):
    drivers = keys.transport("drivers")
    site = opened(drivers)
    Plugin(site, site.bus, drivers.towards_itself()).hears(site)


def test_without_the_key_of_a_server_nobody_connects(keys):
    transport = keys.transport("plugin")
    with pytest.raises(ConfigError, match=r"servers/10\.0\.0\.1\.key.*copy the public key of tcp://10\.0\.0\.1:5556"):
        transport.server_key("tcp://10.0.0.1:5556")
    keys.trust("tcp://10.0.0.1", "plugin")
    assert transport.server_key("tcp://10.0.0.1:5556") == transport.certificate.public
    keys.make("other")
    keys.trust("tcp://10.0.0.1:5556", "other")
    assert transport.server_key("tcp://10.0.0.1:5556") != transport.certificate.public
    (keys.directory / "servers" / "10.0.0.1:5556.key").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1:5556\.key: it has no public-key"):
        transport.server_key("tcp://10.0.0.1:5556")


def test_an_encrypted_endpoint_that_is_taken_is_a_mistake(keys):
    transport = keys.transport("drivers")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen"):
        Publisher(f"tcp://127.0.0.1:{taken.getsockname()[1]}", KEY, transport=transport)


def test_a_client_may_have_any_name_that_a_file_can_have(keys, opened):
    keys.allow("odd")
    place = keys.directory / "clients" / "odd.key"
    place.rename(place.with_name(os.fsdecode(b"\xff\xfe " + b"\xc3\xa9" * 120 + b".key")))
    drivers, odd = (keys.transport(name) for name in ("drivers", "odd"))
    site = opened(drivers)
    for endpoint in (site.bus, site.replay):
        keys.trust(endpoint, "drivers")
    heard = Plugin(site, site.bus, odd, [site.replay])
    eventually(lambda: heard.streams.is_helped)
    heard.hears(site)


def test_unix_sockets_are_not_encrypted_and_need_no_key(keys, tmp_path):
    endpoint, transport = f"ipc://{tmp_path}/bus", keys.transport("drivers")
    publisher, taken = Publisher(endpoint, KEY, transport=transport), []
    subscriber = Subscriber([endpoint], [], Gate(KeyRing([KEY])))
    sender = publisher.sender("lyon.pdu1", 1.0)
    with running(lambda stop: subscriber.run(stop, taken.append)):
        eventually(
            lambda: sender.publish([Measurement("a", watts=1.0)], time.time(), time.monotonic()) and len(taken) > 2
        )
    publisher.close()


def test_a_greedy_client_of_a_spool_keeps_no_other_waiting_and_is_counted_by_name(keys, opened):
    """It asks more than is answered, takes no answers, and what it asks is partly nonsense."""
    for name in ("greedy", "modest"):
        keys.allow(name)
    drivers, greedy, modest = (keys.transport(name) for name in ("drivers", "greedy", "modest"))
    site = opened(drivers)
    keys.trust(site.replay, "drivers")
    question = msgspec.msgpack.encode({"type": "runs", "prefix": b"", "timestamp": 0.0})
    with context_of_links() as context:
        asking = [open_socket(context, zmq.DEALER) for _ in range(4)]
        for each, transport in zip(asking, (greedy, greedy, greedy, modest), strict=True):
            transport.connect(each, [site.replay])
        for number in range(2000):
            for each in asking[:3]:
                each.send_multipart([b"%08d" % number, question if number % 2 else b"nonsense"])
        eventually(lambda: site.service.refused["greedy"] > 500)
        for number in range(20):
            asking[3].send_multipart([b"%08d" % number, question])
            assert asking[3].poll(10_000)
            assert asking[3].recv_multipart()[0] == b"%08d" % number
        for each in asking:
            each.close(linger=0)
    assert site.service.refused.keys() == {"greedy"}

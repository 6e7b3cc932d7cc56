"""Signing keys are replaced while messages flow, over real sockets and through a forwarder."""

import shutil
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import zmq

from kwapi.bus import Publisher, Subscriber
from kwapi.errors import NoKey
from kwapi.gate import Gate
from kwapi.health import encode_health, health_topic
from kwapi.keys import KeyFile, add_key, stamp_of
from kwapi.measurement import Measurement, decode, encode
from kwapi.proxy import Passage, Proxy
from kwapi.replay import Service
from kwapi.signing import KeyRing, key_from, sign, split, written
from kwapi.spool.store import Spool
from kwapi.streams import Streams
from tests.clock import Clock
from tests.messages import frame, health, message
from tests.ports import free_endpoint
from tests.threads import running
from tests.waiting import eventually

WATTMETERS = ("lyon.pdu1", "lyon.pdu2", "paris.pdu1")


class Site:
    """Drivers, a forwarder that keeps what passes, and plugins, each side with its own file of keys and one clock."""

    def __init__(self, directory):
        self.clock = Clock()
        self.drivers_file, self.plugins_file = directory / "drivers.key", directory / "plugins.key"
        self.frames = []  # as they were sent
        self._replay = f"ipc://{directory}/replay"
        self._bus, forwarded = f"ipc://{directory}/bus", free_endpoint()
        self._forwarded = forwarded
        add_key(self.drivers_file)
        shutil.copy(self.drivers_file, self.plugins_file)
        self._closing = ExitStack()
        # Its own clock is the real one, by which all of this is in the future.
        self.spool = Spool(directory / "spool", max_bytes=64 << 20, max_age=1e9)
        self._closing.enter_context(running(self.spool.run))
        self._closing.enter_context(running(Service(self._replay, directory / "spool").run))
        self.publisher = Publisher(self._bus, KeyFile(self.drivers_file, clock=self.clock), keep=self._note)
        self._closing.callback(self.publisher.close)
        proxy, bound = Proxy(Passage([self._bus], forwarded, keep=self.spool.hand)), threading.Event()
        threads = [threading.Thread(target=run, daemon=True) for run in (lambda: proxy.run(bound.set), proxy.capture)]
        for thread in threads:
            thread.start()
        self._closing.callback(lambda: [thread.join(5) for thread in threads])
        self._closing.callback(proxy.stop)
        assert bound.wait(5)
        self._senders = [self.publisher.sender(name, 1.0) for name in WATTMETERS]

    def _note(self, *numbers_and_frame):
        self.frames.append(numbers_and_frame[-1])

    def publish(self, seconds=1):
        """Let so many seconds pass, in each of which every wattmeter is measured twice."""
        for _ in range(2 * seconds):
            self.clock.now += 0.5
            for sender in self._senders:
                sender.publish([Measurement(f"{sender.wattmeter}-1", watts=1.0)], self.clock.now, self.clock.now)

    def copy(self):
        """Copy the file of the plugins to the drivers."""
        new = self.drivers_file.with_suffix(".new")
        shutil.copy(self.plugins_file, new)
        new.replace(self.drivers_file)

    def signed_by(self):
        return {split(each)[1] for each in self.frames}

    def sent(self, wattmeter):
        """Return the seq of each message of a wattmeter so far."""
        return [decode(split(each)[2]).seq for each in self.frames if each.startswith(f"{wattmeter}.\0".encode())]

    def close(self):
        self._closing.close()

    @contextmanager
    def plugin(self, positions=None):
        """Have a plugin listen, and yield it once it hears all."""
        plugin = Plugin(self.plugins_file, self.clock, positions, self._forwarded, self._replay)
        with running(plugin.run):
            eventually(lambda: self.publish() or plugin.hears_all())
            yield plugin


class Plugin:
    def __init__(self, path, clock, positions, endpoint, replay):
        self.taken = []
        self.streams = Streams(positions, spools=1)
        self.gate = Gate(KeyFile(path, clock=clock), streams=self.streams, clock=clock)
        self._subscriber = Subscriber([endpoint], [], self.gate, spools=[replay])

    def run(self, stop):
        self._subscriber.run(stop, self.taken.append)

    def hears_all(self):
        return self.streams.is_helped and {each.wattmeter for each in self.taken} == set(WATTMETERS)

    def has_all(self, site):
        """Return whether it has taken the last message of each wattmeter."""
        last = {each.wattmeter: each.seq for each in self.taken}
        return all(site.publisher._lines[f"{name}.".encode()].next == last.get(name, -1) + 1 for name in WATTMETERS)

    def is_whole(self, site):
        """Return whether it has taken all that was sent of each wattmeter from the first it heard on, nothing twice."""
        taken = {name: [each.seq for each in self.taken if each.wattmeter == name] for name in WATTMETERS}
        return all(seqs == site.sent(name)[seqs[0] :] for name, seqs in taken.items())


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def rotate(site, *plugins):
    """Do what docs/keys.md says, and return the key that is new."""
    new = add_key(site.plugins_file, f"from={written(site.clock.now + 60)}")
    for step in (lambda: None, site.copy, lambda: None):
        for _ in range(10):
            site.publish(10)
            eventually(lambda: all(plugin.has_all(site) for plugin in plugins))
        step()
    assert split(site.frames[-1])[1] == new.id
    return new


def test_a_rotation_under_load_loses_nothing(site):
    first = site.publisher._keys.newest(b"x.", 0.0)
    with site.plugin() as plugin:
        new = rotate(site, plugin)
        newest = rotate(site, plugin)
        site.plugins_file.write_text(site.plugins_file.read_text().splitlines()[-1])
        site.copy()
        site.publish(10)
        eventually(lambda: plugin.has_all(site))
    assert site.signed_by() == {first.id, new.id, newest.id}
    assert plugin.is_whole(site) and len(plugin.taken) > 3500
    assert (plugin.gate.lost, plugin.gate.rejected) == (0, {})


def test_what_was_signed_before_a_rotation_is_got_from_the_spool_after_it(site):
    with site.plugin() as before:
        eventually(lambda: before.has_all(site))
    rotate(site)
    old, new = site.plugins_file.read_text().splitlines()
    site.plugins_file.write_text(f"{old} until={written(site.clock.now)}\n{new}\n")
    site.copy()
    site.clock.now += 3600
    with site.plugin(before.streams.positions()) as after:
        eventually(lambda: after.has_all(site))
    after.taken = before.taken + after.taken
    assert after.is_whole(site)
    assert after.gate.lost == 0
    assert after.streams.accounts()[b"paris.pdu1."].repaired > 500


def test_a_plugin_that_gets_the_key_too_late_gets_the_messages_all_the_same(site):
    with site.plugin() as plugin:
        new = add_key(site.drivers_file, f"from={written(site.clock.now)}")
        eventually(lambda: site.publish() or plugin.gate.rejected["unknown key"] > 20)
        shutil.copy(site.drivers_file, site.plugins_file)
        count = len(plugin.taken)
        eventually(lambda: site.publish() or len(plugin.taken) > count)
        eventually(lambda: plugin.has_all(site))
    assert new.id in site.signed_by()
    assert plugin.is_whole(site)
    assert plugin.gate.lost == 0


def test_what_no_key_may_sign_counts_as_lost_and_it_resumes_by_itself(site):
    with site.plugin() as plugin:
        eventually(lambda: plugin.has_all(site))
        secret = site.drivers_file.read_text().strip()
        site.drivers_file.write_text(f"{secret} until={written(site.clock.now + 10)}")
        site.clock.now += 2
        with pytest.raises(NoKey, match="its last signing key has ended at 2027"):
            site.publish(20)
        count = len(site.frames)
        for _ in range(6):
            with pytest.raises(NoKey):
                site.publish()
        site.publisher.tell(health(timestamp=site.clock.now))  # is not told either, and no fault
        assert len(site.frames) == count
        site.drivers_file.write_text(secret)
        site.clock.now += 1
        site.publish(2)
        eventually(lambda: plugin.has_all(site))
    assert plugin.gate.lost == 7  # of the first wattmeter, whose turn it always was
    assert plugin.gate.rejected == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [("{secret} until=2027-01-15T07:00:00Z", "key not valid"), ("{another}", "unknown key")],
    ids=["ended", "taken out"],
)
def test_a_key_that_is_revoked_is_not_believed_from_the_next_second_on(site, line, reason):
    with site.plugin() as plugin:
        eventually(lambda: plugin.has_all(site))
        line = line.format(
            secret=site.plugins_file.read_text().strip(), another="quite another secret".replace(" ", "-")
        )
        site.plugins_file.write_text(line)
        site.clock.now += 1
        eventually(lambda: plugin.gate._keys._stamp == stamp_of(site.plugins_file.stat()))
        count = len(plugin.taken)
        site.publish(5)
        eventually(lambda: plugin.gate.rejected[reason] == 10 * len(WATTMETERS))
    assert len(plugin.taken) == count
    assert set(plugin.gate.rejected) == {reason}


LYON, PARIS, OLD, STRANGE = (
    key_from(f"the signing key that is {name}".encode()) for name in ("Lyon's", "Paris'", "old", "a stranger's")
)


def test_what_is_forged_is_refused_behind_a_forwarder_and_counted():
    clock = Clock()
    keys = [replace(LYON, prefixes=(b"lyon.",)), replace(PARIS, prefixes=(b"paris.",))]
    keys.append(replace(OLD, ends=clock.now - 3600))  # revoked
    genuine = frame(PARIS, wattmeter="paris.pdu1", seq=5, timestamp=clock.now)
    inside = message(wattmeter="paris.pdu1", seq=6, timestamp=clock.now)
    forged = {
        "unknown key": frame(STRANGE, wattmeter="paris.pdu1", seq=6, timestamp=clock.now),
        "bad signature": genuine.replace(b"paris.pdu1.\0", b"lyon.pdu1.\0", 1),  # under another topic
        "wrong topic": sign(LYON, b"lyon.pdu1.", encode(inside)),
        "key not allowed": sign(LYON, b"paris.pdu1.", encode(inside)),
        "key not valid": sign(OLD, b"paris.pdu1.", encode(inside)),
        "too old": frame(OLD, wattmeter="paris.pdu1", seq=6, timestamp=clock.now - 3601),
        "seen before": genuine,
    }
    said = health(wattmeter="paris.pdu1", timestamp=clock.now)
    unhealthy = sign(LYON, health_topic("paris.pdu1"), encode_health(said))
    upstream, downstream, context = free_endpoint(), free_endpoint(), zmq.Context()
    proxy, bound = Proxy(Passage([upstream], downstream)), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(bound.set,), daemon=True)
    thread.start()
    assert bound.wait(5)
    intruder = context.socket(zmq.PUB)
    intruder.bind(upstream)
    taken, healths, gate = [], [], Gate(KeyRing(keys), health=True, clock=clock)
    try:
        with running(lambda stop: Subscriber([downstream], [], gate).run(stop, taken.append, healths.append)):
            eventually(lambda: intruder.send(genuine) or taken)
            for each in (*forged.values(), unhealthy):
                intruder.send(each)
            last = frame(PARIS, wattmeter="paris.pdu1", seq=6, timestamp=clock.now)
            intruder.send(last)
            eventually(lambda: len(taken) == 2)
    finally:
        intruder.close(linger=0)
        context.term()
        proxy.stop()
        thread.join(5)
    del gate.rejected["seen before"]  # sent until it was heard
    del forged["seen before"]
    assert gate.rejected == dict.fromkeys(forged, 1) | {"key not allowed": 2}
    assert [each.seq for each in taken] == [5, 6]
    assert (healths, gate.lost) == ([], 0)

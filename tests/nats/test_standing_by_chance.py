"""Two bridges that each miss some and store the rest in an order of their own, a spool that answers now and then, and a
plugin that is killed and goes on from what it saved a while ago; by chance. No server."""

import random

import pytest

from kwapi.nats.held import Held, Waiter
from kwapi.stream import Answer, Mark, Verdict
from kwapi.streams import Standing, Streams
from tests.clock import Clock

KEY = "0 kwapi.>"
TOPICS, BOOTS, MESSAGES = [b"lyon.a.", b"lyon.b.", b"paris."], 4, 12


class Plugin:
    """What a Subscriber makes of a stream."""

    def __init__(self, standing, clock):
        parts = [{topic: place[part] for topic, place in standing.topics.items()} for part in range(3)]
        self.streams = Streams(*parts, spools=1, resumes=True, wait=1e9, clock=clock)
        self.streams.heard_of_spool(0)
        self.held = Held()
        self.read = standing.marks[KEY].seq
        self.given = []

    def go_on(self, log, most):
        """Take what waits, and then so many of the stream."""
        for early in self.held.due(1000, self.streams.is_behind):
            self._meet(early.frame)
        for frame in log[self.read : self.read + most]:
            self.read += 1
            if self._meet(frame) is Verdict.LATER:
                self.held.add(Waiter(frame, KEY, Mark("", self.read, 0.0)))

    def ask(self, kept):
        """Have the spool answer, which has everything."""
        for ask in self.streams.asks():
            end = kept[ask.topic][ask.boot]
            last = end if ask.last is None else min(ask.last, end)
            frames = range(ask.first, min(last, ask.first + 2) + 1)
            for seq in frames:
                assert self.streams.repair(ask, seq)
                self.given.append((ask.topic, ask.boot, seq))
            has = ask.first + len(frames)
            self.streams.answer(ask, Answer(has if has <= end else None, end, tuple(kept[ask.topic])))

    def standing(self):
        marks = {KEY: Mark("", self.read, 0.0)} | self.held.begins()
        return Standing(self.streams.exact(), marks)

    def _meet(self, frame):
        topic, _, rest = frame.partition(b"\0")
        boot, seq = map(int, rest.split())
        verdict = self.streams.meet(topic, boot, seq, is_stored=True)
        if verdict is Verdict.TAKE:
            self.given.append((topic, boot, seq))
        return verdict


def stored(chance):
    """Return the frames of a stream in the order in which two bridges have stored them, each but once."""
    sent = [(topic, boot, seq) for boot in range(1, BOOTS + 1) for seq in range(MESSAGES) for topic in TOPICS]
    heard = [[each for each in sent if chance.random() < 0.8 or each[1:] == (1, 0)] for _ in range(2)]
    log, places = [], [0, 0]
    while any(place < len(some) for place, some in zip(places, heard, strict=True)):
        one = chance.randrange(2)
        for each in heard[one][places[one] : places[one] + chance.randrange(20)]:
            places[one] += 1
            frame = b"%s\0%d %d" % each
            if frame not in log:
                log.append(frame)
    log += [b"%s\0%d %d" % (topic, BOOTS, MESSAGES) for topic in TOPICS]  # something comes after what they missed
    return log


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_each_message_is_given_in_order_and_counted_once(seed):
    chance, clock = random.Random(seed), Clock(100.0)
    log = stored(chance)
    kept = {topic: {boot: MESSAGES - 1 + (boot == BOOTS) for boot in range(1, BOOTS + 1)} for topic in TOPICS}
    saved = Standing({}, {KEY: Mark("", 0, 0.0)})
    lives = [Plugin(saved, clock)]
    while lives[-1].read < len(log) or lives[-1].streams.behind() or lives[-1].held.begins():
        clock.now += 0.5
        lives[-1].go_on(log, chance.randrange(12))
        if chance.random() < 0.5:
            lives[-1].ask(kept)
        if chance.random() < 0.3:
            saved = lives[-1].standing()
        if chance.random() < 0.05:
            lives.append(Plugin(saved, clock))
    every = {(topic, boot, seq) for topic in TOPICS for boot in kept[topic] for seq in range(kept[topic][boot] + 1)}
    assert {each for life in lives for each in life.given} == every
    for life in lives:
        for topic in TOPICS:
            given = [each for each in life.given if each[0] == topic]
            assert given == sorted(set(given))
    for account in lives[-1].streams.accounts().values():
        assert (account.delivered, account.lost, account.awaited) == (BOOTS * MESSAGES + 1, 0, 0)
        assert account.unknown_ends == BOOTS - 1

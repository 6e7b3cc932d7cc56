"""In which order a subscriber takes the messages of each wattmeter, and what it has to ask for again. Pure: no I/O.

A publisher numbers what it sends of a wattmeter: boot, one run of it, and seq from 0 on. The last message of a boot
says that it is, unless the publisher was killed. A stream is what a subscriber has of one topic. It is live while each
message follows the one before. When one is missing, the stream catches up: what comes live is passed over, and asked
for at the spool together with what is missing, until the answers have met what is live. So a plugin gets everything in
order, and nothing has to be kept in memory meanwhile.

A new boot means that the publisher was started again. Nobody knows then how much of the boot before was missed, so its
end is asked for first.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from kwapi.stream import MAX_BOOTS, Account, Answer, Ask, Boots, Lost, Mark, Place, Position, Stream, Verdict

MAX_GOALS = 2 * MAX_BOOTS  # two publishers of one name would add two with each message
AGAIN = 0.1  # seconds until the spool is asked again for what it did not have yet
SOON, MEETING = 0.015, 1.0  # seconds; the same while a stream comes on, and for how long it is thought to
UNHEARD = 10.0  # seconds for a spool to answer for the first time, while live messages wait for it
LAG = 5.0  # seconds until what came live, and no spool has, is lost


class Standing(NamedTuple):
    """Up to where each topic was taken; and marks of NATS, by their keys."""

    topics: Mapping[bytes, Place]
    marks: Mapping[str, Mark]

    def boots(self) -> dict[bytes, Boots]:
        """Return the boots that are known of each topic, for one whose position is this or a later one."""
        return {
            topic: boots._replace(older={**boots.older, position.boot: position.seq})
            for topic, (position, _, boots) in self.topics.items()
        }


class Streams:
    """The streams of one subscriber; for one thread, but for positions() and accounts()."""

    def __init__(
        self,
        positions: Mapping[bytes, Position] | None = None,
        accounts: Mapping[bytes, Account] | None = None,
        boots: Mapping[bytes, Boots] | None = None,
        *,
        spools: int = 0,
        resumes: bool = False,
        wait: float = 60.0,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on at saved positions, with what was known then; if what comes ``resumes`` there no spool is asked for it.

        Without spools what is missing is lost at once; with some, after so many seconds in which none of them helped;
        so also before one was heard of, unless there are positions of a time with spools. A spool may tell of topics
        until there are ``most`` streams: nobody has signed its list.
        """
        self.losses: deque[Lost] = deque(maxlen=1000)  # the newest
        self._spools = spools
        self._wait = wait
        self._most = most
        self._is_heard = False  # a spool, since we began
        self._clock = clock
        self._streams = {topic: self._new(topic, *position) for topic, position in (positions or {}).items()}
        for topic, stream in self._streams.items():
            stream.go_on((accounts or {}).get(topic, Account()), (boots or {}).get(topic, Boots()))
        self._behind: dict[bytes, Stream] = {}  # those that catch up
        self._silent: dict[int, float] = {}  # spools that left the last question unanswered, and since when they do so
        self._away: set[int] = set()  # those of them that did so for the whole wait
        self._resumes = resumes
        self.is_more_to_come = False  # by itself, of what was sent long ago
        self.is_helped = bool(spools and positions)  # there is a spool that answers, or has
        if spools and not resumes:
            for stream in self._streams.values():
                self._want(stream, (stream.boot, None))

    def knows(self, topic: bytes, boot: int) -> bool:
        """Return whether messages of a boot were taken before, so that their age needs no look."""
        stream = self._streams.get(topic)
        return stream is not None and (boot == stream.boot or boot in stream.older)

    def is_known(self, topic: bytes) -> bool:
        """Return whether anything of a topic was heard of."""
        return topic in self._streams

    def may_begin(self, topic: bytes, boot: int) -> bool:
        """Return whether a boot that is new to us comes after all that we know of its topic: boots rise."""
        stream = self._streams.get(topic)
        return stream is None or boot > max((stream.boot, *stream.older))

    def is_hearsay(self, topic: bytes) -> bool:
        """Return whether only spools have told of a topic."""
        stream = self._streams.get(topic)
        return stream is not None and stream.hearsay

    def is_behind(self, topic: bytes) -> bool:
        """Return whether a topic catches up."""
        return topic in self._behind

    def meet(self, topic: bytes, boot: int, seq: int, *, is_stored: bool = False) -> Verdict:
        """Return what becomes of a message that came live, which is believed.

        One that is stored is handed to us again by who reads it, so that only what is before it is asked for.
        """
        stream = self._streams.get(topic)
        if stream is None:
            self._streams[topic] = stream = self._new(topic, boot, seq)
        stream.hearsay = False
        due = stream.due(boot)
        if due is not None and seq < due:
            stream.duplicates += 1
            return Verdict.SEEN
        speaks_on = due is not None and boot != stream.boot  # though it was thought ended
        if not speaks_on and (stream.goals or boot != stream.boot or seq != stream.next):
            if (is_stored and stream.goals) or not self._miss(stream, boot, seq - is_stored):
                return Verdict.LATER
            stream.lose(seq - 1)
        stream.take(boot, seq)
        return Verdict.TAKE

    def told(self, topic: bytes, boot: int, last: int) -> None:
        """Take note that a boot's last message so far has that seq: we may have missed the newest."""
        stream = self._streams.get(topic)
        if stream is None or boot in stream.older or (boot == stream.boot and last < stream.next):
            return
        if self._resumes and (self.is_more_to_come or stream.goals or not self._is_heard):
            return  # it is still to come, unless a spool says that it is missing
        if stream.newest is not None and (boot != stream.newest[0] or last <= stream.newest[1]):
            return
        if self._miss(stream, boot, last):
            stream.lose(last)

    def end(self, topic: bytes, boot: int) -> None:
        """Take note that the message of a boot that was just taken is its last."""
        stream = self._streams.get(topic)
        if stream is not None and stream.due(boot) is not None:
            stream.end(boot)

    def refuse(self, topic: bytes) -> None:
        """Take note that a message came that is none: what will seem to be missing was refused."""
        if (stream := self._streams.get(topic)) is not None:
            stream.refused += 1

    def asks(self) -> Iterator[Ask]:
        """Yield what is to be asked for now, one thing of each topic; what nobody could help with in time is lost."""
        now = self._clock()
        for topic, stream in list(self._behind.items()):
            wait = self._wait if self._is_heard or stream.newest is None else min(self._wait, UNHEARD)
            waits_since = stream.waits_since if self._is_heard else stream.moved_at
            if stream.asked is not None and waits_since is not None and now - waits_since > wait:
                self._give_up(stream)
            elif stream.asked is None and not (helpers := self._helpers(stream)):
                self._settle(stream, list(stream.lacking.values()))
            elif stream.asked is None and now >= stream.ask_at:
                stream.asked, stream.asked_at = helpers[0], now
                if stream.waits_since is None:  # not before: of many that catch up one may be asked for late
                    stream.waits_since = now
                stream.widen(now)
                boot, last = stream.goals[0]
                yield Ask(topic, boot, stream.next, last, stream.asked)

    def repair(self, ask: Ask, seq: int) -> bool:
        """Return whether a message of an answer, which is believed, is the next to be taken."""
        stream = self._waiting(ask)
        if stream is None or seq != stream.next:
            return False
        stream.take(ask.boot, seq)
        stream.repaired += 1
        stream.lacking.clear()
        stream.in_vain = False
        stream.inserted = 0
        stream.moved_at = self._clock()
        return True

    def answer(self, ask: Ask, answer: Answer) -> None:
        """Take note of a spool's answer, after its messages."""
        self.heard_of_spool(ask.spool)
        stream = self._waiting(ask)
        if stream is None:
            return
        stream.asked = stream.waits_since = None
        stream.refused = max(stream.refused, answer.refused)
        _, last = stream.goals[0]
        if last is not None and stream.next > last:
            self._reach(stream)
        elif answer.has != stream.next:
            stream.lacking[ask.spool] = answer._replace(asked_at=stream.asked_at)
            if not self._helpers(stream):
                self._settle(stream, list(stream.lacking.values()))

    def heard_of_spool(self, spool: int) -> None:
        """Take note that a spool answers."""
        self.is_helped = self._is_heard = True
        self._silent.pop(spool, None)
        self._away.discard(spool)

    def unanswered(self, ask: Ask) -> None:
        """Take note that there was no answer: another spool is asked, or the same one again.

        Once all of them are away nothing waits for them: what is missing is lost, and live goes on.
        """
        now = self._clock()
        self._silent[ask.spool] = since = self._silent.pop(ask.spool, now)  # the last to be asked
        if now - since > self._wait:
            self._away.add(ask.spool)
        stream = self._waiting(ask)
        if stream is not None:
            stream.asked = None
            stream.ask_at = now + AGAIN
        if len(self._away) == self._spools:
            for behind in list(self._behind.values()):
                self._give_up(behind)

    def discover(self, topic: bytes, boot: int, seq: int) -> None:
        """Take note that a spool has a boot from a seq on, of which perhaps nothing was heard live."""
        stream = self._streams.get(topic)
        if stream is None:
            if len(self._streams) >= self._most:
                return
            self._streams[topic] = stream = self._new(topic, boot, seq)
            stream.hearsay = True
        elif (
            boot <= max((stream.boot, *(goal for goal, _ in stream.goals), *stream.older))
            or len(stream.goals) >= MAX_GOALS
        ):
            return
        elif not stream.goals:
            self._want(stream, (stream.boot, None))
        self._want(stream, (boot, None))

    @property
    def can_resume(self) -> bool:
        """Whether after a restart what comes from a position on can be had."""
        return self.is_helped or self._resumes

    def exact(self) -> dict[bytes, Place]:
        """Return up to where each stream was taken; for the thread that takes them."""
        return {topic: each.place() for topic, each in self._known().items()}

    def positions(self) -> dict[bytes, Position]:
        """Return up to where each stream was taken, nothing if there is no spool that could be asked from there on."""
        if not self.can_resume:
            return {}
        return {topic: Position(stream.boot, stream.next) for topic, stream in self._known().items()}

    def standings(self) -> dict[bytes, Place]:
        """Return the same, each with what is known up to there.

        The last one may be on its way to the plugin still, and is to be asked for once more.
        """
        if not self.can_resume:
            return {}
        return {topic: stream.standing() for topic, stream in self._known().items()}

    def account(self, topic: bytes) -> Account | None:
        """Return what became of the messages of a topic, None if nothing was heard of it."""
        stream = self._streams.get(topic)
        return None if stream is None else stream.account()

    def accounts(self) -> dict[bytes, Account]:
        """Return what became of the messages of each topic."""
        return {topic: stream.account() for topic, stream in self._streams.copy().items()}

    def behind(self) -> int:
        """Return how many streams catch up."""
        return len(self._behind)

    def _known(self) -> dict[bytes, Stream]:
        """Return the streams but those of which nobody who is believed has said a word; for any thread.

        After a restart those would pass for streams of which messages were taken, however old.
        """
        streams = self._streams.copy()
        return {topic: each for topic, each in streams.items() if not each.hearsay or each.account().delivered}

    def _helpers(self, stream: Stream) -> list[int]:
        """Return the spools that may have what a stream lacks, those that answer first; one that is away may not.

        Are all of them away, each is asked: perhaps it is there again.
        """
        spools = [*(spool for spool in range(self._spools) if spool not in self._silent), *self._silent]
        present = [spool for spool in spools if spool not in self._away] or spools
        return [spool for spool in present if spool not in stream.lacking]

    def _waiting(self, ask: Ask) -> Stream | None:
        """Return the stream that waits for an answer to what was asked, None if it does so no more."""
        stream = self._behind.get(ask.topic)
        return stream if stream is not None and stream.asked == ask.spool and stream.boot == ask.boot else None

    def _new(self, topic: bytes, boot: int, seq: int) -> Stream:
        stream = Stream(topic, boot, seq, self.losses)
        stream.go_on(Account(), Boots())
        return stream

    def _miss(self, stream: Stream, boot: int, seq: int) -> bool:
        """Take note that there is something up to a message; return whether it is to be lost rather than asked for."""
        if stream.goals:
            before = stream.newest or stream.goals[-1]
            if boot != before[0] and len(stream.goals) < MAX_GOALS - 1:
                if stream.newest is not None:
                    stream.goals.append(before)
                stream.goals.append((before[0], None))
            stream.meanwhile(boot, seq)
        elif self.is_helped:
            self._fall_behind(stream, boot, seq)
        else:
            if boot != stream.boot:
                stream.begin(boot)
            return True
        return False

    def _fall_behind(self, stream: Stream, boot: int, seq: int) -> None:
        """Want everything up to a message, from the end of the boot before on."""
        ended = [(stream.boot, None)] if boot != stream.boot else []
        self._want(stream, *ended, (boot, seq))

    def _want(self, stream: Stream, *goals: tuple[int, int | None]) -> None:
        """Want more of a stream, which catches up from now on."""
        if not stream.goals:
            stream.newest = stream.asked = stream.waits_since = None
            stream.inserted = 0
            stream.lacking.clear()
            stream.ask_at = stream.moved_at = self._clock()
            self._behind[stream.topic] = stream
        stream.goals += goals

    def _settle(self, stream: Stream, answers: list[Answer]) -> None:
        """Decide what becomes of the next message, which no spool has.

        One that was asked before it was known that there is more, or just after, may have it by now: it is asked again.
        """
        _, last = stream.goals[0]
        later = [answer for answer in answers if answer.has is not None]
        known_at = min((answer.asked_at for answer in later), default=float("-inf"))
        lacking = {spool: each for spool, each in stream.lacking.items() if each.has is None}
        early = [spool for spool, each in lacking.items() if each.asked_at < known_at + (LAG if each.boots else 0.0)]
        if early:
            stream.lacking = {spool: each for spool, each in stream.lacking.items() if spool not in early}
            stream.ask_at = self._clock() + AGAIN
            return
        stream.lacking.clear()
        if later:
            has = min(answer.has for answer in later if answer.has is not None)
            stream.lose(has - 1 if last is None else min(has - 1, last))
            if last is not None and stream.next > last:
                self._reach(stream)
        elif last is None:
            stream.insert(boot for answer in answers for boot in answer.boots)
            self._reach(stream)
        elif min((answer.asked_at for answer in answers), default=self._clock()) - stream.moved_at > LAG:
            if stream.in_vain and len(stream.goals) == 1:  # or live is waited for as long as nothing is kept
                self._give_up(stream)
            else:
                stream.in_vain = True
                stream.lose(last)
                self._reach(stream)
        else:
            # It came live just now, and is not in a spool yet. Of many a second one has to be met before the next.
            now = self._clock()
            stream.ask_at = now + (SOON if now - stream.moved_at < MEETING else AGAIN)

    def _reach(self, stream: Stream) -> None:
        """Go on to the next goal; what came live meanwhile is one. Without any the stream is live."""
        _, last = stream.goals.popleft()
        stream.moved_at = self._clock()
        if last is None and stream.next == 0 and stream.older:
            stream.go_back()  # or who speaks now would be asked for no more
        while stream.goals:
            boot, last = stream.goals[0]
            if not stream.is_past(boot) or stream.lacks(boot, last):
                if stream.is_past(boot):
                    stream.goals.append((stream.boot, None))  # to come back
                if boot != stream.boot:
                    stream.begin(boot)
                if last is None or stream.next <= last:
                    return
            stream.goals.popleft()
        newest, stream.newest = stream.newest, None
        del self._behind[stream.topic]
        if newest is not None and stream.is_past(newest[0]):
            stream.lose_past(*newest)
        elif newest is not None and (newest[0] != stream.boot or newest[1] >= stream.next):
            self._fall_behind(stream, *newest)

    def _give_up(self, stream: Stream) -> None:
        """Lose what is wanted, and be live from the newest message on."""
        for boot, last in (*stream.goals, *([stream.newest] if stream.newest is not None else ())):
            if stream.is_past(boot):
                stream.lose_past(boot, last)
                continue
            if boot != stream.boot:
                stream.begin(boot)
            stream.lose(last)
        stream.newest = None
        stream.goals.clear()
        del self._behind[stream.topic]

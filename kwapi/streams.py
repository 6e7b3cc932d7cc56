"""In which order a subscriber takes the messages of each wattmeter, and what it has to ask for again. Pure: no I/O.

A publisher numbers what it sends of a wattmeter: boot, one run of it, and seq from 0 on. A stream is what a subscriber
has of one topic. It is live while each message follows the one before. When one is missing, the stream catches up: what
comes live is passed over, and asked for at the spool together with what is missing, until the answers have met what is
live. So a plugin gets everything in order, and nothing has to be kept in memory meanwhile.

A new boot means that the publisher was started again. Nobody knows then how much of the boot before was missed, so its
end is asked for first.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

LOG = logging.getLogger(__name__)

MAX_BOOTS = 16  # remembered of each topic
MAX_GOALS = 2 * MAX_BOOTS  # two publishers of one name would add two with each message
AGAIN = 0.1  # seconds until the spool is asked again for what it did not have yet
UNHEARD = 10.0  # seconds for a spool to answer for the first time, while live messages wait for it
LAG = 5.0  # seconds until what came live, and no spool has, is lost


class Verdict(Enum):
    """What becomes of a message that came live."""

    TAKE = "take"  # it is the next
    SEEN = "seen before"
    LATER = "later"  # it will be asked for, with what is missing before it


class Position(NamedTuple):
    """Up to where a stream was taken: the boot, and the seq that is next."""

    boot: int
    seq: int


class Ask(NamedTuple):
    """What is wanted of a spool, by its number: a boot's messages from the first to the last seq, or to its end."""

    topic: bytes
    boot: int
    first: int
    last: int | None
    spool: int = 0


class Lost(NamedTuple):
    """What no spool had: from the first to the last seq, both included; or an end that nobody knows."""

    topic: bytes
    boot: int
    first: int
    last: int | None


class Answer(NamedTuple):
    """What a spool says after the messages it sends: which seq it has next of the boot, and its last, None for none.

    ``boots`` are all those that it has of the topic.
    """

    has: int | None
    end: int | None
    boots: Sequence[int] = ()


@dataclass(slots=True)
class Account:
    """What became of the messages of one topic."""

    taken: int = 0
    repaired: int = 0  # of those taken
    seen: int = 0  # again
    lost: int = 0
    unknown_ends: int = 0  # boots of which nobody knows how far they came


@dataclass(slots=True)
class _Stream:
    boot: int
    next: int
    older: dict[int, int] = field(default_factory=dict)  # boots before, and the seq that would be next
    account: Account = field(default_factory=Account)
    goals: deque[tuple[int, int | None]] = field(
        default_factory=deque
    )  # boot, and its last seq wanted; none while live
    in_vain: bool = False  # what came live last was in no spool
    inserted: int = 0  # boots of which spools alone have told, since it is not live
    newest: tuple[int, int] | None = None  # boot and seq of what came live meanwhile
    asked: int | None = None  # the spool that has not answered yet
    lacking: dict[int, "Answer"] = field(default_factory=dict)  # by spool
    ask_at: float = 0.0  # when to ask
    moved_at: float = 0.0  # when it last came on
    answered_at: float = 0.0


class Streams:
    """The streams of one subscriber; for one thread, but for positions() and accounts()."""

    def __init__(
        self,
        positions: Mapping[bytes, Position] | None = None,
        *,
        spools: int = 0,
        wait: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on at saved positions. Without spools what is missing is lost at once; with some, after so many seconds in
        which none of them helped; so also before one was heard of, unless there are positions of a time with spools.
        """
        self.losses: deque[Lost] = deque(maxlen=1000)  # the newest
        self._spools = spools
        self._wait = wait
        self._is_heard = False  # a spool, since we began
        self._clock = clock
        self._streams = {topic: _Stream(*position) for topic, position in (positions or {}).items()}
        self._behind: dict[bytes, _Stream] = {}  # those that catch up
        self._silent: dict[int, float] = {}  # spools that left the last question unanswered, and since when they do so
        self._away: set[int] = set()  # those of them that did so for the whole wait
        self.is_helped = bool(spools and positions)  # there is a spool that answers, or has
        if spools:
            for topic, stream in self._streams.items():
                self._want(topic, stream, (stream.boot, None))

    def knows(self, topic: bytes, boot: int) -> bool:
        """Return whether messages of a boot were taken before, so that their age needs no look."""
        stream = self._streams.get(topic)
        return stream is not None and (boot == stream.boot or boot in stream.older)

    def meet(self, topic: bytes, boot: int, seq: int) -> Verdict:
        """Return what becomes of a message that came live, which is believed."""
        stream = self._streams.get(topic)
        if stream is None:
            self._streams[topic] = stream = _Stream(boot, seq)
        due = stream.next if boot == stream.boot else stream.older.get(boot)
        if due is not None and seq < due:
            stream.account.seen += 1
            return Verdict.SEEN
        if due is not None and boot != stream.boot:  # a boot that was thought ended speaks on
            stream.account.lost += seq - due
            stream.older[boot] = seq + 1
        elif stream.goals:
            before = stream.newest or stream.goals[-1]
            if boot != before[0] and len(stream.goals) < MAX_GOALS - 1:
                if stream.newest is not None:
                    stream.goals.append(before)
                stream.goals.append((before[0], None))
            stream.newest = boot, seq
            return Verdict.LATER
        elif boot == stream.boot and seq == stream.next:
            stream.next = seq + 1
        elif self.is_helped:
            self._fall_behind(topic, stream, boot, seq)
            return Verdict.LATER
        else:
            if boot != stream.boot:
                self._begin(stream, boot)
            self._lose(topic, stream, seq - 1)
            stream.next = seq + 1
        stream.account.taken += 1
        return Verdict.TAKE

    def asks(self) -> Iterator[Ask]:
        """Yield what is to be asked for now, one thing of each topic; what nobody could help with in time is lost."""
        now = self._clock()
        for topic, stream in list(self._behind.items()):
            wait = self._wait if self._is_heard or stream.newest is None else min(self._wait, UNHEARD)
            if stream.asked is not None and now - max(stream.moved_at, stream.answered_at) > wait:
                self._give_up(topic, stream)
            elif stream.asked is None and not (helpers := self._helpers(stream)):
                self._settle(topic, stream, list(stream.lacking.values()))
            elif stream.asked is None and now >= stream.ask_at:
                stream.asked = helpers[0]
                boot, last = stream.goals[0]
                yield Ask(topic, boot, stream.next, last, stream.asked)

    def repair(self, ask: Ask, seq: int) -> bool:
        """Return whether a message of an answer, which is believed, is the next to be taken."""
        stream = self._waiting(ask)
        if stream is None or seq != stream.next:
            return False
        stream.next = seq + 1
        stream.lacking.clear()
        stream.in_vain = False
        stream.account.taken += 1
        stream.account.repaired += 1
        stream.moved_at = self._clock()
        return True

    def answer(self, ask: Ask, answer: Answer) -> None:
        """Take note of a spool's answer, after its messages."""
        self.heard_of_spool(ask.spool)
        stream = self._waiting(ask)
        if stream is None:
            return
        stream.asked = None
        stream.answered_at = self._clock()
        _, last = stream.goals[0]
        if last is not None and stream.next > last:
            self._reach(ask.topic, stream)
        elif answer.has != stream.next:
            stream.lacking[ask.spool] = answer
            if not self._helpers(stream):
                self._settle(ask.topic, stream, list(stream.lacking.values()))

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
            for topic, behind in list(self._behind.items()):
                self._give_up(topic, behind)

    def discover(self, topic: bytes, boot: int, seq: int) -> None:
        """Take note that a spool has a boot from a seq on, of which perhaps nothing was heard live."""
        stream = self._streams.get(topic)
        if stream is None:
            self._streams[topic] = stream = _Stream(boot, seq)
        elif (
            boot <= max((stream.boot, *(goal for goal, _ in stream.goals), *stream.older))
            or len(stream.goals) >= MAX_GOALS
        ):
            return
        elif not stream.goals:
            self._want(topic, stream, (stream.boot, None))
        self._want(topic, stream, (boot, None))

    def positions(self) -> dict[bytes, Position]:
        """Return up to where each stream was taken, nothing if there is no spool that could be asked from there on."""
        if not self.is_helped:
            return {}
        return {topic: Position(stream.boot, stream.next) for topic, stream in self._streams.copy().items()}

    def accounts(self) -> dict[bytes, Account]:
        """Return what became of the messages of each topic."""
        return {topic: stream.account for topic, stream in self._streams.copy().items()}

    def behind(self) -> int:
        """Return how many streams catch up."""
        return len(self._behind)

    def _helpers(self, stream: _Stream) -> list[int]:
        """Return the spools that may have what a stream lacks, those that answer first; one that is away may not.

        Are all of them away, each is asked: perhaps it is there again.
        """
        spools = [*(spool for spool in range(self._spools) if spool not in self._silent), *self._silent]
        present = [spool for spool in spools if spool not in self._away] or spools
        return [spool for spool in present if spool not in stream.lacking]

    def _waiting(self, ask: Ask) -> _Stream | None:
        """Return the stream that waits for an answer to what was asked, None if it does so no more."""
        stream = self._behind.get(ask.topic)
        return stream if stream is not None and stream.asked == ask.spool and stream.boot == ask.boot else None

    def _fall_behind(self, topic: bytes, stream: _Stream, boot: int, seq: int) -> None:
        """Want everything up to a message, from the end of the boot before on."""
        ended = [(stream.boot, None)] if boot != stream.boot else []
        self._want(topic, stream, *ended, (boot, seq))

    def _want(self, topic: bytes, stream: _Stream, *goals: tuple[int, int | None]) -> None:
        """Want more of a stream, which catches up from now on."""
        if not stream.goals:
            stream.newest = stream.asked = None
            stream.inserted = 0
            stream.lacking.clear()
            stream.ask_at = stream.moved_at = self._clock()
            self._behind[topic] = stream
        stream.goals += goals

    def _settle(self, topic: bytes, stream: _Stream, answers: list[Answer]) -> None:
        """Decide what becomes of the next message, which no spool has."""
        stream.lacking.clear()
        _, last = stream.goals[0]
        if later := [answer.has for answer in answers if answer.has is not None]:
            has = min(later)
            self._lose(topic, stream, has - 1 if last is None else min(has - 1, last))
            if last is not None and stream.next > last:
                self._reach(topic, stream)
        elif last is None:
            if all(answer.end is None for answer in answers):
                self._lose(topic, stream, None)
            self._insert(stream, {boot for answer in answers for boot in answer.boots})
            self._reach(topic, stream)
        elif self._clock() - stream.moved_at > LAG:
            if stream.in_vain:  # or what is live would be waited for as long as nothing is kept
                self._give_up(topic, stream)
            else:
                stream.in_vain = True
                self._lose(topic, stream, last)
                self._reach(topic, stream)
        else:
            stream.ask_at = self._clock() + AGAIN  # it came live just now, and is not in a spool yet

    def _insert(self, stream: _Stream, boots: set[int]) -> None:
        """Want also the boots between this one and the next of which nothing was heard live.

        A boot is the time it began, which is good enough to tell those between, and for nothing else. Nobody has signed
        the list, so only so many are believed until the stream is live again.
        """
        ended = stream.goals.popleft()
        following = stream.goals[0] if stream.goals else stream.newest
        if following is not None:
            between = sorted(boot for boot in boots - stream.older.keys() if ended[0] < boot < following[0])
            del between[MAX_BOOTS - stream.inserted :]
            stream.inserted += len(between)
            stream.goals.extendleft((boot, None) for boot in reversed(between))
        stream.goals.appendleft(ended)

    def _reach(self, topic: bytes, stream: _Stream) -> None:
        """Go on to the next goal; what came live meanwhile is one. Without any the stream is live."""
        stream.goals.popleft()
        stream.moved_at = self._clock()
        if stream.goals:
            if stream.goals[0][0] != stream.boot:
                self._begin(stream, stream.goals[0][0])
            return
        newest, stream.newest = stream.newest, None
        del self._behind[topic]
        if (
            newest is not None
            and newest[0] not in stream.older
            and (newest[0] != stream.boot or newest[1] >= stream.next)
        ):
            self._fall_behind(topic, stream, *newest)

    def _give_up(self, topic: bytes, stream: _Stream) -> None:
        """Lose what is wanted, and be live from the newest message on."""
        for boot, last in stream.goals:
            if boot != stream.boot:
                self._begin(stream, boot)
            self._lose(topic, stream, last)
        if stream.newest is not None:
            boot, seq = stream.newest
            if boot != stream.boot:
                self._lose(topic, stream, None)
                self._begin(stream, boot)
            self._lose(topic, stream, seq)
        stream.newest = None
        stream.goals.clear()
        del self._behind[topic]

    def _begin(self, stream: _Stream, boot: int) -> None:
        """Go on with another boot: from its first message, or from where one of two publishers was left."""
        due = stream.older.pop(boot, 0)
        if len(stream.older) >= MAX_BOOTS - 1:
            del stream.older[next(iter(stream.older))]
        stream.older[stream.boot] = stream.next
        stream.boot, stream.next = boot, due

    def _lose(self, topic: bytes, stream: _Stream, last: int | None) -> None:
        """Go past what is missing up to a seq, or up to an end that nobody knows."""
        if last is None:
            stream.account.unknown_ends += 1
        elif last < stream.next:
            return
        else:
            stream.account.lost += last + 1 - stream.next
        lost = Lost(topic, stream.boot, stream.next, last)
        self.losses.append(lost)
        stream.next = stream.next if last is None else last + 1

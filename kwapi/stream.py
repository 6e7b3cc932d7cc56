"""What a subscriber has of one topic, and what became of its messages. Pure: no I/O, no clock."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

MAX_BOOTS = 16  # remembered of each topic


class Verdict(Enum):
    """What becomes of a message that came live."""

    TAKE = "take"  # it is the next
    SEEN = "seen before"
    LATER = "later"  # it will be asked for, with what is missing before it


class Position(NamedTuple):
    """Up to where a stream was taken: the boot, and the seq that is next."""

    boot: int
    seq: int


class Mark(NamedTuple):
    """Up to where what a NATS server stores was taken: since when it does, its number of a message, and when stored."""

    since: str
    seq: int
    at: float  # Unix seconds


class Ask(NamedTuple):
    """What is wanted of a spool, by its number: a boot's messages from the first to the last seq, or to its end."""

    topic: bytes
    boot: int
    first: int
    last: int | None
    spool: int = 0


class Lost(NamedTuple):
    """What could not be had: from the first to the last seq, both included; or an end that nobody knows."""

    topic: bytes
    boot: int
    first: int
    last: int | None


class Answer(NamedTuple):
    """What a spool says after the messages it sends: which seq it has next of the boot, and its last, None for none.

    ``boots`` are all those that it has of the topic; ``refused`` of the messages were none.
    """

    has: int | None
    end: int | None
    boots: Sequence[int] = ()
    refused: int = 0
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the messages of one topic that were produced since the first that was heard of."""

    delivered: int = 0
    rejected: int = 0  # their publisher signed them, and they are none
    lost: int = 0
    awaited: int = 0  # they are asked for
    duplicates: int = 0  # came again, and are in none of these
    repaired: int = 0  # of those delivered
    unknown_ends: int = 0  # boots of which nobody knows how far they came

    @property
    def produced(self) -> int:
        """Return how many messages there were, as far as anybody knows."""
        return self.settled + self.awaited

    @property
    def settled(self) -> int:
        """Return of how many it is known what became of them."""
        return self.delivered + self.rejected + self.lost


class Boots(NamedTuple):
    """The boots of one topic: by those before the present one which seq would be next, and those that said they end."""

    older: Mapping[int, int] = MappingProxyType({})
    ended: Sequence[int] = ()


class Place(NamedTuple):
    """Up to where one topic was taken, what became of its messages up to there, and the boots that are known."""

    position: Position
    account: Account
    boots: Boots = Boots()


@dataclass(slots=True)
class Stream:
    """What was taken of one topic, and what is wanted of it. For one thread, but for account() and standing()."""

    topic: bytes
    boot: int
    next: int
    losses: deque[Lost]  # of all topics
    older: dict[int, int] = field(default_factory=dict)  # boots before, and the seq that would be next
    ended: set[int] = field(default_factory=set)  # those boots of all these that said that they end
    others: int = 0  # messages settled, less ``next``, so that to take one is a single change for those who look on
    rejected: int = 0
    lost: int = 0
    duplicates: int = 0
    repaired: int = 0
    unknown_ends: int = 0
    goals: deque[tuple[int, int | None]] = field(
        default_factory=deque
    )  # boot, and its last seq wanted; none while live
    newest: tuple[int, int] | None = None  # boot and seq of what came live meanwhile
    refused: int = 0  # messages that came, and were none: of the next hole
    hearsay: bool = False  # only spools have told of it
    in_vain: bool = False  # what came live last was in no spool
    inserted: int = 0  # boots of which spools alone have told, since a message of theirs was believed
    asked: int | None = None  # the spool that has not answered yet
    lacking: dict[int, Answer] = field(default_factory=dict)  # by spool
    ask_at: float = 0.0  # when to ask
    asked_at: float = 0.0
    moved_at: float = 0.0  # when it last came on
    waits_since: float | None = None  # for a word of any spool, which was asked then
    lock: Lock = field(default_factory=Lock)  # of what is counted, where it takes several changes

    def go_on(self, account: Account, boots: Boots) -> None:
        """Count on from an account, with the boots that were known then."""
        older = {boot: due for boot, due in boots.older.items() if boot != self.boot}
        self.older = dict(list(older.items())[1 - MAX_BOOTS :])
        self.ended = set(boots.ended)
        self.others = account.settled - self.next
        self.rejected, self.lost = account.rejected, account.lost
        self.duplicates, self.repaired = account.duplicates, account.repaired
        self.unknown_ends = account.unknown_ends

    def account(self) -> Account:
        """Return what became of the messages so far; for any thread."""
        with self.lock:
            return self._account(self.next)

    def place(self) -> Place:
        """Return up to where all was taken; for the thread that takes it."""
        return Place(Position(self.boot, self.next), self.account(), self._boots())

    def standing(self) -> Place:
        """Return the place before the last message; for any thread."""
        with self.lock:
            position = Position(self.boot, max(self.next - 1, 0))
            return Place(position, self._account(position.seq), self._boots())

    def _boots(self) -> Boots:
        return Boots(self.older.copy(), tuple(sorted(self.ended)))

    def _account(self, due: int) -> Account:
        settled = self.others + due
        known: dict[int, int] = {}
        for boot, last in (*self.goals, *([self.newest] if self.newest else ())):
            if last is not None:
                known[boot] = max(last, known.get(boot, -1))
        awaited = sum(max(last + 1 - (self.due(boot) or 0), 0) for boot, last in known.items())
        return Account(
            settled - self.rejected - self.lost,
            self.rejected,
            self.lost,
            awaited,
            self.duplicates,
            self.repaired,
            self.unknown_ends,
        )

    def due(self, boot: int) -> int | None:
        """Return which seq is next of a boot, None if nothing was taken of it."""
        return self.next if boot == self.boot else self.older.get(boot)

    def is_past(self, boot: int) -> bool:
        """Return whether a boot was left for one that began later: mostly what comes of it still is a late copy."""
        return boot in self.older and boot < self.boot

    def lacks(self, boot: int, last: int | None) -> bool:
        """Return whether something up to a seq of a boot that was left is known to be missing."""
        return last is not None and last >= self.older[boot]

    def lose_past(self, boot: int, last: int | None) -> None:
        """Lose what is missing of a boot that was left, up to a seq."""
        if last is None or not self.lacks(boot, last):
            return
        first = self.older[boot]
        self.losses.append(Lost(self.topic, boot, first, last))
        with self.lock:
            self.others += last + 1 - first
            self.lost += last + 1 - first
            self.older[boot] = last + 1

    def take(self, boot: int, seq: int) -> None:
        """Count a message as delivered; what is missing before it, of a boot that is not the newest, is lost."""
        if boot == self.boot:
            self.next = seq + 1
            return
        with self.lock:
            self.others += seq + 1 - self.older[boot]
            self.lost += seq - self.older[boot]
            self.older[boot] = seq + 1

    def end(self, boot: int) -> None:
        """Take note that the last message that was taken of a boot was the last that it sent."""
        if boot not in self.ended and boot in self.older:
            self.unknown_ends -= 1
        self.ended.add(boot)

    def begin(self, boot: int) -> None:
        """Go on with another boot: from its first message, or from where one of two publishers was left."""
        due = self.older.pop(boot, None)
        if due is not None and boot not in self.ended:
            self.unknown_ends -= 1  # that is, not now
        if self.boot not in self.ended:
            self.unknown_ends += 1
            self.losses.append(Lost(self.topic, self.boot, self.next, None))
        if len(self.older) >= MAX_BOOTS - 1:
            oldest = next(iter(self.older))
            del self.older[oldest]
            self.ended.discard(oldest)
        with self.lock:
            self.older[self.boot] = self.next
            self.others += self.next - (due or 0)
            self.boot, self.next = boot, due or 0

    def go_back(self) -> None:
        """Go back to the boot before one of which there was nothing: perhaps nobody has sent any of it."""
        boot, due = self.older.popitem()
        if boot not in self.ended:
            self.unknown_ends -= 1
            if (end := Lost(self.topic, boot, due, None)) in self.losses:
                self.losses.remove(end)
        with self.lock:
            self.others -= due
            self.boot, self.next = boot, due

    def lose(self, last: int | None) -> None:
        """Go past what is missing of the boot up to a seq. Up to an end that nobody knows there is nothing to count."""
        if last is None or last < self.next:
            return
        missing = last + 1 - self.next
        refused, self.refused = min(self.refused, missing), 0
        self.losses.append(Lost(self.topic, self.boot, self.next, last))
        with self.lock:
            self.rejected += refused
            self.lost += missing - refused
            self.next = last + 1

    def meanwhile(self, boot: int, seq: int) -> None:
        """Take note that a message came live; an older one comes by another forwarder."""
        if self.newest is None or boot != self.newest[0] or seq > self.newest[1]:
            self.newest = boot, seq

    def widen(self, now: float) -> None:
        """Want what came live meanwhile together with the last goal, or by the time it is reached more has come.

        Not after a spool had nothing: what it may still get is not to be lost with what it never will.
        """
        boot, last = self.goals[0]
        if self.newest is None or self.newest[0] != boot or last is None or self.newest[1] <= last:
            return
        comes_on = self.ask_at <= self.moved_at and not self.lacking
        if comes_on and len(self.goals) == 1:
            self.goals[0], self.newest = self.newest, None
            self.moved_at = now  # that came just now, and may not be in a spool yet

    def insert(self, boots: Iterable[int]) -> None:
        """Want also the boots between this one and the next of which nothing was heard live.

        A boot is the time it began, which is good enough to tell those between, and for nothing else. Nobody has signed
        the list, so only so many are asked for until one of them has a message. The others come with the last of these.
        """
        ended = self.goals.popleft()
        following = self.goals[0] if self.goals else self.newest
        if following is not None:
            between = sorted(boot for boot in set(boots) - self.older.keys() if ended[0] < boot < following[0])
            del between[MAX_BOOTS - self.inserted :]
            self.inserted += len(between)
            self.goals.extendleft((boot, None) for boot in reversed(between))
        self.goals.appendleft(ended)

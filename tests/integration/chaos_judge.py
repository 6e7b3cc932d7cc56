"""What must hold after chaos, judged by the record alone: what was signed, what each plugin was given and gave up.

A message is one of a wattmeter's topic, by the boot that signed it and its seq. The last ones of a boot that was killed
may be missing; nothing else may.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from kwapi.energy import MAX_GAP, EnergyRegister, Instant, gap_limit
from kwapi.measurement import END, Message, decode, topic_of
from kwapi.plugins.positions import Saved
from kwapi.signing import split
from tests.integration.chaos_record import SIGNED, Given, Tail

TAIL = 1  # messages of a wattmeter in the last 10 ms of its publisher; it is polled five times a second at most
BUSY = 500.0  # ms that these 10 may be on a machine that has much else to do


class Name(NamedTuple):
    """A message's name: boots are numbered in the order in which they began to sign."""

    boot: int
    seq: int


@dataclass(slots=True)
class Stream:
    """What was signed of one wattmeter."""

    messages: dict[Name, Message] = field(default_factory=dict)  # in order
    signed_at: dict[Name, int] = field(default_factory=dict)
    boots: dict[int, int] = field(default_factory=dict)  # their numbers
    pids: list[int] = field(default_factory=list)  # of the boots
    ends: set[Name] = field(default_factory=set)  # of boots that said so, messages that no plugin is given
    register_at: int = 0  # when a register of it was last read

    def add(self, at: int, pid: int, message: Message) -> None:
        if message.boot not in self.boots:
            self.boots[message.boot] = len(self.boots)
            self.pids.append(pid)
        name = Name(self.boots[message.boot], message.seq)
        self.messages[name], self.signed_at[name] = message, at
        if message.kwh is not None:
            self.register_at = at

    def last(self, boot: int) -> int:
        """Return the last seq of a boot by its number."""
        return max(name.seq for name in self.messages if name.boot == boot)


@dataclass(slots=True)
class Life:
    """What one process of a plugin was given of each topic, and what it gave up."""

    given: dict[bytes, list[Name]] = field(default_factory=lambda: defaultdict(list))
    lost: dict[bytes, list[tuple[Name, int]]] = field(default_factory=lambda: defaultdict(list))


class Record:
    """All that was written down so far."""

    def __init__(self, directory: Path, plugins: tuple[str, ...]) -> None:
        self.streams: dict[bytes, Stream] = defaultdict(Stream)
        self.lives: dict[str, dict[int, Life]] = {plugin: {} for plugin in plugins}  # by pid, in order
        self._directory = directory
        self._tails: dict[Path, Tail] = {}

    def read(self) -> None:
        """Read what was written since the last time.

        What was given is read first, so that what was signed before it is read too.
        """
        given = {plugin: list(self._entries(plugin)) for plugin in self.lives}
        for at, pid, frame in sorted(self._entries(SIGNED)):
            topic, _, payload = split(frame)
            message, stream = decode(payload), self.streams[topic]
            if message.type == END:
                stream.ends.add(Name(stream.boots[message.boot], message.seq))
            else:
                stream.add(at, pid, message)
        decoder = msgspec.msgpack.Decoder(Given)
        for plugin, entries in given.items():
            for _, pid, entry in sorted(entries):
                self._note(self.lives[plugin].setdefault(pid, Life()), decoder.decode(entry))

    def signed(self) -> int:
        """Return how many messages were signed."""
        return sum(len(stream.messages) for stream in self.streams.values())

    def newest(self) -> dict[bytes, Name]:
        """Return the newest message of each topic that was signed."""
        return {topic: next(reversed(stream.messages)) for topic, stream in self.streams.items()}

    def register_at(self, wattmeter: str) -> int:
        """Return when the registers of a wattmeter were last read (ns), 0 for never."""
        return self.streams[topic_of(wattmeter)].register_at

    def given(self, plugin: str, topic: bytes) -> list[Name]:
        """Return what a plugin was given of a topic, in order, each once."""
        return sorted({name for life in self.lives[plugin].values() for name in life.given.get(topic, [])})

    def late(self, newest: Mapping[bytes, Name]) -> list[tuple[str, bytes, Name | None, Name]]:
        """Return (plugin, topic, last, newest) of those that were not given as much."""
        return [
            (plugin, topic, reached.get(topic), name)
            for plugin in self.lives
            for reached in [self.reached(plugin)]
            for topic, name in newest.items()
            if reached.get(topic, Name(-1, 0)) < name
        ]

    def reached(self, plugin: str) -> dict[bytes, Name]:
        """Return the last message of each topic that a plugin's newest life was given."""
        lives = list(self.lives[plugin].values())
        return {topic: names[-1] for topic, names in lives[-1].given.items()} if lives else {}

    def _entries(self, kind: str) -> Iterator[tuple[int, int, bytes]]:
        for path in self._directory.glob(f"{kind}.*"):
            tail = self._tails.setdefault(path, Tail(path))
            yield from ((at, tail.pid, entry) for at, entry in tail.entries())

    def _note(self, life: Life, given: Given) -> None:
        stream = self.streams[given.topic]
        name = Name(stream.boots.get(given.boot, -1), given.seq)
        if given.last is None:
            life.given[given.topic].append(name)
        else:
            life.lost[given.topic].append((name, given.last))


@dataclass(slots=True)
class Verdict:
    """What became of what was signed, for one plugin."""

    signed: int = 0
    delivered: int = 0
    again: int = 0  # given to a later life once more
    tails: int = 0  # missing, of the last ms of a killed boot
    listed: int = 0  # of those, in a range that is lost or of which the end is unknown
    claimed: int = 0  # lost ranges that a plugin told of
    oldest_tail: float = 0.0  # ms before the kill that it was signed
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.delivered} of {self.signed} delivered, {self.again} once more to a later life; "
            f"{self.tails} missing of killed publishers, signed {self.oldest_tail:.1f} ms before the kill at most, "
            f"{self.listed} of them listed; {self.claimed} ranges given up"
        )


def judge(record: Record, plugin: str, ended: Mapping[int, int]) -> Verdict:
    """Return what became of what was signed."""
    verdict = Verdict()
    lives = list(record.lives[plugin].values())
    for topic, stream in record.streams.items():
        ordered = sorted(stream.messages)
        given: set[Name] = set()
        for life in lives:
            names = life.given.get(topic, [])
            _judge_order(verdict, topic, stream, ordered, names, ended)
            verdict.again += len(given.intersection(names))
            given |= set(names)
        if not given:
            verdict.wrong.append(f"{topic!r}: nothing was given")
            continue
        expected = [name for name in ordered if min(given) <= name <= max(given)]
        verdict.signed += len(expected)
        verdict.delivered += len(given)
        _judge_missing(verdict, topic, stream, sorted(set(expected) - given), lives, ended)
        _judge_claims(verdict, topic, stream, lives)
    return verdict


def _judge_order(
    verdict: Verdict, topic: bytes, stream: Stream, ordered: list[Name], names: list[Name], ended: Mapping[int, int]
) -> None:
    """One life is given each message once and in order, and passes over none but the last of a boot that was killed."""
    places = {name: place for place, name in enumerate(ordered)}
    for earlier, later in pairwise(names):
        if later not in places:
            verdict.wrong.append(f"{topic!r}: {later} was given and never signed")
            return
        if later <= earlier:
            verdict.wrong.append(f"{topic!r}: {later} was given after {earlier}")
        passed = ordered[places[earlier] + 1 : places[later]]
        if not all(_is_tail(stream, name, ended) for name in passed):
            verdict.wrong.append(f"{topic!r}: {len(passed)} passed over between {earlier} and {later}")


def _is_tail(stream: Stream, name: Name, ended: Mapping[int, int]) -> bool:
    """Return whether a message is one of the last of a boot that was killed."""
    killed_at = ended.get(stream.pids[name.boot])
    if killed_at is None or killed_at - stream.signed_at[name] > BUSY * 1e6:
        return False
    before = [
        other
        for other in stream.messages
        if other.boot == name.boot and other.seq >= name.seq and stream.signed_at[other] < killed_at
    ]
    return len(before) <= TAIL


def _judge_missing(
    verdict: Verdict,
    topic: bytes,
    stream: Stream,
    missing: list[Name],
    lives: list[Life],
    ended: Mapping[int, int],
) -> None:
    """Only the last of a boot that was killed may be missing."""
    for name in missing:
        if not _is_tail(stream, name, ended):
            killed_at = ended.get(stream.pids[name.boot])
            before = "never killed" if killed_at is None else f"{(killed_at - stream.signed_at[name]) / 1e6:.1f} ms"
            verdict.wrong.append(
                f"{topic!r}: {name} of {stream.last(name.boot)} is missing, signed before the kill: {before}"
            )
            continue
        verdict.tails += 1
        killed_at = ended[stream.pids[name.boot]]
        verdict.oldest_tail = max(verdict.oldest_tail, (killed_at - stream.signed_at[name]) / 1e6)
        is_listed = any(
            start.boot == name.boot and start.seq <= name.seq and (last < 0 or name.seq <= last)
            for life in lives
            for start, last in life.lost.get(topic, [])
        )
        verdict.listed += is_listed
        is_heard_of = any(other.boot == name.boot for life in lives for other in life.given.get(topic, []))
        if is_heard_of and not is_listed:
            verdict.wrong.append(f"{topic!r}: {name} is missing, and neither lost nor is the end of its boot unknown")


def _judge_claims(verdict: Verdict, topic: bytes, stream: Stream, lives: list[Life]) -> None:
    """Nothing is told to be lost that was given."""
    for life in lives:
        for start, last in life.lost.get(topic, []):
            verdict.claimed += 1
            if last < 0:
                continue
            claimed = {Name(start.boot, seq) for seq in range(start.seq, last + 1)}
            if wrongly := claimed & set(life.given.get(topic, [])):
                verdict.wrong.append(f"{topic!r}: {min(wrongly)} is told to be lost, and was given")
            if not claimed <= set(stream.messages):
                verdict.wrong.append(f"{topic!r}: {start} to {last} is told to be lost, and was never signed")


def judge_accounts(record: Record, plugin: str, saved: Saved) -> Iterator[str]:
    """Yield what is wrong with the accounts that a plugin saved: each is up to the position that was saved with it."""
    for topic, stream in record.streams.items():
        account, (boot, seq) = saved.accounts[topic], saved.positions[topic]
        up_to, all_given = Name(stream.boots[boot], seq), record.given(plugin, topic)
        begun = min(all_given)
        given = [name for name in all_given if name < up_to]
        ends = [name for name in stream.ends if begun < name < up_to]
        missing = len([name for name in stream.messages if begun <= name < up_to]) - len(given)
        told = account.delivered - len(given)
        if not 0 <= told <= len(ends):  # a worker whose daemon was killed says that it ends, and nobody carries it
            yield f"{topic!r}: {len(given)} were given and {len(ends)} ends said, by its account {account}"
        if account.rejected or account.lost > missing:
            yield f"{topic!r}: {missing} are missing, by its account {account}"
        known = {name.boot for name in given if name.boot < up_to.boot}
        boots = {name.boot for name in stream.messages if begun.boot <= name.boot < up_to.boot}
        if not len(known) - told <= account.unknown_ends <= len(boots) - told:
            yield f"{topic!r}: {len(boots)} boots, {told} of them said that they end; by its account {account}"


def energies(record: Record, plugin: str) -> dict[str, EnergyRegister]:
    """Return the registers that energy.py makes of what was signed, from the first to the last that was given."""
    registers: dict[str, EnergyRegister] = defaultdict(EnergyRegister)
    for topic, stream in record.streams.items():
        for name in record.given(plugin, topic):
            message = stream.messages[name]
            at = Instant(message.boot, message.timestamp, message.monotonic)
            nothing: list[float | None] = [None] * len(message.probes)
            for probe, watts, kwh, wrap in zip(
                message.probes, message.w or nothing, message.kwh or nothing, message.kwh_wrap or nothing, strict=True
            ):
                registers[probe].add(at, watts, kwh, wrap, gap_limit(MAX_GAP, message.interval))
    return registers

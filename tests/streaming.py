"""A topic of a subscriber, the spools it asks, and shorthand for both."""

from kwapi.stream import Answer, Verdict
from kwapi.streams import Streams

TOPIC, A, B, C = b"lyon.pdu1.", 10, 20, 30
TAKE, SEEN, LATER = Verdict.TAKE, Verdict.SEEN, Verdict.LATER


def helped(*positions, **options):
    streams = Streams(*positions, **options)
    streams.heard_of_spool(0)
    return streams


def met(streams, *seqs, boot=A):
    return [streams.meet(TOPIC, boot, seq) for seq in seqs]


def answer(streams, ask, spool):
    """Answer from a spool, seqs by boot, in pages of two; return the seqs that were taken."""
    has = spool.get(ask.boot, ())
    wanted = [seq for seq in sorted(has) if seq >= ask.first and (ask.last is None or seq <= ask.last)][:2]
    taken = [seq for seq in wanted if streams.repair(ask, seq)]
    rest = [seq for seq in sorted(has) if seq >= (taken[-1] + 1 if taken else ask.first)]
    streams.answer(ask, Answer(rest[0] if rest else None, max(has, default=None), tuple(spool)))
    return taken


def repaired(streams, spools):
    """Ask the spools, each seqs by boot, until nothing is to be asked; return (boot, seq) of what was taken."""
    taken = []
    for _ in range(1000):
        asks = list(streams.asks())
        if not asks:
            return taken
        for ask in asks:
            taken += [(ask.boot, seq) for seq in answer(streams, ask, spools[ask.spool])]
    raise AssertionError("it asks for ever")


def account(streams):
    return streams.accounts()[TOPIC]

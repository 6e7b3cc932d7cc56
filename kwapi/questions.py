"""What a spool is asked, and what it answers, as MessagePack. Pure: no I/O.

A question is two parts: a number of the client's own (8 bytes) and the question; an answer is that number, the answer,
and the frames that were asked for, as they were signed.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

LAST = 2**63 - 1
PAGE_RUNS = 4_000  # in one answer, and more of the last topic; an answer is to be smaller than MAX_FRAME
MORE_RUNS = 1_000

Number = Annotated[int, msgspec.Meta(ge=0, le=LAST)]


class Wanted(msgspec.Struct, frozen=True, tag="frames"):
    """A boot's frames, from the first to the last seq; without a last to its end."""

    topic: bytes
    boot: Number
    first: Number
    last: Number | None = None


class Since(msgspec.Struct, frozen=True, tag="runs"):
    """Which boots of the topics with a prefix, after a topic, there are frames of, from a timestamp on."""

    prefix: bytes
    timestamp: float
    after: bytes = b""


class Frames(msgspec.Struct, frozen=True, tag="frames"):
    """The frames follow; the last seq that there is of the boot, if any, and all boots of the topic."""

    end: int | None
    boots: list[int]


class Runs(msgspec.Struct, frozen=True, tag="runs"):
    """Topic, boot, and the first seq that is young enough, in the order of topics; and the last topic, if more follow.

    Not complete if another spool did not answer in time.
    """

    runs: list[tuple[bytes, int, int]]
    last: bytes | None = None
    is_complete: bool = True


NO_QUESTION = (ValueError, msgspec.MsgspecError, RecursionError)  # nor an answer; the last by lists within lists
HELLO = Since(b"\0", 0.0)  # no topic begins so: asks whether there is a spool

read_question = msgspec.msgpack.Decoder(Wanted | Since).decode
read_answer = msgspec.msgpack.Decoder(Frames | Runs).decode
encode = msgspec.msgpack.Encoder().encode


def page_of(runs: Iterable[tuple[bytes, int, int]], last: bytes | None = None, *, is_complete: bool = True) -> Runs:
    """Return as many runs as one answer may have, with all of a topic; ``last`` is the last topic if more follow.

    No publisher is started so often that its runs are too many; what somebody has made up may be left out.
    """
    page = sorted(runs)
    if len(page) <= PAGE_RUNS:
        return Runs(page, last, is_complete)
    last = page[PAGE_RUNS][0]
    whole = [run for run in page if run[0] <= last]
    return Runs(whole[: PAGE_RUNS + MORE_RUNS], last, is_complete)

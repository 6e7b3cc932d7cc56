"""How topics of the bus are called at a NATS server. Pure: no I/O.

The topic ``lyon.pdu1.`` has the subject ``kwapi.lyon.pdu1._``: the final token is there so that one filter,
``kwapi.lyon.>``, takes the wattmeter ``lyon`` and all of ``lyon.pdu1``, and never ``lyonel``. What may not stand in a
subject is percent-encoded. Nobody reads a subject: the frame has its topic.
"""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote_from_bytes

ROOT = "kwapi"
END = "_"
EVERYTHING = f"{ROOT}.>"
EMPTY = "%"  # a token without a character, as in the name a..b; alone it is the code of nothing
KNOWN = 100_000  # topics that are worked out once


@lru_cache(KNOWN)
def subject_of(topic: bytes) -> str:
    """Return the subject of a topic, which ends with a dot."""
    return ".".join((ROOT, *_tokens(topic), END))


def filter_of(prefix: bytes) -> str:
    """Return what takes the subjects of all topics that begin so: whole tokens with a final dot; of b"" of all."""
    return ".".join((ROOT, *_tokens(prefix), ">"))


def filters_of(prefixes: Iterable[bytes]) -> list[str]:
    """Return the filters of some prefixes, without those that another one takes already."""
    filters = {filter_of(prefix) for prefix in prefixes}
    return sorted(each for each in filters if not any(_takes(other, each) for other in filters))


def message_id(subject: str, boot: int, seq: int) -> str:
    """Return the Nats-Msg-Id of a message: one of each wattmeter, boot and seq."""
    return f"{subject}.{boot}.{seq}"


def _takes(wide: str, narrow: str) -> bool:
    return wide != narrow and narrow.startswith(wide.removesuffix(">"))


def _tokens(topic: bytes) -> list[str]:
    return [_encoded(token) for token in topic[:-1].split(b".")] if topic else []


def _encoded(token: bytes) -> str:
    return quote_from_bytes(token, safe="").replace("~", "%7E").replace(".", "%2E") or EMPTY

"""Finds the elements of a BER encoding: where the content of each lies. Values stay as they are.

An element is a tag, the length of its content, which long ones give in bytes of their own, and the content.
Source: ITU-T X.690, 8.1.
"""

INTEGER, OCTETS, OBJECT, SEQUENCE = 0x02, 0x04, 0x06, 0x30
LONG = 0x80  # in a length: how many bytes of it follow
Place = tuple[int, int]  # of an element's content: from, to


def elements(datagram: bytes, place: Place, *tags: int) -> list[Place]:
    """Return where the contents of the elements with these tags lie, the first of which starts where the place does.

    ValueError says that they are not there.
    """
    start, end = place
    places = []
    for tag in tags:
        if start + 2 > end or datagram[start] != tag:
            raise ValueError("the SNMP message is malformed")
        length = datagram[start + 1]
        start += 2
        if length & LONG:
            size = length & ~LONG
            length = int.from_bytes(datagram[start : start + size], "big")
            start += size
        if start + length > end:
            raise ValueError("the SNMP message is malformed")
        places.append((start, start + length))
        start += length
    return places


def integer(datagram: bytes, place: Place) -> int:
    """Return the number that stands here."""
    return int.from_bytes(datagram[slice(*place)], "big", signed=True)

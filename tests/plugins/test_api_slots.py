import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.plugins.api.slots import FIRST_SLOTS, HEAD, MAX_RECORD, SECTOR, SLOT, Slots

FORM = b"a test 1\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "slots"


def contents(path, numbers=range(3)):
    slots = Slots(path, FORM)
    found = [slots.read(number) for number in numbers]
    slots.close()
    return found


def written(path, *records):
    """Write records to slot 0, 1, 2 and again, and leave the file as kill -9 does: without closing it."""
    slots = Slots(path, FORM)
    for number, record in enumerate(records):
        slots.write(number % 3, record)
    return slots


def test_what_was_written_is_there_though_nobody_closed_the_file(path):
    slots = written(path, b"a", b"b", b"", b"A" * MAX_RECORD)
    assert contents(path) == [b"A" * MAX_RECORD, b"b", b""]
    slots.close()


def test_a_new_file_is_empty_and_says_what_it_is(path):
    assert contents(path, range(FIRST_SLOTS)) == [b""] * FIRST_SLOTS
    assert path.read_bytes().startswith(FORM)


def test_a_copy_that_is_torn_leaves_the_record_before(path):
    written(path, b"old", b"b", b"c", b"new").close()
    with path.open("r+b") as file:
        for copy in (0, 1):  # of slot 0: generation 2 is in copy 0
            file.seek(HEAD + copy * SECTOR + 14)
            file.write(b"\xff")
            file.flush()
            assert contents(path) == [[b"old", None][copy], b"b", b"c"]


def test_a_damaged_slot_can_be_written_again(path):
    written(path, b"a", b"b").close()
    with path.open("r+b") as file:
        file.seek(HEAD)
        file.write(b"\xee" * SLOT)
    assert contents(path) == [None, b"b", b""]
    written(path, b"again").close()
    assert contents(path) == [b"again", b"b", b""]


def test_slots_grow_and_keep_what_they_have(path):
    slots = written(path, b"a")
    slots.grow()
    slots.write(FIRST_SLOTS + 5, b"far")
    assert len(slots) == 2 * FIRST_SLOTS
    assert contents(path, [0, FIRST_SLOTS + 5]) == [b"a", b"far"]
    slots.close()


def test_the_disk_has_room_for_every_slot_before_it_is_written(path):
    slots = written(path, b"a")
    slots.grow()
    assert path.stat().st_blocks * 512 >= HEAD + 2 * FIRST_SLOTS * SLOT
    slots.close()


def test_another_process_reads_while_one_writes(path):
    slots = written(path, b"a")
    reader = Slots(path, FORM, read_only=True)
    slots.write(0, b"b")
    assert reader.read(0) == b"b"
    reader.close()
    slots.close()


@given(
    records=st.lists(st.binary(min_size=1, max_size=MAX_RECORD), min_size=2, max_size=12),
    place=st.integers(0, SLOT - 1),
    wrong=st.binary(min_size=1, max_size=SECTOR),
)
def test_whatever_happens_to_one_sector_no_record_is_older_than_the_one_before(tmp_path_factory, records, place, wrong):
    path = tmp_path_factory.mktemp("slots") / "slots"
    slots = Slots(path, FORM)
    for record in records:
        slots.write(1, record)
    slots.close()
    with path.open("r+b") as file:
        file.seek(HEAD + SLOT + place)
        file.write(wrong[: SECTOR - place % SECTOR])
    (found,) = contents(path, [1])
    assert found in records[-2:]


@given(size=st.integers(0, HEAD + FIRST_SLOTS * SLOT))
def test_a_file_that_is_cut_anywhere_has_whole_records_only(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("slots") / "slots"
    slots = Slots(path, FORM)
    for generation in (b"old", b"new"):
        for number in range(FIRST_SLOTS):
            slots.write(number, generation)
    slots.close()
    os.truncate(path, size)
    slots = Slots(path, FORM)
    whole = slots.found
    slots.close()
    found = contents(path, range(FIRST_SLOTS))
    assert found[:whole] == [b"new"] * whole
    assert set(found[whole : whole + 1]) <= {b"new", None, b""}
    assert set(found[whole + 1 :]) <= {b""}

import pytest

from kwapi.drivers.repetition import Repetition


@pytest.mark.parametrize(
    ("readings", "repeated"),
    [
        ([(1, 200), (2, 200), (2, 200), (3, 200)], [False, False, True, False]),
        ([(None, 200), (None, 200)], [False, False]),
        ([(7, 200), (7, 200), (7, 201), (7, 201), (7, 201)], [False, True, False, False, False]),  # stands still
        ([(7, 200), (7, None), (7, 200)], [False, False, False]),
        ([(7, 200), (None, 200), (7, 200)], [False, False, False]),
    ],
)
def test_a_reading_is_repeated_if_its_time_is_and_that_time_is_true(readings, repeated):
    repetition = Repetition()
    assert [repetition.is_repeated(*reading) for reading in readings] == repeated

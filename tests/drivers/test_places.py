from dataclasses import dataclass

import pytest

from kwapi.drivers.places import choose, probes_of


@dataclass(frozen=True)
class Seat:
    name: str
    row: str = ""

    def is_called(self, place):
        return place in (self.name, self.row)


SEATS = [Seat("1a", "1"), Seat("1b", "1"), Seat("2a", "2")]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["x", "y"], {"x": "1a", "y": "1b"}),
        (["", "y"], {"y": "1b"}),
        (["x@2", "y"], {"x": "2a", "y": "1a"}),
        (["x@1b"], {"x": "1b"}),
        ([], {}),
    ],
)
def test_names_mean_the_next_place_or_the_one_they_call(names, chosen):
    assert {probe: seat.name for probe, seat in choose(names, SEATS, SEATS).items()} == chosen
    assert probes_of(names) == list(chosen)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["x@1"], "2 are called '1'"),
        (["x@3"], "0 are called '3'"),
        (["", "", "", "x"], "none is left for 'x'"),
        (["x", "y@1a"], "'y@1a' is 1a a second time, and would be counted twice"),
        (["x@1a", "y"], "'y' is 1a a second time"),
    ],
)
def test_a_name_that_does_not_mean_a_place_of_its_own_is_told(names, problem):
    with pytest.raises(LookupError, match=problem):
        choose(names, SEATS, SEATS)

"""The axes of a graph: steps that are round, and labels for which there is room."""

import pytest

from kwapi.plugins.rrd.axes import scale, time_grid


@pytest.mark.parametrize(
    ("lowest", "highest", "height", "ends", "labels"),
    [
        (0.0, 263.0, 150, (0, 300, 100), "%.0lf W"),
        (0.0, 300.0, 150, (0, 300, 100), "%.0lf W"),
        (10.0, 1900.0, 150, (0, 2000, 500), "%.1lf kW"),
        (0.0, 9.2e6, 150, (0, 10e6, 2e6), "%.0lf MW"),
        (-120.0, 80.0, 150, (-150, 100, 50), "%.0lf W"),
        (0.0, 0.0, 150, (0, 1, 0.2), "%.1lf W"),
        (0.0, 0.03, 150, (0, 0.03, 0.01), "%.2lf W"),
    ],
)
def test_the_axis_of_watts_has_round_steps(lowest, highest, height, ends, labels):
    found = scale(lowest, highest, height)
    assert (found.lower, found.upper, found.step) == pytest.approx(ends)
    assert found.arguments()[-1] == labels


def test_the_axis_of_times_has_labels_for_which_there_is_room():
    assert time_grid("day", 1200)[1] == "HOUR:2:HOUR:2:HOUR:2:0:%H:%M"
    assert time_grid("day", 400)[1] == "HOUR:3:HOUR:3:HOUR:3:0:%H:%M"
    assert time_grid("day", 100)[1] == "HOUR:12:HOUR:12:HOUR:12:0:%H:%M"

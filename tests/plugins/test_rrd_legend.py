import pytest

from kwapi.plugins.rrd.figures import Figures
from kwapi.plugins.rrd.legend import cells, flowed, shortened, words

FIGURES = Figures(minimum=99.5, average=1234.5, maximum=2000.0, last=0.0, kwh=0.03429, cost=0.0068583, seconds=100.0)


def test_a_legend_has_watts_energy_and_cost():
    said = ["min 99.50 W", "avg 1.234 kW", "max 2.000 kW", "last 0 W", "0.03429 kWh", "0.006858 €"]
    assert words(FIGURES, "€") == said
    assert words(Figures(1.0, 1.0, 1.0, 1.0, 0.5), "€")[-1] == "0.5000 kWh"
    assert words(Figures(), "€") == ["min -", "avg -", "max -", "last -", "-"]


@pytest.mark.parametrize("characters", [12, 25, 40, 90])
def test_lines_are_no_longer_than_there_is_room(characters):
    said = words(FIGURES, "€")
    lines = flowed(said, characters)
    assert all(len(one) <= characters for one in lines)
    assert "   ".join(lines).split() == " ".join(said).split()


@pytest.mark.parametrize(("characters", "columns"), [(40, 1), (83, 1), (84, 2), (91, 2)])
def test_two_probes_share_a_line_where_there_is_room(characters, columns):
    rows = [(name, FIGURES) for name in ("a", "taurus-12.lyon.grid5000.fr", "x" * 80)]
    found = cells(rows, characters)
    assert [end for _, end in found] == (["\\l"] * 3 if columns == 1 else ["", "\\l", "\\l"])
    assert {len(text) for text, _ in found} == {len(found[0][0])}
    assert columns * (len(found[0][0]) + 4) - 2 <= characters
    assert all(text.split()[-4:] == ["1.234", "kW", "0.03429", "kWh"] for text, _ in found)


def test_long_names_keep_both_ends():
    assert shortened("taurus-1") == "taurus-1"
    for characters in (5, 12, 31, 32):
        short = shortened(f"rack1-{'x' * 60}-node7", characters)
        assert len(short) == characters and short.startswith("ra") and short.endswith("e7")

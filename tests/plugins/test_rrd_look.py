from itertools import combinations
from math import dist

import pytest

from kwapi.plugins.rrd.look import CONTRAST, DARK, LIGHT, PALETTE, colour, contrast, line_colour, linear

# How colours of linear sRGB look without the red or the green cones: Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
}
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.072175), (0.0193339, 0.119192, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)
SEEN = 2.3  # a difference in CIE Lab that is just noticed


def times(matrix, vector):
    return [sum(factor * value for factor, value in zip(row, vector, strict=True)) for row in matrix]


def lab(shade, eyes):
    light = times(eyes, [linear(channel / 255) for channel in bytes.fromhex(shade)])
    xyz = times(TO_XYZ, [min(max(channel, 0.0), 1.0) for channel in light])
    ratios = [value / white for value, white in zip(xyz, WHITE, strict=True)]
    x, y, z = (ratio ** (1 / 3) if ratio > 0.008856 else 7.787 * ratio + 16 / 116 for ratio in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("eyes", EYES)
def test_twenty_colours_are_told_apart_by_the_colour_blind_too(eyes):
    seen = [lab(colour(number), EYES[eyes]) for number in range(20)]
    assert min(dist(one, other) for one, other in combinations(seen, 2)) > 7 * SEEN


def test_a_probe_has_its_colour_by_its_number_alone():
    assert (colour(0), colour(20), colour(10_001)) == (PALETTE[0], PALETTE[0], PALETTE[1])
    assert len(set(PALETTE)) == 20


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_lines_and_words_are_seen(theme):
    assert contrast(theme.font, theme.back) > 7
    for shade in PALETTE:
        line = line_colour(shade, theme.back)
        assert contrast(line, theme.back) >= CONTRAST
        assert line == shade or contrast(shade, theme.back) < CONTRAST
    assert line_colour("000000", "000000") != line_colour("ffffff", "ffffff")


def test_contrast_is_that_of_wcag():
    assert contrast("000000", "ffffff") == contrast("ffffff", "000000") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)

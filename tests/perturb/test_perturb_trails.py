"""Trails of moving objects: their part near the frame alone is made, with the bits of the whole way."""

from __future__ import annotations

import numpy as np
import pytest

from hwosim_assets.perturb.effects.shapes import stamp
from hwosim_assets.perturb.effects.sources import _trail


def in_steps(frame: tuple[int, int], leg: tuple[float, ...], flux: float, fwhm: float) -> np.ndarray:
    """Return a trail by the words of its definition: all steps of the way, one after the other."""
    y0, x0, y1, x1 = leg
    steps = max(1, int(np.ceil(2 * np.hypot(y1 - y0, x1 - x0) - 1e-6)))
    image = np.zeros(frame)
    for share in (np.arange(steps) + 0.5) / steps:
        y, x = float(y0 + share * (y1 - y0)), float(x0 + share * (x1 - x0))
        wide = 4 * fwhm + 1
        if -wide < y < frame[0] + wide and -wide < x < frame[1] + wide:
            places, shape = stamp(frame, y, x, fwhm)
            image.reshape(-1)[places] += shape * (flux / steps)
    return image


@pytest.mark.parametrize(
    "leg",
    [
        (3.0, 4.0, 3.0, 4.0),
        (10.25, 5.5, 40.0, 31.75),
        (-5000.0, 20.0, 7000.0, 21.0),
        (20.0, 900.0, 20.0, -3000.0),
        (-40.0, -40.0, -3.0, -2.0),
        (200.0, 0.0, 300.0, 10.0),
    ],
)
def test_a_trail_is_made_of_the_part_of_its_way_near_the_frame_with_the_same_bits(leg: tuple[float, ...]) -> None:
    places, light_there = _trail((48, 40), leg, 100.0, 2.5)
    image = np.zeros((48, 40))
    image.reshape(-1)[places] = light_there
    np.testing.assert_array_equal(image, in_steps((48, 40), leg, 100.0, 2.5))
    assert (np.diff(places) > 0).all()


def test_a_way_of_a_thousand_million_pixels_takes_no_memory() -> None:
    places, light_there = _trail((48, 40), (20.0, -5e8, 20.0, 5e8), 1e9, 2.5)
    assert light_there.sum() == pytest.approx(40, rel=0.01)
    assert set(places // 40) > {19, 20, 21}

"""The planet in the sample's time series can be found again, as deep as the truth says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from hwosim_assets.archive.sample import SampleSummary
from hwosim_assets.archive.sample.transit import Transit

PLANET = Transit(mid_time=60000.0, period=3.2, radius_ratio=0.1, axis_ratio=9.0, inclination=90.0)


def _entry(sample: SampleSummary, name: str) -> dict[str, Any]:
    for path in sample.truth:
        for entry in json.loads(path.read_text(encoding="utf-8"))["observations"]:
            if name in entry["files"]:
                return dict(entry)
    raise AssertionError(name)


def _scaled_depth(flux: NDArray[Any], variance: NDArray[Any], model: NDArray[Any]) -> tuple[float, float]:
    """Fit flux = level (1 - scale (1 - model)); return the scale of the transit and its error."""
    design = np.stack([np.ones_like(model), -(1.0 - model)], axis=1)
    weight = 1.0 / variance
    normal = design.T @ (design * weight[:, None])
    level, product = np.linalg.solve(normal, design.T @ (flux * weight))
    return product / level, float(np.sqrt(np.linalg.inv(normal)[1, 1]) / level)


def test_the_light_is_full_outside_and_dims_symmetrically() -> None:
    assert PLANET.light(60001.0, 2.0) == 1.0
    assert PLANET.light(60001.6, 2.0) == 1.0  # behind the star
    for minutes in (10, 40, 75, 84):
        before, after = (PLANET.light(60000.0 + sign * minutes / 1440, 2.0) for sign in (-1, 1))
        assert before == pytest.approx(after, abs=1e-9)
        assert before < 1.0


def test_the_depth_without_limb_darkening_is_the_area() -> None:
    bare = Transit(60000.0, 3.2, 0.1, 9.0, 90.0, u1=0.0, u2=0.0)
    assert 1.0 - bare.light(60000.0, 2.0) == pytest.approx(0.01, rel=1e-6)
    assert 1.0 - PLANET.light(60000.0, 2.0) > 0.01  # darkened at the limb: brighter where the planet is
    assert bare.light(60000.0, 4.3) < bare.light(60000.0, 2.0)


def test_the_light_curve_has_no_steps() -> None:
    times = 60000.0 + np.linspace(-0.08, 0.08, 2001)
    light = np.array([PLANET.light(float(time), 2.0) for time in times])
    assert np.abs(np.diff(light)).max() < 3e-4


@pytest.mark.parametrize(
    "name",
    [
        "jw97002001001_04102_00001-seg001_nrs1_x1dints.fits",
        "jw97003003001_04102_00001-seg001_mirimage_x1dints.fits",
    ],
)
def test_white_light_curves_of_spectra_show_the_planet(sample: SampleSummary, name: str) -> None:
    path = next(file.path for file in sample.files if file.path.name == name)
    truth = _entry(sample, name)
    with fits.open(path) as hdus:
        tables = [hdu.data for hdu in hdus if hdu.name == "EXTRACT1D"]
        together = len(tables) == 1
        flux, error = (
            tables[0][column] if together else np.stack([table[column] for table in tables])
            for column in ("FLUX", "FLUX_ERROR")
        )
    seen = np.isfinite(flux).all(axis=0)
    weight = 1.0 / np.median(error[:, seen], axis=0) ** 2
    weight *= np.array(truth["flux_jy"])[seen]
    white = (flux[:, seen] * weight).sum(axis=1)
    variance = (error[:, seen] ** 2 * weight**2).sum(axis=1)
    scale, sigma = _scaled_depth(white, variance, np.array(truth["light_curve"]["relative_flux"]))
    assert sigma < 0.15
    assert scale == pytest.approx(1.0, abs=4 * sigma)
    assert scale > 5 * sigma


def test_aperture_photometry_of_images_shows_the_planet(sample: SampleSummary) -> None:
    name = "jw97002002001_03101_00001-seg001_nrcb1_calints.fits"
    path = next(file.path for file in sample.files if file.path.name == name)
    truth = _entry(sample, name)
    star = truth["sources"][0]
    with fits.open(path) as hdus:
        sci = hdus["SCI"].data.astype(float)
        variance = hdus["ERR"].data.astype(float) ** 2
    rows, columns = np.mgrid[0 : sci.shape[1], 0 : sci.shape[2]]
    near = np.hypot(columns + 1 - star["x"], rows + 1 - star["y"]) < 4
    usable = near & np.isfinite(sci).all(axis=0)
    light = np.array(truth["light_curve"]["relative_flux"])
    scale, sigma = _scaled_depth(sci[:, usable].sum(axis=1), variance[:, usable].sum(axis=1), light)
    assert sigma < 0.15
    assert scale == pytest.approx(1.0, abs=4 * sigma)
    assert (light < 1).sum() >= 5
    assert (light == 1).sum() >= 5

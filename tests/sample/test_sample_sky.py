"""The sample's pointing: WCS, footprints, telescope axes and light-travel times."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord, get_body_barycentric, get_sun
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from hwosim_assets.archive.sample import SampleSummary
from hwosim_assets.archive.sample.clock import calendar, iso, orbit
from hwosim_assets.archive.sample.sky import Wcs, separation, v1_pointing

# astropy announces that it writes DATE-BEG from MJD-BEG, as it does for every JWST file.
pytestmark = pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")


@pytest.mark.parametrize("dec", [-71.0, 0.0, 45.0])
def test_the_projection_is_the_one_astropy_knows(dec: float) -> None:
    mine = Wcs((32.5, 40.0), (359.999, dec), 1.7e-5, 123.0)
    cards: dict[str, object] = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"}
    cards |= {"CRPIX1": 32.5, "CRPIX2": 40.0, "CRVAL1": 359.999, "CRVAL2": dec, "CDELT1": 1.7e-5, "CDELT2": 1.7e-5}
    cards |= dict(zip(("PC1_1", "PC1_2", "PC2_1", "PC2_2"), mine.pc, strict=True))
    theirs = WCS(fits.Header(cards))
    for x, y in ((1.0, 1.0), (64.0, 3.0), (10.5, 900.25)):
        ra, sky_dec = mine.sky(x, y)
        np.testing.assert_allclose(theirs.wcs_pix2world([[x, y]], 1)[0], (ra, sky_dec), atol=1e-11)
        np.testing.assert_allclose(mine.pixel(ra, sky_dec), (x, y), atol=1e-6)


def test_stars_stand_where_the_truth_says(sample: SampleSummary) -> None:
    paths = {file.path.name: file.path for file in sample.files}
    checked = 0
    for path in sample.truth:
        for entry in json.loads(path.read_text(encoding="utf-8"))["observations"]:
            for name in entry["files"]:
                if "sources" not in entry or not name.endswith("_cal.fits"):
                    continue
                with fits.open(paths[name]) as hdus:
                    wcs, image = WCS(hdus["SCI"].header), np.nan_to_num(hdus["SCI"].data.astype(float))
                for star in entry["sources"]:
                    x, y = wcs.wcs_world2pix([[star["ra"], star["dec"]]], 1)[0]
                    assert (x, y) == pytest.approx((star["x"], star["y"]), abs=1e-4)
                target = entry["sources"][0]
                column, row = round(target["x"]) - 1, round(target["y"]) - 1
                part = image[row - 3 : row + 4, column - 3 : column + 4]
                part = part - np.median(image)
                rows, columns = np.mgrid[row - 3 : row + 4, column - 3 : column + 4]
                assert (columns * part).sum() / part.sum() + 1 == pytest.approx(target["x"], abs=0.2)
                assert (rows * part).sum() / part.sum() + 1 == pytest.approx(target["y"], abs=0.2)
                checked += 1
    assert checked == 7


def test_footprints_are_the_corners_of_the_wcs(sample: SampleSummary) -> None:
    checked = 0
    for file in sample.files:
        if file.product_type in ("x1d", "x1dints"):
            continue
        header = fits.getheader(file.path, "SCI")
        region = header["S_REGION"].split()
        assert region[:2] == ["POLYGON", "ICRS"]
        if "CTYPE1" not in header:
            continue
        wcs = WCS(header).celestial
        width, height = header["NAXIS1"], header["NAXIS2"]
        corners = [(0.5, 0.5), (width + 0.5, 0.5), (width + 0.5, height + 0.5), (0.5, height + 0.5)]
        expected = wcs.wcs_pix2world(corners, 1)
        np.testing.assert_allclose(np.array(region[2:], dtype=float).reshape(4, 2), expected, atol=2e-9)
        checked += 1
    assert checked >= 20


def test_dithered_exposures_line_up_in_the_combined_image(sample: SampleSummary) -> None:
    paths = {file.path.name: file.path for file in sample.files}
    target = (fits.getheader(paths["jw97001001001_02101_00001_nrcb1_cal.fits"])[key] for key in ("TARG_RA", "TARG_DEC"))
    ra, dec = target
    names = [
        "jw97001001001_02101_00001_nrcb1_cal.fits",
        "jw97001001001_02101_00002_nrcb1_cal.fits",
        "jw97001-o001_t001_nircam_clear-f200w-sub64p_i2d.fits",
    ]
    for name in names:
        with fits.open(paths[name]) as hdus:
            x, y = WCS(hdus["SCI"].header).wcs_world2pix([[ra, dec]], 0)[0]
            row, column = np.unravel_index(np.nanargmax(hdus["SCI"].data), hdus["SCI"].data.shape)
            assert abs(column - x) <= 0.51
            assert abs(row - y) <= 0.51


def test_the_telescope_axes_follow_from_the_aperture() -> None:
    # The pointing keywords of a NIRISS exposure in flight (program 1093, observation 12).
    ra_v1, dec_v1, pa_v3 = v1_pointing(
        -296.072739, -762.714999, 82.18735912166036, -65.44754179969318, 171.7649906070351
    )
    assert (ra_v1, dec_v1) == pytest.approx((82.06345797849094, -65.66895204689341), abs=1e-6)
    assert pa_v3 == pytest.approx(171.8779402984971, abs=1e-6)


def test_targets_are_where_the_telescope_may_look(sample: SampleSummary) -> None:
    for file in sample.files:
        header = fits.getheader(file.path)
        sun = get_sun(Time(header["EXPMID"], format="mjd"))
        seen = SkyCoord(header["TARG_RA"], header["TARG_DEC"], unit="deg").separation(
            SkyCoord(sun.ra, sun.dec), origin_mismatch="ignore"
        )
        assert 85.0 <= seen.deg <= 135.0


def test_barycentric_times_agree_with_astropy(sample: SampleSummary) -> None:
    header = fits.getheader(sample.files[0].path)
    earth = get_body_barycentric("earth", Time(header["EXPMID"], format="mjd")).xyz.to_value(units.km)
    direction = SkyCoord(header["TARG_RA"], header["TARG_DEC"], unit="deg").cartesian.xyz.value
    light = float(earth @ direction) / 299792.458
    # The telescope is 1.5 million km, 5 light seconds, beyond the Earth.
    assert header["BARTDELT"] - 69.184 == pytest.approx(light, abs=5.5)
    assert header["BSTRTIME"] - header["EXPSTART"] == pytest.approx(header["BARTDELT"] / 86400, abs=1e-9)


def test_the_calendar_is_right() -> None:
    assert iso(60370.5) == Time(60370.5, format="mjd").isot
    assert calendar(59945.000001).microsecond == 86400
    assert separation(orbit(60389.1).sun, (0.0, 0.0)) < 1.5

"""A real product, perturbed, keeps its world coordinates: FITS cards, and the ASDF extension with the full WCS."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from hwosim_assets.perturb import Product, apply


def test_a_real_image_keeps_hdus_types_and_coordinates(real_data: Path) -> None:
    product = Product.open(real_data / "jwst" / "jw01093012001_03102_00001_nis_cal.fits")
    out, _truth = apply(product, "nominal_l2", severity=3)
    assert out.content != product.content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(product.content)) as before, fits.open(io.BytesIO(out.content)) as after:
            assert [(hdu.name, hdu.ver, hdu.shape if hdu.is_image else len(hdu.data)) for hdu in before] == [
                (hdu.name, hdu.ver, hdu.shape if hdu.is_image else len(hdu.data)) for hdu in after
            ]
            for old, new in zip(before, after, strict=True):
                assert (None if old.data is None else old.data.dtype) == (None if new.data is None else new.data.dtype)
            rows, columns = np.mgrid[0 : before["SCI"].shape[0] : 97, 0 : before["SCI"].shape[1] : 97]
            sky = [WCS(hdus["SCI"].header).wcs_pix2world(columns, rows, 0) for hdus in (before, after)]
            assert np.ptp(sky[0]) > 0
            np.testing.assert_array_equal(sky[0], sky[1])
            assert bytes(before["ASDF"].data["ASDF_METADATA"].tobytes()) == bytes(
                after["ASDF"].data["ASDF_METADATA"].tobytes()
            )

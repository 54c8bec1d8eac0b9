"""Small products with nothing in them but noise, for signals to be injected into."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.perturb import Product

K = 150.0


def _product(name: str, hdus: list[fits.hdu.base._BaseHDU], seconds: float = 300.0, **more: object) -> Product:
    primary = fits.PrimaryHDU()
    cards = {"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1", "FILTER": "F200W",
             "EXPSTART": 60000.0, "EXPMID": 60000.1, "EXPEND": 60000.2, "EFFINTTM": seconds,
             "EFFEXPTM": seconds}  # fmt: skip
    primary.header.update({**cards, **more})
    buffer = io.BytesIO()
    fits.HDUList([primary, *hdus]).writeto(buffer)
    return Product(name, buffer.getvalue())


def _images(shape: tuple[int, ...], level: float, seed: int) -> list[fits.ImageHDU]:
    poisson, read = np.full(shape, level / K), np.full(shape, 0.02)
    err = np.sqrt(poisson + read)
    sci = level + err * np.random.default_rng(seed).standard_normal(shape)
    planes = {"SCI": sci, "ERR": err, "VAR_POISSON": poisson, "VAR_RNOISE": read}
    found = [fits.ImageHDU(data.astype(np.float32), name=name) for name, data in planes.items()]
    return [*found, fits.ImageHDU(np.zeros(shape, np.uint32), name="DQ")]


@pytest.fixture(scope="session")
def field() -> Product:
    """An image of 96 x 96 pixels without a star."""
    return _product("jw01234001001_02101_00001_nrca1_cal.fits", _images((96, 96), 2.0, 1))


@pytest.fixture(scope="session")
def ramps() -> Product:
    """Twenty integrations of 48 x 48 pixels and ten seconds, in which few pixels are hit."""
    return _product("jw01234001001_02101_00001_nrca1_rateints.fits", _images((20, 48, 48), 2.0, 2), 10.0)


@pytest.fixture(scope="session")
def series() -> Product:
    """Two hundred integrations of a spectrum of forty wavelengths, 0.1 % of noise in each."""
    return _product("jw01234002001_02101_00001_nrs1_x1dints.fits", [_spectra()])


@pytest.fixture(scope="session")
def second_half() -> Product:
    """The same as the second half of an exposure."""
    cards = {"EXPSTART": 59999.8, "EXPMID": 60000.0, "INTSTART": 201, "INTEND": 400, "NINTS": 400}
    return _product("jw01234002001_02101_00001-seg002_nrs1_x1dints.fits", [_spectra()], **cards)


def _spectra() -> fits.BinTableHDU:
    rows, columns = 200, 40
    shape = (rows, columns)
    flux = 1.0 + 0.001 * np.random.default_rng(3).standard_normal(shape)
    edges = np.linspace(60000.0, 60000.2, rows + 1)
    moments = {"MJD-BEG": edges[:-1], "MJD-AVG": (edges[:-1] + edges[1:]) / 2, "MJD-END": edges[1:]}
    values = {"FLUX": flux, "FLUX_ERROR": np.full(shape, 1e-3), "FLUX_VAR_POISSON": np.full(shape, 9e-7),
              "FLUX_VAR_RNOISE": np.full(shape, 1e-7), "FLUX_VAR_FLAT": np.zeros(shape)}  # fmt: skip
    table = [fits.Column(name, "D", array=data) for name, data in moments.items()]
    lengths = np.broadcast_to(np.linspace(1, 5, columns), shape)
    table.append(fits.Column("WAVELENGTH", f"{columns}D", "um", array=lengths))
    table += [fits.Column(name, f"{columns}D", "Jy", array=data) for name, data in values.items()]
    table.append(fits.Column("DQ", f"{columns}J", bzero=2**31, array=np.zeros(shape, np.uint32)))
    return fits.BinTableHDU.from_columns(table, name="EXTRACT1D")

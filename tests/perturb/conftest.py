"""Products for tests, made once."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from kinds import content_of

from hwosim_assets.perturb import compiled
from hwosim_assets.perturb.product import Product


@pytest.fixture(autouse=True)
def _numpy_until_a_product_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a large product of an earlier test not decide which way this one goes."""
    monkeypatch.setattr(compiled, "_tried", False)
    monkeypatch.setattr(compiled, "_wanted", False)


@pytest.fixture(scope="session")
def make() -> Callable[..., Product]:
    """Return a function from a kind to a product ``jw<kind>.fits``."""
    kept: dict[tuple[str, bool, bool], bytes] = {}

    def product(kind: str, *, checksum: bool = False, packed: bool = False) -> Product:
        key = (kind, checksum, packed)
        if key not in kept:
            kept[key] = content_of(kind, checksum=checksum, packed=packed)
        return Product(f"jw01234001001_02101_00001_nrca1_{kind}.fits", kept[key])

    return product


@pytest.fixture(scope="session")
def series() -> Product:
    """Sixty integrations of a bright frame."""
    shape = (60, 32, 32)
    planes = {"SCI": 100.0, "ERR": 1.0, "VAR_POISSON": 0.9, "VAR_RNOISE": 0.1}
    rng = np.random.default_rng(2)
    hdus: list[fits.hdu.base._BaseHDU] = [fits.PrimaryHDU()]
    hdus[0].header["DETECTOR"] = "NRCA1"
    for name, value in planes.items():
        data = np.full(shape, value) + (rng.standard_normal(shape) if name == "SCI" else 0)
        if name == "VAR_POISSON":
            data = hdus[1].data / 111.0
        hdus.append(fits.ImageHDU(data.astype(np.float32), name=name))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product("jw_calints.fits", buffer.getvalue())

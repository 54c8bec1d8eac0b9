"""The noise budget: electrons from keywords or from ERR, and the stable order in which pixels are looked at."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scenes import K, columns, perturbed, scene, values

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.budget import Budget, _order, infer_budget

SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
TIED = st.sampled_from([-2.5, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 3e38])


@pytest.mark.parametrize("numbers", [SINGLE, TIED, SINGLE | TIED, st.floats(allow_nan=False, allow_infinity=False)])
@given(st.data())
def test_order_of_numbers_is_the_stable_one(numbers: st.SearchStrategy[float], data: st.DataObject) -> None:
    values: Any = data.draw(arrays(np.float64, st.integers(0, 60), elements=numbers))
    np.testing.assert_array_equal(_order(values), np.argsort(values, kind="stable"))


def edited(product: Product, lost: tuple[str, ...], cards: dict[str, float], unit: str = "MJy/sr") -> Product:
    """Return a product in a unit, without some of its extensions, with other cards."""
    with fits.HDUList.fromstring(product.content) as hdus:
        kept = fits.HDUList([hdu for hdu in hdus if hdu.name not in lost])
        kept[0].header.update(cards)
        kept["SCI"].header["BUNIT"] = unit
        buffer = io.BytesIO()
        kept.writeto(buffer)
    return Product(product.name, buffer.getvalue())


def budget_of(product: Product) -> Budget:
    return infer_budget(product, product.measurements[0])


VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
AGAINST = "ERR against keywords"
TIMES = {"EFFINTTM": 100.0, "EFFEXPTM": 300.0}


def test_a_wavelength_of_a_cube_gathered_over_the_exposure_and_an_integration_over_its_own_time(
    make: Callable[..., Product],
) -> None:
    lost = ("ERR", *VARIANCES)
    for kind, seconds in (("s3d", 300.0), ("calints", 100.0), ("cal", 300.0)):
        found = budget_of(edited(make(kind), lost, {**TIMES, "PHOTMJSR": 0.5}))
        assert found.k == pytest.approx(2.1 * seconds / 0.5)
        assert found.k_method == "keywords"


def test_a_conversion_of_one_stands_in_headers_whose_conversion_is_elsewhere(make: Callable[..., Product]) -> None:
    lost = ("ERR", *VARIANCES)
    assert budget_of(edited(make("s3d"), lost, {**TIMES, "PHOTMJSR": 1.0})).k_method == "none"
    rate = edited(make("cal"), lost, {**TIMES, "PHOTMJSR": 1.0}, "DN/s")
    assert budget_of(rate).k == pytest.approx(2.1 * 300)  # DN need none


@pytest.mark.parametrize(("off", "believed"), [(0.05, AGAINST), (0.2, "keywords"), (5, "keywords"), (20, AGAINST)])
def test_keywords_are_believed_within_a_factor_of_ten_of_what_err_says(off: float, believed: str) -> None:
    product = scene(columns(200, 200, 1, 400), noise=True)
    found = budget_of(edited(product, VARIANCES, {**TIMES, "PHOTMJSR": 2.1 * 300 / (K * off)}))
    assert found.k_method == believed
    assert found.k == pytest.approx(K * off if believed == "keywords" else K, rel=0.05)


@pytest.mark.parametrize("name", ["Level3_ch4-medium_s3d.fits.gz", "Level3_ch4-short_s3d.fits.gz"])
@pytest.mark.parametrize("factor", [2.0, 5.0, 20.0])
def test_light_added_to_a_real_cube_is_as_noisy_as_its_err_says_of_as_bright_pixels(
    real_data: Path, name: str, factor: float
) -> None:
    product = Product.open(real_data / "jwst" / name)
    out, note = perturbed(product, background={"factor": factor})
    before, err, after = values(product), values(product, "ERR"), values(out, "ERR")
    total: Any = note["added"]
    level = total / (factor - 1)
    dim, bright = (np.abs(before / wanted - 1) < 0.2 for wanted in (level, factor * level))
    assert min(dim.sum(), bright.sum()) > 1000
    assert np.nanmedian(after[dim]) / np.nanmedian(err[bright]) == pytest.approx(1.0, abs=0.5)
    added = (values(out) - before)[dim] - total
    gained = np.sqrt((after**2 - err**2)[dim])
    assert np.nanstd(added / gained) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("size", [1e-23, 1e20])
def test_noise_whose_square_is_no_single_number_is_worked_on_in_double(size: float) -> None:
    rng = np.random.default_rng(7)
    planes = {"SCI": size * (10 + rng.standard_normal((64, 64))), "ERR": np.full((64, 64), size)}
    hdus = [fits.ImageHDU(data.astype(np.float32), name=name) for name, data in planes.items()]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer)
    product = Product("jw01234001001_02101_00001_nrca1_cal.fits", buffer.getvalue())
    scenario = Scenario.from_mapping("test", {"version": 1, "effects": [{"read_noise": {"factor": 3.0}}]})
    out, truth = apply(product, scenario)
    np.testing.assert_allclose(values(out, "ERR"), 3 * size, rtol=1e-6)
    assert (values(out) - values(product)).std() / size == pytest.approx(np.sqrt(8), rel=0.05)
    assert truth.record["budgets"][0]["double"] is True
    assert "double" not in apply(scene(columns(16, 64, 5, 50)), scenario)[1].record["budgets"][0]

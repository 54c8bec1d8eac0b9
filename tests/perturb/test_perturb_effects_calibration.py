"""Calibration drift on fixed seeds; amplitudes off by 10 % fall outside the tolerances stated."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effects.axes import cosine_of_turns

Make = Callable[..., Product]


def perturbed(product: Product, **chosen: dict[str, object]) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    return out, truth.record


def edited(product: Product, hdu: int = 0, **cards: object) -> Product:
    with fits.HDUList.fromstring(product.content) as hdus:
        hdus[hdu].header.update(cards)
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    return Product(product.name, buffer.getvalue())


def ratio_of(product: Product, out: Product) -> np.ndarray:
    return out.plane("SCI").astype(float) / product.plane("SCI").astype(float)


def test_cosine_is_that_of_numpy() -> None:
    turns = np.linspace(-700.0, 700.0, 100_001)
    np.testing.assert_allclose(cosine_of_turns(turns), np.cos(2 * np.pi * turns), atol=1e-11)


@pytest.mark.parametrize("rms", [0.01, 0.03])
def test_flat_drift_has_its_rms_and_another_by_a_tenth_does_not(make: Make, rms: float) -> None:
    product = make("big")

    def spread(asked: float) -> float:
        ratio = ratio_of(product, perturbed(product, flat_drift={"rms": asked, "smooth": 0.0})[0])
        return float(np.nanstd(ratio) / rms)

    tolerance = 5 / np.sqrt(2 * product.plane("SCI").size)  # 1 % here
    assert spread(rms) == pytest.approx(1, abs=tolerance)
    assert spread(1.1 * rms) != pytest.approx(1, abs=tolerance)


def test_flat_drift_belongs_to_the_detector(make: Make) -> None:
    product = make("calints")
    ratio = ratio_of(product, perturbed(product, flat_drift={"rms": 0.05})[0])
    np.testing.assert_allclose(
        ratio[0][np.isfinite(ratio[0] + ratio[1])], ratio[1][np.isfinite(ratio[0] + ratio[1])], rtol=1e-5
    )
    other_name = Product("another_calints.fits", product.content)
    np.testing.assert_array_equal(ratio, ratio_of(product, perturbed(other_name, flat_drift={"rms": 0.05})[0]))
    other = edited(product, DETECTOR="NRCA2")
    assert np.nanmax(np.abs(ratio - ratio_of(product, perturbed(other, flat_drift={"rms": 0.05})[0]))) > 0.05
    part = edited(product, SUBSTRT1=9, SUBSTRT2=5)
    shifted = ratio_of(product, perturbed(part, flat_drift={"rms": 0.05})[0])
    both = np.isfinite(shifted[0, :-4, :-8] + ratio[0, 4:, 8:])
    np.testing.assert_allclose(shifted[0, :-4, :-8][both], ratio[0, 4:, 8:][both], rtol=1e-5)


def test_flat_drift_scales_uncertainties_with_the_signal(make: Make) -> None:
    product = make("cal")
    out = perturbed(product, flat_drift={"rms": 0.1})[0]
    ratio = ratio_of(product, out)
    np.testing.assert_allclose(out.plane("ERR") / product.plane("ERR"), ratio, rtol=1e-4)
    np.testing.assert_allclose(out.plane("VAR_RNOISE") / product.plane("VAR_RNOISE"), ratio**2, rtol=1e-4)
    assert (out.plane("DQ") & (1 << 25)).all()
    stale = perturbed(product, flat_drift={"rms": 0.1, "err": "stale", "dq": "silent"})[0]
    for name in ("ERR", "VAR_RNOISE", "DQ"):
        np.testing.assert_array_equal(stale.plane(name), product.plane(name))


@pytest.mark.parametrize("header", ["honest", "stale"])
def test_photom_step_is_seen_at_its_time_and_told_by_the_header(make: Make, header: str) -> None:
    step = {"step": 0.1, "header": header, "when": {"profile": "step", "start": 60001.0}}
    for mid, factor in ((60000.5, 1.0), (60002.5, 1.1)):
        product = edited(make("cal"), EXPSTART=mid - 0.1, EXPMID=mid, EXPEND=mid + 0.1, PHOTMJSR=2.0)
        out = perturbed(product, photom_step=step)[0]
        ratio = ratio_of(product, out)
        np.testing.assert_allclose(ratio[np.isfinite(ratio)], factor, rtol=1e-5)
        assert out.number("PHOTMJSR") == pytest.approx(2.0 * (factor if header == "honest" else 1.0))


def test_wavelength_shift_is_found_by_cross_correlation(make: Make) -> None:
    product = make("x1d")
    before = product.plane("EXTRACT1D", 1, "WAVELENGTH")

    def found(shift: float) -> float:
        after = perturbed(product, wavelength_shift={"shift": shift})[0].plane("EXTRACT1D", 1, "WAVELENGTH")
        line = np.exp(-((np.arange(900) - 450.0) ** 2) / 50)
        tries = np.arange(-5, 5, 0.01)
        seen = np.interp(before, after, line)
        scores = [np.dot(seen, np.exp(-((np.arange(900) - 450.0 - lag) ** 2) / 50)) for lag in tries]
        return float(tries[int(np.argmax(scores))])

    assert found(1.0) == pytest.approx(1.0, abs=0.03)
    assert found(1.1) != pytest.approx(1.0, abs=0.03)


def test_dark_reference_drift_regresses_on_its_template(make: Make) -> None:
    product = make("big")

    def template(amplitude: float) -> np.ndarray:
        out = perturbed(product, dark_reference_drift={"amplitude": amplitude})[0]
        return out.plane("SCI").astype(float) - product.plane("SCI").astype(float)

    unit = template(1.0)
    good = np.isfinite(unit)
    assert np.std(unit[good]) / np.nanmedian(product.plane("ERR")) == pytest.approx(1, abs=0.01)
    for amplitude, near in ((3.0, True), (3.3, False)):
        slope = np.dot(template(amplitude)[good], unit[good]) / np.dot(unit[good], unit[good])
        assert bool(slope == pytest.approx(3.0, rel=1e-4)) is near


def test_fringes_have_their_period_and_amplitude(make: Make) -> None:
    product = make("x1d")
    wave = product.plane("EXTRACT1D", 1, "WAVELENGTH")

    def power(path: float, amplitude: float) -> complex:
        out = perturbed(product, fringing={"path": 100.0, "amplitude": amplitude})[0]
        ratio = out.plane("EXTRACT1D", 1, "FLUX") / product.plane("EXTRACT1D", 1, "FLUX") - 1
        return complex(2 * np.mean(ratio * np.exp(-2j * np.pi * path / wave)))

    assert abs(power(100.0, 0.05)) == pytest.approx(0.05, rel=0.05)
    assert abs(power(100.0, 0.055)) != pytest.approx(0.05, rel=0.05)
    assert abs(power(110.0, 0.05)) < 0.01
